//! `[data]`: its types, their defaults and their limits.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ImageShape;
use super::augment::AugmentConfig;
use super::preprocess::Fit;
use super::synthetic::SyntheticConfig;
use crate::check::{Check, Problems};

/// The largest height or width of an image in pixels: these are networks for small images.
pub(crate) const LARGEST_SIDE: usize = 512;

/// The smallest height or width of an image in pixels.
const SMALLEST_SIDE: usize = 4;

/// `[data]`: where the images come from and how they are prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataConfig {
    /// Where the images come from.
    #[serde(flatten)]
    pub source: Source,
    /// Images held out of the training set to choose the best epoch by: stratified by class, drawn by the seed. 0 keeps
    /// every image for training, and then the last epoch is the one that is kept.
    #[serde(default = "default_validation")]
    pub validation: usize,
    /// Random distortions of the training images, new in every epoch.
    #[serde(default)]
    pub augment: AugmentConfig,
}

fn default_validation() -> usize {
    5000
}

/// `data.kind` and the keys that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The 70,000 handwritten digits of MNIST, embedded in the program.
    Mnist(MnistConfig),
    /// Any four IDX files in one folder, plain or gzip-compressed, under MNIST's file names.
    Idx(IdxConfig),
    /// A folder of pictures: `train/CLASS/*.png` and `test/CLASS/*.png`.
    Folder(FolderConfig),
    /// Small made-up images, the same for the same seed: for tests and benchmarks.
    Synthetic(SyntheticConfig),
}

/// The keys of `data.kind = "mnist"`: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MnistConfig {}

/// The keys of `data.kind = "idx"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdxConfig {
    /// The folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`, each plain or with `.gz`.
    pub path: PathBuf,
    /// How `predict` brings a picture of any size to the images' size: `digit` for handwriting, white on black like
    /// MNIST; `resize` for everything else.
    #[serde(default)]
    pub fit: FitConfig,
}

/// How a picture of any size is brought to the size of the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FitConfig {
    /// Resized, aspect ignored, colours kept.
    #[default]
    Resize,
    /// Ink found, cropped, fitted into a box and centred, as MNIST was made.
    Digit,
}

/// The keys of `data.kind = "folder"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FolderConfig {
    /// The folder that holds `train` and `test`, each with one folder per class.
    pub path: PathBuf,
    /// Colour channels: 1 turns every picture grey, 3 keeps colour.
    #[serde(default = "one")]
    pub channels: usize,
    /// Rows that every picture is resized to.
    #[serde(default = "twenty_eight")]
    pub height: usize,
    /// Columns that every picture is resized to.
    #[serde(default = "twenty_eight")]
    pub width: usize,
}

fn one() -> usize {
    1
}

fn twenty_eight() -> usize {
    28
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Source::Mnist(MnistConfig {}),
            validation: default_validation(),
            augment: AugmentConfig::default(),
        }
    }
}

impl DataConfig {
    /// How `predict` must bring a picture to `shape`, given how this source's images were made.
    pub fn fit(&self, shape: ImageShape) -> Fit {
        match &self.source {
            Source::Mnist(_) | Source::Idx(IdxConfig { fit: FitConfig::Digit, .. }) => Fit::digit(shape),
            Source::Idx(_) | Source::Folder(_) | Source::Synthetic(_) => Fit::Resize,
        }
    }
}

impl Check for DataConfig {
    fn check(&self, problems: &mut Problems) {
        match &self.source {
            Source::Mnist(_) => {}
            Source::Idx(source) => require_path(&source.path, problems),
            Source::Folder(source) => {
                require_path(&source.path, problems);
                require_shape(source.channels, source.height, source.width, problems);
            }
            Source::Synthetic(source) => source.check(problems),
        }
        problems.within("augment", |problems| self.augment.check(problems));
    }
}

impl Check for SyntheticConfig {
    fn check(&self, problems: &mut Problems) {
        const MOST_IMAGES: usize = 1_000_000;
        let Self { train, test, classes, noise, .. } = *self;
        problems.require((2..=100).contains(&classes), "classes", || format!("must be 2 to 100, got {classes}"));
        problems.require((classes..=MOST_IMAGES).contains(&train), "train", || {
            format!("must be {classes} (one image per class) to {MOST_IMAGES}, got {train}")
        });
        problems
            .require((1..=MOST_IMAGES).contains(&test), "test", || format!("must be 1 to {MOST_IMAGES}, got {test}"));
        require_shape(self.channels, self.height, self.width, problems);
        problems.require((0.0..=1.0).contains(&noise), "noise", || format!("must be 0 to 1, got {noise}"));
    }
}

fn require_path(path: &std::path::Path, problems: &mut Problems) {
    problems.require(!path.as_os_str().is_empty(), "path", || "must name a folder, got an empty path".into());
}

fn require_shape(channels: usize, height: usize, width: usize, problems: &mut Problems) {
    problems
        .require([1, 3].contains(&channels), "channels", || format!("must be 1 (grey) or 3 (colour), got {channels}"));
    for (key, side) in [("height", height), ("width", width)] {
        problems.require((SMALLEST_SIDE..=LARGEST_SIDE).contains(&side), key, || {
            format!("must be {SMALLEST_SIDE} to {LARGEST_SIDE}, got {side}")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let config: DataConfig = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        config.check(&mut problems);
        problems.into_vec().into_iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect()
    }

    #[test]
    fn the_default_is_allowed() {
        assert!(problems("kind = \"mnist\"").is_empty());
        assert!(problems("kind = \"synthetic\"").is_empty());
    }

    #[test]
    fn every_value_out_of_range_is_named_with_what_is_allowed() {
        let synthetic = "kind = \"synthetic\"\nclasses = 1\ntrain = 0\ntest = 0\nchannels = 2\nheight = 3\nnoise = 2.0";
        assert_eq!(
            problems(synthetic),
            [
                "classes: must be 2 to 100, got 1",
                "train: must be 1 (one image per class) to 1000000, got 0",
                "test: must be 1 to 1000000, got 0",
                "channels: must be 1 (grey) or 3 (colour), got 2",
                "height: must be 4 to 512, got 3",
                "noise: must be 0 to 1, got 2",
            ]
        );
        assert_eq!(problems("kind = \"idx\"\npath = \"\""), ["path: must name a folder, got an empty path"]);
        let augment = "kind = \"mnist\"\n[augment]\nscale = 1.0\nrotate_degrees = -1\nelastic_smoothness = nan";
        assert_eq!(
            problems(augment),
            [
                "augment.rotate_degrees: must be 0 to 180, got -1",
                "augment.scale: must be at least 0 and below 1, got 1",
                "augment.elastic_smoothness: must be above 0 and at most 64, got NaN",
            ]
        );
    }
}
