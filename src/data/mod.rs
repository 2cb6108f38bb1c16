//! Image sets and how batches are made from them. The only module that sees `burn_dataset`; no network is ever used.
//!
//! Pixels stay `u8` in memory until a batch is made, in one pass through a look-up table.

pub mod augment;
pub mod batch;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod broken_pictures;
mod config;
mod digit;
mod draw;
#[cfg(test)]
mod drawn_digits;
mod folder;
mod idx;
pub mod loader;
pub mod memory;
mod mnist;
mod paper;
pub mod picture;
pub mod preprocess;
mod split;
mod strokes;
pub mod synthetic;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use config::{DataConfig, FitConfig, FolderConfig, IdxConfig, MnistConfig, Source};
pub use split::split;

use crate::{Error, Result};

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
    /// Puts the parts of a set together.
    ///
    /// # Errors
    /// When the pixels do not divide into one image per label, or a label has no class.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u16>, classes: Arc<[String]>) -> Result<Self> {
        if pixels.len() != labels.len() * shape.len() {
            return Err(Error::failed(format!(
                "{} labels of {shape} images need {} pixels, got {}",
                labels.len(),
                labels.len() * shape.len(),
                pixels.len()
            )));
        }
        if let Some(label) = labels.iter().find(|label| usize::from(**label) >= classes.len()) {
            return Err(Error::failed(format!("labels must be below {}, got {label}", classes.len())));
        }
        Ok(Self { pixels: pixels.into(), labels: labels.into(), classes, shape })
    }

    /// The images at `indices`, in that order, with their bytes copied.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.shape.len());
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self { pixels: pixels.into(), labels, classes: self.classes.clone(), shape: self.shape }
    }

    /// The number of images of each class, by label.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in self.labels.iter() {
            counts[usize::from(label)] += 1;
        }
        counts
    }

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

/// What a source delivers, before validation is carved out.
struct Parts {
    train: ImageSet,
    test: ImageSet,
    notices: Vec<String>,
}

/// Opens the data set that `config` describes: read, checked, and validation carved out of the training images by `seed`.
///
/// # Errors
/// A usage error when the files are missing, damaged or contradict each other, or when too few images would be left to
/// train on.
pub fn open(config: &DataConfig, seed: u64) -> Result<Dataset> {
    let parts = match &config.source {
        Source::Mnist(_) => mnist::open()?,
        Source::Idx(source) => idx::open(&source.path)?,
        Source::Folder(source) => folder::open(source)?,
        Source::Synthetic(source) => synthetic::generate(source, seed)?,
    };
    let fingerprint = fingerprint(&parts.train, &parts.test);
    let (train, validation) = split(&parts.train, config.validation, seed)?;
    Ok(Dataset { train, validation, test: parts.test, fingerprint, notices: parts.notices })
}

/// SHA-256 over the shape, the counts, the pixels and the labels of both parts, in hexadecimal.
fn fingerprint(train: &ImageSet, test: &ImageSet) -> String {
    let (train, test) = rayon::join(|| digest(train), || digest(test));
    let mut hash = Sha256::new();
    hash.update(train);
    hash.update(test);
    crate::hex::encode(&hash.finalize())
}

fn digest(set: &ImageSet) -> [u8; 32] {
    let mut hash = Sha256::new();
    for size in [set.len(), set.shape.channels, set.shape.height, set.shape.width] {
        hash.update((size as u64).to_le_bytes());
    }
    hash.update(&set.pixels);
    let labels: Vec<u8> = set.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    hash.update(&labels);
    hash.finalize().into()
}
