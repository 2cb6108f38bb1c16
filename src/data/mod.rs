//! Image sets and how batches are made from them. The only module that sees `burn_dataset`; no network is ever used.
//!
//! [`open`] reads a data set: one of the [`sources`] delivers training and test images, validation is split off, and the
//! training images are measured for [`Preprocess`]. A `loader` then puts the images into an order, `augment` distorts
//! them, and a `batch` is made of them. Pixels stay `u8` in memory until a batch is made, in one pass through a look-up
//! table.

pub mod augment;
pub(crate) mod batch;
mod block;
#[cfg(test)]
mod broken_pictures;
mod class_weights;
mod classes;
mod config;
#[cfg(test)]
mod drawn_digits;
pub(crate) mod epoch_shape;
pub mod examples;
mod image_set;
pub(crate) mod loader;
pub(crate) mod memory;
pub(crate) mod mixing;
pub(crate) mod order;
mod path;
pub mod picture;
pub mod preprocess;
pub mod progress;
pub mod sources;
mod split;
pub mod survey;
mod views;

pub use augment::AugmentConfig;
pub use class_weights::{ClassWeightRule, ClassWeights};
pub(crate) use classes::{check_class_names, differ_in_a_mirror};
pub use config::{DataConfig, Validation};
pub use image_set::ImageSet;
pub use kiln_pixels::ImageShape;
pub(crate) use kiln_pixels::random;
pub use order::Sampling;
pub use path::DataPath;
pub use preprocess::Preprocess;
pub(crate) use sources::LARGEST_SIDE;
pub use sources::SourceConfig;
pub(crate) use views::View;
pub use views::{Shift, TestTimeAugmentation, TestTimeAugmentationConfig};

use crate::check::Problems;
use crate::{Error, Result};
use image_set::Fingerprint;
use sources::Splits;

/// An opened data set: three splits that have no image in common, and what identifies their content.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the network learns from.
    pub train: ImageSet,
    /// What choices are made on (best epoch, early stop); held out of the training images. May be empty.
    pub validation: ImageSet,
    /// What the finished model is measured on, once.
    pub test: ImageSet,
    /// How pixels become network inputs: mean and standard deviation of `train`, and how a picture of another size is
    /// brought to its size.
    pub preprocess: Preprocess,
    /// SHA-256 over the pixels, the labels and the class names of the source's training and test images, before
    /// validation is held out, and of validation images of its own. It depends on the content alone: neither on paths nor on how files are packed.
    pub fingerprint: String,
    /// Things the user must know, for example a damaged cache file that was replaced.
    pub notices: Vec<String>,
    /// The fingerprint without the class names.
    unnamed_fingerprint: String,
}

impl Dataset {
    /// The same with fewer images: the training images at `train`, in that order, and the first of the others. Still measured
    /// and identified as the whole set.
    pub(crate) fn cut(&self, train: &[usize], validation: usize, test: usize) -> Self {
        let first = |set: &ImageSet, count: usize| set.select(&(0..count.min(set.len())).collect::<Vec<_>>());
        Self {
            train: self.train.select(train),
            validation: first(&self.validation, validation),
            test: first(&self.test, test),
            ..self.clone()
        }
    }

    /// Whether `fingerprint`, as a run, a checkpoint or a model file recorded it, is of these images. One that was
    /// recorded without the class names counts too: earlier versions of kiln did not hash them.
    pub fn has_fingerprint(&self, fingerprint: &str) -> bool {
        [&self.fingerprint, &self.unnamed_fingerprint].iter().any(|own| *own == fingerprint)
    }
}

/// Opens the data set that `config` describes: read, checked, and validation held out of the training images by `seed`, unless it has a
/// seed of its own.
///
/// # Errors
/// A usage error when the files are missing, damaged or contradict each other, or when too few images would be left to
/// train on.
pub fn open(config: &DataConfig, seed: u64) -> Result<Dataset> {
    let seed = config.seed_within(seed);
    let Splits { train, validation, test, mut notices, files, .. } = config.source.open(seed)?;
    let mut problems = Problems::default();
    check_class_names(&train.classes, "data", &mut problems);
    if let Some(problem) = problems.into_vec().first() {
        return Err(Error::usage(format!("the classes of the data: {}", problem.message)));
    }
    let Fingerprint { named, unnamed } = image_set::fingerprint(&train, validation.as_ref(), &test);
    let (train, validation) = match validation {
        Some(own) => (train, own),
        None => {
            let held_out = split::held_out(&train, &files.digests(), config.validation, seed, &mut notices)?;
            split::divide(train, &held_out)
        }
    };
    let preprocess = Preprocess::from_training(&train, config.source.fit(train.shape));
    Ok(Dataset { train, validation, test, preprocess, fingerprint: named, notices, unnamed_fingerprint: unnamed })
}
