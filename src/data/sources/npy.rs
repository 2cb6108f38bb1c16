//! NumPy's array format: the header of an .npy file, and its values as bytes or labels. Everything a header claims is
//! checked against what the file holds.

use super::store::Stored;
use crate::{Error, Result};

/// Dimensions that an array may have.
const MOST_DIMENSIONS: usize = 8;

/// An array as it is stored.
pub(super) struct NpyArray {
    /// The file, for messages.
    pub(super) shown: String,
    /// Its sizes, the last of which varies fastest.
    pub(super) shape: Vec<usize>,
    kind: Kind,
    /// The file; values begin at `start`.
    bytes: Vec<u8>,
    start: usize,
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    form: Form,
    /// Bytes of a value.
    size: usize,
    is_big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    Signed,
    Unsigned,
    Float,
}

impl NpyArray {
    /// Reads an .npy file.
    ///
    /// # Errors
    /// A usage error when it is none, is damaged, or holds what is no plain number.
    pub(super) fn read(file: Stored) -> Result<Self> {
        let Stored { shown, bytes } = file;
        let damaged = |what: String| {
            Error::usage(format!("`{shown}`: {what}")).tip("the array is damaged or no .npy file; write it again")
        };
        let version = match bytes.get(..8) {
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', version @ 1..=3, _]) => *version,
            _ => return Err(damaged("must begin as NumPy's arrays do (\\x93NUMPY, version 1 to 3)".into())),
        };
        let (length, begin): (Option<usize>, usize) = match version {
            1 => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
            _ => (bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize), 12),
        };
        let head = length.and_then(|length| bytes.get(begin..begin.checked_add(length)?));
        let head = head.and_then(|head| std::str::from_utf8(head).ok());
        let head = head.ok_or_else(|| damaged("its header is cut off or is no text".into()))?;
        let start = begin + head.len();
        let (Some(descr), Some(order), Some(shape)) =
            (value(head, "descr"), value(head, "fortran_order"), value(head, "shape").and_then(sizes))
        else {
            return Err(damaged("its header must give descr, fortran_order and shape".into()));
        };
        let kind = Kind::parse(descr.trim_matches(['\'', '"'])).ok_or_else(|| {
            let what = if descr.contains('O') { "Python objects" } else { "no numbers that kiln reads" };
            Error::usage(format!("`{shown}`: holds {what} ({descr})"))
                .tip("write it with a plain type, such as images.astype(\"uint8\") and labels.astype(\"int64\")")
        })?;
        if order != "False" {
            return Err(Error::usage(format!("`{shown}`: is stored in Fortran's order"))
                .tip("write it in C's order: numpy.ascontiguousarray(array)"));
        }
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let claimed = count.and_then(|count| count.checked_mul(kind.size));
        let found = bytes.len() - start;
        if claimed != Some(found) {
            let claimed = claimed.map_or_else(|| "more bytes than there can be".into(), |claimed| claimed.to_string());
            return Err(damaged(format!(
                "must hold {claimed} bytes after its header, which says {} of {descr}, got {found}",
                dimensions(&shape)
            )));
        }
        Ok(Self { shown, shape, kind, bytes, start })
    }

    /// The sizes in words: "[60000, 28, 28]".
    pub(super) fn dimensions(&self) -> String {
        dimensions(&self.shape)
    }

    /// The values as pixels of 0 to 255, and what was done to them, if anything: whole numbers as they are, truth values as
    /// 0 and 255, fractions of 0 to 1 times 255.
    ///
    /// # Errors
    /// A usage error when a value is no pixel.
    pub(super) fn into_pixels(mut self) -> Result<(Vec<u8>, Option<String>)> {
        let shown = self.shown.clone();
        let refuse = |value: &dyn std::fmt::Display, allowed: &str| {
            Error::usage(format!("`{shown}`: pixels must be {allowed}, got {value}"))
                .tip("scale them, and write them as bytes: images.astype(\"uint8\")")
        };
        match self.kind.form {
            Form::Unsigned if self.kind.size == 1 => {
                self.bytes.drain(..self.start);
                Ok((self.bytes, None))
            }
            Form::Bool => {
                self.bytes.drain(..self.start);
                self.bytes.iter_mut().for_each(|byte| *byte = if *byte == 0 { 0 } else { 255 });
                Ok((self.bytes, Some(format!("`{}`: truth values became 0 and 255", self.shown))))
            }
            Form::Float => {
                let pixel = |value: f64| {
                    let is_share = (0.0..=1.0).contains(&value);
                    is_share
                        .then(|| (value * 255.0).round() as u8)
                        .ok_or_else(|| refuse(&value, "0 to 1 where they are fractions"))
                };
                let pixels = self.floats().map(pixel).collect::<Result<_>>()?;
                Ok((pixels, Some(format!("`{}`: fractions became 0 to 255, rounded", self.shown))))
            }
            Form::Signed | Form::Unsigned => {
                let pixel = |value: i128| u8::try_from(value).map_err(|_| refuse(&value, "0 to 255"));
                Ok((self.integers().map(pixel).collect::<Result<_>>()?, None))
            }
        }
    }

    /// The values as labels, one for each of the first dimension.
    ///
    /// # Errors
    /// A usage error when there are more of them, or one is no label.
    pub(super) fn labels(&self) -> Result<Vec<u16>> {
        if self.shape.is_empty() || self.shape[1..].iter().any(|size| *size != 1) {
            return Err(Error::usage(format!(
                "`{}`: must hold one label for each image, [images] or [images, 1], got {}",
                self.shown,
                self.dimensions()
            ))
            .tip("kiln tells one class for each image; several labels for each are not supported"));
        }
        let values: Vec<i128> = match self.kind.form {
            Form::Float => {
                let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 1e9).then_some(value as i128);
                let found = self.floats().map(|value| whole(value).ok_or(value)).collect::<Result<_, _>>();
                found.map_err(|value| self.no_label(&value))?
            }
            _ => self.integers().collect(),
        };
        let label = |value: i128| u16::try_from(value).ok().filter(|label| *label < u16::MAX);
        values.into_iter().map(|value| label(value).ok_or_else(|| self.no_label(&value))).collect()
    }

    fn no_label(&self, value: &dyn std::fmt::Display) -> Error {
        Error::usage(format!("`{}`: labels must be whole numbers from 0 to {}, got {value}", self.shown, u16::MAX - 1))
            .tip("number the classes from 0")
    }

    fn values(&self) -> std::slice::ChunksExact<'_, u8> {
        self.bytes[self.start..].chunks_exact(self.kind.size)
    }

    /// The bytes of a value, the least significant first.
    fn little_endian(&self, value: &[u8]) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..value.len()].copy_from_slice(value);
        if self.kind.is_big_endian {
            bytes[..value.len()].reverse();
        }
        bytes
    }

    fn integers(&self) -> impl Iterator<Item = i128> + '_ {
        let is_signed = self.kind.form == Form::Signed;
        self.values().map(move |value| {
            let bits = u64::from_le_bytes(self.little_endian(value));
            let unused = 64 - 8 * value.len() as u32;
            if is_signed { i128::from(((bits << unused) as i64) >> unused) } else { i128::from(bits) }
        })
    }

    fn floats(&self) -> impl Iterator<Item = f64> + '_ {
        self.values().map(|value| {
            let bytes = self.little_endian(value);
            match value.len() {
                2 => half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
                4 => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
                _ => f64::from_le_bytes(bytes),
            }
        })
    }
}

