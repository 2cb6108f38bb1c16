//! What is seen where a distortion leaves nothing of the image.

use std::cell::OnceCell;
use std::fmt;
use std::str::FromStr;

use kiln_pixels::{Background, table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Problems;
use crate::data::{ImageSet, ImageShape};

/// Images that are looked at to find a mean or a background; more would not change them.
const LOOKED_AT: usize = 10_000;

/// What fills the pixels that an image leaves when it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fill {
    /// Found from the images.
    Rule(FillRule),
    /// A pixel value, 0 to 255, in every channel.
    Value(u64),
}

/// How the pixels that an image leaves are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the key `fill` says what they are")]
pub enum FillRule {
    Auto,
    Edge,
    Reflect,
    Mean,
}

impl Fill {
    pub(crate) const AUTO: Self = Self::Rule(FillRule::Auto);

    pub(crate) fn check(self, problems: &mut Problems) {
        if let Self::Value(value) = self {
            problems.within_range("fill", value, 0..=255);
        }
    }

    /// What it means for images of so many channels, where that takes no images to know.
    pub(in crate::data) fn background_alone(self, channels: usize) -> Option<Background> {
        match self {
            Self::Rule(FillRule::Auto | FillRule::Mean) => None,
            Self::Rule(FillRule::Edge) => Some(Background::Edge),
            Self::Rule(FillRule::Reflect) => Some(Background::Reflect),
            Self::Value(value) => Some(Background::Constant(vec![value.min(255) as u8; channels])),
        }
    }

    /// ", filled with its edge", for people; nothing where kiln chooses.
    pub(in crate::data) fn words(self) -> String {
        match self {
            Self::Rule(FillRule::Auto) => String::new(),
            Self::Rule(FillRule::Edge) => ", the edge continued".into(),
            Self::Rule(FillRule::Reflect) => ", the rest reflected".into(),
            Self::Rule(FillRule::Mean) => ", the rest filled with the mean".into(),
            Self::Value(value) => format!(", the rest filled with {value}"),
        }
    }
}

/// As in a config, without quotes.
impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => f.write_str(rule.name()),
            Self::Value(value) => write!(f, "{value}"),
        }
    }
}

impl FromStr for Fill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = FillRule::ALL.into_iter().find(|rule| rule.name() == text).map(Self::Rule);
        let value = || text.parse::<u8>().ok().map(|value| Self::Value(value.into()));
        rule.or_else(value).ok_or_else(|| "must be auto, edge, reflect, mean, or a pixel value of 0 to 255".to_owned())
    }
}

impl FillRule {
    const ALL: [Self; 4] = [Self::Auto, Self::Edge, Self::Reflect, Self::Mean];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Edge => "edge",
            Self::Reflect => "reflect",
            Self::Mean => "mean",
        }
    }
}

/// What covers a part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paint {
    /// Found from the images or drawn.
    Rule(PaintRule),
    /// A pixel value, 0 to 255, in every channel.
    Value(u64),
}

/// How the pixels that cover a part of an image are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the key `fill` says what they are")]
pub enum PaintRule {
    Mean,
    Noise,
}

impl Paint {
    pub(super) fn check(self, problems: &mut Problems) {
        if let Self::Value(value) = self {
            problems.within_range("fill", value, 0..=255);
        }
    }

    /// " with the mean", for people.
    pub(super) fn words(self) -> String {
        match self {
            Self::Rule(PaintRule::Mean) => "with the mean".into(),
            Self::Rule(PaintRule::Noise) => "with noise".into(),
            Self::Value(value) => format!("with {value}"),
        }
    }
}

/// ", the rest reflected": what is round an image, for people.
pub(in crate::data) fn background_words(background: &Background) -> String {
    match background {
        Background::Constant(values) => match &values[..] {
            [first, rest @ ..] if rest.iter().all(|value| value == first) => Fill::Value(u64::from(*first)).words(),
            all => format!(", the rest filled with {all:?}"),
        },
        Background::Edge => Fill::Rule(FillRule::Edge).words(),
        Background::Reflect => Fill::Rule(FillRule::Reflect).words(),
    }
}

/// The images that are trained on, as far as distortions must know them.
#[derive(Debug)]
pub struct Pictures<'a> {
    set: &'a ImageSet,
    mean: OnceCell<Vec<u8>>,
    background: OnceCell<Background>,
}

impl<'a> Pictures<'a> {
    /// What is to be known of the images of `set`.
    pub fn new(set: &'a ImageSet) -> Self {
        Self { set, mean: OnceCell::new(), background: OnceCell::new() }
    }

    /// Their size.
    pub fn shape(&self) -> ImageShape {
        self.set.shape
    }

