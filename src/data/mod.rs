//! Image sets and how batches are made from them. The only module that sees `burn_dataset`; no network is ever used.
//!
//! Pixels stay `u8` in memory until a batch is made, in one pass through a look-up table.

pub mod augment;
pub mod batch;
pub mod folder;
pub mod idx;
pub mod loader;
pub mod mnist;
pub mod preprocess;
pub mod split;
pub mod synthetic;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The size of one image: channels x height x width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// Colour channels: 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Values in one image.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// True when the image holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Labelled images of one size, in memory as bytes. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// All pixels, `[images, channels, height, width]`, 0..=255.
    pub pixels: Arc<[u8]>,
    /// One label per image, each below `classes.len()`.
    pub labels: Arc<[u16]>,
    /// The classes by label.
    pub classes: Arc<[String]>,
    /// The size of each image.
    pub shape: ImageShape,
}

impl ImageSet {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `index`, `[channels, height, width]`.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.len();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// The label of image `index`.
    pub fn label(&self, index: usize) -> usize {
        usize::from(self.labels[index])
    }
}

/// An opened data set: three parts that share no image, and what identifies their content.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the network learns from.
    pub train: ImageSet,
    /// What choices are made on (best epoch, early stop); carved from the training images. May be empty.
    pub validation: ImageSet,
    /// What the finished model is measured on, once.
    pub test: ImageSet,
    /// SHA-256 over the pixels and labels of the source's train and test parts, before the split.
    pub fingerprint: String,
    /// Things the user must know, for example a damaged cache file that was replaced.
    pub notices: Vec<String>,
}

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
    pub augment: augment::AugmentConfig,
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
    Idx(PathConfig),
    /// A folder of pictures: `train/CLASS/*.png` and `test/CLASS/*.png`.
    Folder(FolderConfig),
    /// Small made-up images, the same for the same seed: for tests and benchmarks.
    Synthetic(synthetic::SyntheticConfig),
}

/// The keys of `data.kind = "mnist"`: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MnistConfig {}

/// The keys of `data.kind = "idx"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathConfig {
    /// The folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`, each plain or with `.gz`.
    pub path: PathBuf,
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
            augment: augment::AugmentConfig::default(),
        }
    }
}