impl Kind {
    /// NumPy's short names: `|u1`, `<i8`, `>f4`.
    fn parse(descr: &str) -> Option<Self> {
        let (order, rest) = descr.split_at_checked(1)?;
        let (form, size) = rest.split_at_checked(1)?;
        let size: usize = size.parse().ok()?;
        let form = match (form, size) {
            ("b", 1) => Form::Bool,
            ("i", 1 | 2 | 4 | 8) => Form::Signed,
            ("u", 1 | 2 | 4 | 8) => Form::Unsigned,
            ("f", 2 | 4 | 8) => Form::Float,
            _ => return None,
        };
        let is_big_endian = match order {
            "|" | "<" | "=" => false,
            ">" => true,
            _ => return None,
        };
        Some(Self { form, size, is_big_endian })
    }
}

/// What stands after `'key':` in a header, up to the comma that ends it: a word, a text in quotes, or a tuple.
fn value<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    let after = [format!("'{key}':"), format!("\"{key}\":")]
        .iter()
        .find_map(|name| head.find(name.as_str()).map(|place| &head[place + name.len()..]))?
        .trim_start();
    let end = match after.as_bytes().first()? {
        b'(' => after.find(')')? + 1,
        quote @ (b'\'' | b'"') => after[1..].find(char::from(*quote))? + 2,
        // A structured type: nothing that is an image.
        b'[' => after.find(']')? + 1,
        _ => after.find([',', '}'])?,
    };
    Some(after[..end].trim())
}

