//! The JSON form of a request: nested lists of pixels, checked against the size that the network takes while they are
//! read, in one byte per pixel.

use std::fmt;

use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use crate::data::ImageShape;
use crate::http::refusal::Refusal;

/// The most images in one request.
pub(super) const MOST_IMAGES: usize = 1024;

/// Lists within lists: images, channels, rows, pixels.
const DEEPEST: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    pixels: Option<Nested>,
    images: Option<Nested>,
}

/// The inputs, `[channels, height, width]` each, that a JSON body holds.
pub(super) fn read(body: &[u8], shape: ImageShape) -> Result<Vec<Vec<u8>>, Refusal> {
    let request = serde_json::from_slice::<Request>(body).map_err(|error| unreadable(&error, shape))?;
    match (request.pixels, request.images) {
        (Some(nested), None) if fits(&nested.lengths, shape) => Ok(vec![nested.pixels]),
        (Some(nested), None) => Err(wrong_size("pixels", &nested.lengths, shape)),
        (None, Some(nested)) => images(nested, shape),
        (found, _) => {
            let found = if found.is_some() { "both" } else { "neither" };
            let message = format!("the body must hold either `pixels` or `images`, got {found}");
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_pixels", message).tip(example(shape)))
        }
    }
}

fn images(nested: Nested, shape: ImageShape) -> Result<Vec<Vec<u8>>, Refusal> {
    let count = nested.lengths.first().copied().unwrap_or(0);
    if count == 0 || count > MOST_IMAGES {
        let message = format!("`images`: must be 1 to {MOST_IMAGES} images, got {count}");
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_pixels", message)
            .tip("send more images in several requests"));
    }
    if !fits(&nested.lengths[1..], shape) {
        return Err(wrong_size("images", &nested.lengths, shape));
    }
    Ok(nested.pixels.chunks(shape.len()).map(<[u8]>::to_vec).collect())
}

/// Whether lists of these lengths are one image: flat, by row if there is one channel, or by channel and row.
fn fits(lengths: &[usize], shape: ImageShape) -> bool {
    match *lengths {
        [all] => all == shape.len(),
        [rows, columns] => shape.channels == 1 && rows == shape.height && columns == shape.width,
        [channels, rows, columns] => [channels, rows, columns] == [shape.channels, shape.height, shape.width],
        _ => false,
    }
}

fn wrong_size(key: &str, lengths: &[usize], shape: ImageShape) -> Refusal {
    let found = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let found = if found.is_empty() { "a number".to_owned() } else { format!("lists of {found}") };
    let ImageShape { channels, height, width } = shape;
    let rows = match channels {
        1 => format!("{height} lists of {width}"),
        _ => format!("{channels} lists of {height} lists of {width}"),
    };
    let each = if key == "images" { " each" } else { "" };
    let message = format!("`{key}`: must be {} numbers or {rows}{each}, got {found}", shape.len());
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_pixels", message).tip(example(shape))
}

fn unreadable(error: &serde_json::Error, shape: ImageShape) -> Refusal {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_pixels", error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is not JSON: {error}"))
        }
    }
    .tip(example(shape))
}

fn example(shape: ImageShape) -> String {
    let ImageShape { height, width, .. } = shape;
    format!(
        "send {{\"pixels\": [...]}} with whole numbers from 0 (black) to 255 (white), {height} rows of {width}, or \
         {{\"images\": [...]}} with several such lists"
    )
}

/// Numbers in lists of equal lengths.
#[derive(Debug, Default, PartialEq)]
struct Nested {
    /// The length of the lists of each level, from the outermost.
    lengths: Vec<usize>,
    pixels: Vec<u8>,
    /// The level of the numbers, once one was seen.
    depth: Option<usize>,
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut nested = Self::default();
        Level { nested: &mut nested, depth: 0 }.deserialize(deserializer)?;
        Ok(nested)
    }
}

/// What stands at one level: a list or a number.
struct Level<'a> {
    nested: &'a mut Nested,
    depth: usize,
}