    /// What `fill` means for them.
    pub fn background(&self, fill: Fill) -> Background {
        match fill {
            Fill::Rule(FillRule::Auto) => self.background.get_or_init(|| self.usual_background()).clone(),
            other => {
                let mean = || Background::Constant(self.mean());
                other.background_alone(self.shape().channels).unwrap_or_else(mean)
            }
        }
    }

    /// What `paint` means for them: one value per channel, or none for noise.
    pub fn paint(&self, paint: Paint) -> Option<Vec<u8>> {
        match paint {
            Paint::Rule(PaintRule::Mean) => Some(self.mean()),
            Paint::Rule(PaintRule::Noise) => None,
            Paint::Value(value) => Some(vec![value.min(255) as u8; self.shape().channels]),
        }
    }

    /// The mean of each channel.
    fn mean(&self) -> Vec<u8> {
        let mean = || self.histograms(|_, _| true).iter().map(rounded_mean).collect();
        self.mean.get_or_init(mean).clone()
    }

    /// The colour that at least half of the pixels on the images' borders have, for drawings on black, white or any
    /// colour;
    /// where there is none, as in photographs, the image reflected.
    fn usual_background(&self) -> Background {
        let ImageShape { height, width, .. } = self.shape();
        let border = |row: usize, column: usize| row == 0 || column == 0 || row + 1 == height || column + 1 == width;
        let colour = self.histograms(border).iter().map(most_frequent).collect::<Option<Vec<u8>>>();
        colour.map_or(Background::Reflect, Background::Constant)
    }

    /// How often each pixel value is seen in each channel, at the places that are `wanted`.
    fn histograms(&self, wanted: impl Fn(usize, usize) -> bool) -> Vec<[u64; 256]> {
        let ImageShape { channels, height, width } = self.shape();
        let plane = height * width;
        let places: Vec<usize> = (0..plane).filter(|place| wanted(place / width, place % width)).collect();
        let mut histograms = vec![[0_u64; 256]; channels];
        for image in (0..self.set.len()).step_by(self.set.len() / LOOKED_AT + 1) {
            table::count_at(self.set.image(image), &places, plane, &mut histograms);
        }
        histograms
    }
}

fn rounded_mean(histogram: &[u64; 256]) -> u8 {
    let count: u64 = histogram.iter().sum();
    let sum: u64 = (0_u64..).zip(histogram).map(|(value, count)| value * count).sum();
    ((sum + count / 2) / count.max(1)) as u8
}

/// The value that at least half of the pixels have.
fn most_frequent(histogram: &[u64; 256]) -> Option<u8> {
    let count: u64 = histogram.iter().sum();
    (0..=255).zip(histogram).find(|(_, times)| **times * 2 >= count && **times > 0).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(shape: ImageShape, pixels: &[u8]) -> ImageSet {
        let labels = vec![0; pixels.len() / shape.len()];
        ImageSet::new(shape, pixels.to_vec(), labels, ["0".to_owned()].into()).unwrap()
    }

    #[test]
    fn drawings_keep_their_background_and_photographs_are_reflected() {
        let shape = ImageShape { channels: 1, height: 3, width: 3 };
        let auto = |pixels: &[u8]| Pictures::new(&set(shape, pixels)).background(Fill::AUTO);
        // The middle does not count; four of the eight pixels on the border are enough.
        assert_eq!(auto(&[0, 0, 0, 1, 200, 2, 3, 0, 5]), Background::Constant(vec![0]));
        assert_eq!(auto(&[255, 255, 255, 255, 0, 255, 7, 255, 8]), Background::Constant(vec![255]));
        assert_eq!(auto(&[10, 20, 30, 40, 0, 50, 60, 70, 80]), Background::Reflect);
        let colours = ImageShape { channels: 2, height: 1, width: 2 };
        let auto = |pixels: &[u8]| Pictures::new(&set(colours, pixels)).background(Fill::AUTO);
        assert_eq!(auto(&[5, 5, 9, 9]), Background::Constant(vec![5, 9]));
        assert_eq!(auto(&[5, 5, 9, 8, 5, 5, 7, 6]), Background::Reflect);
    }

    #[test]
    fn the_mean_is_of_each_channel() {
        let set = set(ImageShape { channels: 2, height: 1, width: 2 }, &[0, 10, 100, 101, 20, 30, 100, 101]);
        let mean = Background::Constant(vec![15, 101]);
        assert_eq!(Pictures::new(&set).background(Fill::Rule(FillRule::Mean)), mean);
        assert_eq!(Pictures::new(&set).paint(Paint::Rule(PaintRule::Mean)), Some(vec![15, 101]));
        assert_eq!(Pictures::new(&set).background(Fill::Value(7)), Background::Constant(vec![7, 7]));
        assert_eq!(Pictures::new(&set).paint(Paint::Rule(PaintRule::Noise)), None);
    }
}