fn sizes(tuple: &str) -> Option<Vec<usize>> {
    let inside = tuple.strip_prefix('(')?.strip_suffix(')')?;
    let sizes: Option<Vec<usize>> = inside
        .split(',')
        .map(|size| size.trim().trim_end_matches('L'))
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().ok())
        .collect();
    sizes.filter(|sizes| sizes.len() <= MOST_DIMENSIONS)
}

fn dimensions(shape: &[usize]) -> String {
    format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An .npy file, as NumPy writes it.
    pub(in crate::data::sources) fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let mut head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while !(10 + head.len() + 1).is_multiple_of(64) {
            head.push(' ');
        }
        head.push('\n');
        let length = (head.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\0"[..], &length, head.as_bytes(), values].concat()
    }

    fn array(descr: &str, shape: &str, values: &[u8]) -> Result<NpyArray> {
        NpyArray::read(Stored { shown: "a.npy".into(), bytes: npy(descr, shape, values) })
    }

    #[test]
    fn numbers_of_every_type_and_order_are_read() {
        let labels = |descr: &str, values: &[u8]| array(descr, "(2,)", values).unwrap().labels().unwrap();
        assert_eq!(labels("|u1", &[3, 200]), [3, 200]);
        assert_eq!(labels("<i2", &[1, 0, 0, 1]), [1, 256]);
        assert_eq!(labels(">i4", &[0, 0, 0, 7, 0, 0, 1, 0]), [7, 256]);
        assert_eq!(labels("<i8", &[5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]), [5, 6]);
        assert_eq!(labels("<f4", &[2.0_f32.to_le_bytes(), 9.0_f32.to_le_bytes()].concat()), [2, 9]);
        let pixels = |descr: &str, values: &[u8]| array(descr, "(1, 2)", values).unwrap().into_pixels().unwrap().0;
        assert_eq!(pixels("|u1", &[3, 200]), [3, 200]);
        assert_eq!(pixels("|b1", &[0, 1]), [0, 255]);
        assert_eq!(pixels(">u2", &[0, 3, 0, 255]), [3, 255]);
        assert_eq!(pixels("<f8", &[0.5_f64.to_le_bytes(), 1.0_f64.to_le_bytes()].concat()), [128, 255]);
    }

    #[test]
    fn what_is_no_pixel_or_no_label_is_refused_with_the_value() {
        let refused = |result: Result<Vec<u8>>| result.unwrap_err().to_string();
        let pixels = |descr: &str, values: &[u8]| array(descr, "(1,)", values).unwrap().into_pixels().map(|(p, _)| p);
        assert_eq!(refused(pixels("<i2", &[0, 1])), "`a.npy`: pixels must be 0 to 255, got 256");
        assert_eq!(refused(pixels("|i1", &[255])), "`a.npy`: pixels must be 0 to 255, got -1");
        let float = refused(pixels("<f4", &1.5_f32.to_le_bytes()));
        assert_eq!(float, "`a.npy`: pixels must be 0 to 1 where they are fractions, got 1.5");
        assert!(pixels("<f4", &f32::NAN.to_le_bytes()).is_err());
        for (descr, values) in [("|i1", &[255][..]), ("<u2", &[255, 255]), ("<f4", &[0, 0, 0, 63])] {
            assert!(array(descr, "(1,)", values).unwrap().labels().is_err(), "{descr}");
        }
        assert!(array("|u1", "(2, 3)", &[0; 6]).unwrap().labels().is_err());
    }

    #[test]
    fn every_header_is_read_or_refused() {
        for (descr, shape, values, said) in [
            ("|O", "(1,)", &[0][..], "holds Python objects"),
            ("<c16", "(1,)", &[0; 16], "holds no numbers"),
            ("|u1", "(3,)", &[0, 0], "must hold 3 bytes after its header, which says [3] of '|u1', got 2"),
            ("|u1", "(18446744073709551615, 2)", &[], "more bytes than there can be"),
            ("|u1", "(-1,)", &[], "descr, fortran_order and shape"),
            ("|u1", "(1,1,1,1,1,1,1,1,1)", &[0], "descr, fortran_order and shape"),
        ] {
            let error = array(descr, shape, values).err().unwrap();
            assert!(error.to_string().contains(said), "{descr} {shape}: {error}");
            assert_eq!((error.exit_code(), error.tips().len()), (2, 1));
        }
        let good = npy("|u1", "(2,)", &[1, 2]);
        for length in 0..good.len() {
            let file = Stored { shown: "a.npy".into(), bytes: good[..length].to_vec() };
            assert!(NpyArray::read(file).is_err(), "{length}");
        }
    }
}