impl Level<'_> {
    fn pixel<E: serde::de::Error>(self, value: u8) -> Result<(), E> {
        if *self.nested.depth.get_or_insert(self.depth) != self.depth {
            return Err(E::custom("numbers must all stand at the same depth of lists"));
        }
        self.nested.pixels.push(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a whole number from 0 to 255, or a list of them")
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let pixel = u8::try_from(value)
            .map_err(|_| E::custom(format!("a pixel must be a whole number from 0 to 255, got {value}")))?;
        self.pixel(pixel)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        Err(E::custom(format!("a pixel must be a whole number from 0 to 255, got {value}")))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if value.fract() != 0.0 || !(0.0..=255.0).contains(&value) {
            return Err(E::custom(format!("a pixel must be a whole number from 0 to 255, got {value}")));
        }
        self.pixel(value as u8)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { nested, depth } = self;
        if depth == DEEPEST {
            return Err(A::Error::custom(format!("lists must be at most {DEEPEST} deep")));
        }
        if nested.depth.is_some_and(|numbers| numbers <= depth) {
            return Err(A::Error::custom("numbers must all stand at the same depth of lists"));
        }
        let mut length = 0;
        while list.next_element_seed(Level { nested: &mut *nested, depth: depth + 1 })?.is_some() {
            length += 1;
        }
        // Inner lists end before outer ones: make room for the levels above.
        if nested.lengths.len() <= depth {
            nested.lengths.resize(depth + 1, usize::MAX);
        }
        let expected = &mut nested.lengths[depth];
        if *expected == usize::MAX {
            *expected = length;
        }
        match *expected == length {
            true => Ok(()),
            false => Err(A::Error::custom(format!("lists must be equally long, got {expected} and {length}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 2, width: 3 };
    const COLOUR: ImageShape = ImageShape { channels: 3, height: 1, width: 2 };

    #[test]
    fn every_documented_form_is_read() {
        let image = vec![0, 1, 2, 253, 254, 255];
        for text in [
            r#"{"pixels": [0,1,2,253,254,255]}"#,
            r#"{"pixels": [[0,1,2],[253,254,255.0]]}"#,
            r#"{"pixels": [[[0,1,2],[253,254,255]]]}"#,
            r#"{"images": [[0,1,2,253,254,255]]}"#,
            r#"{"images": [[[0,1,2],[253,254,255]]]}"#,
            r#"{"images": [[[[0,1,2],[253,254,255]]]]}"#,
        ] {
            assert_eq!(read(text.as_bytes(), SHAPE), Ok(vec![image.clone()]), "{text}");
        }
        let two = br#"{"images": [[[0,1,2],[3,4,5]],[[6,7,8],[9,10,11]]]}"#;
        assert_eq!(read(two, SHAPE), Ok(vec![(0..6).collect(), (6..12).collect()]));
        assert_eq!(read(br#"{"pixels": [[[1,2]],[[3,4]],[[5,6]]]}"#, COLOUR), Ok(vec![(1..7).collect()]));
        assert!(read(br#"{"pixels": [[1,2],[3,4],[5,6]]}"#, COLOUR).is_err());
    }

    #[test]
    fn everything_else_says_what_is_allowed() {
        let message = |text: &str| read(text.as_bytes(), SHAPE).map_err(|refusal| refusal.message);
        let found = |text: &str, expected: &str| {
            let message = message(text).expect_err(text);
            assert!(message.contains(expected), "{text}: {message}");
        };
        found(r#"{"pixels": [0,1]}"#, "must be 6 numbers or 2 lists of 3, got lists of 2");
        found(r#"{"pixels": 7}"#, "got a number");
        found(r#"{"pixels": []}"#, "got lists of 0");
        found(r#"{"pixels": [[],[]]}"#, "got lists of 2x0");
        found(r#"{"images": []}"#, "must be 1 to 1024 images, got 0");
        found(r#"{"images": 3}"#, "must be 1 to 1024 images, got 0");
        found(r#"{"images": [[1,2,3],[4,5,6]]}"#, "got lists of 2x3");
        found(r#"{"pixels": [0,1,2,3,4,256]}"#, "from 0 to 255, got 256");
        found(r#"{"pixels": [0,1,2,3,4,-1]}"#, "got -1");
        found(r#"{"pixels": [0,1,2,3,4,0.5]}"#, "got 0.5");
        found(r#"{"pixels": [0,1,2,3,4,1e300]}"#, "from 0 to 255");
        found(r#"{"pixels": [0,1,2,3,4,NaN]}"#, "not JSON");
        found(r#"{"pixels": [0,1,2,3,4,"5"]}"#, "invalid type: string");
        found(r#"{"pixels": [0,1,2,3,4,null]}"#, "invalid type: null");
        found(r#"{"pixels": [[0,1,2],[3,4]]}"#, "equally long, got 3 and 2");
        found(r#"{"pixels": [[0,1,2],3,4,5]}"#, "same depth");
        found(r#"{"pixels": [0,[1,2]]}"#, "same depth");
        found(r#"{"pixels": [[[[[1]]]]]}"#, "at most 4 deep");
        found(r#"{"pixels": [0,1,2,3,4,5], "images": []}"#, "got both");
        found("{}", "got neither");
        found(r#"{"pixel": [0]}"#, "unknown field `pixel`");
        found("[1,2]", "");
        found("", "not JSON");
        found(&format!(r#"{{"pixels": {}"#, "[".repeat(100_000)), "at most 4 deep");
    }
}
