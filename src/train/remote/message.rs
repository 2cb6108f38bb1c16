//! What is in the messages between a run and a worker. Both know the network, so that its tensors need no names: they come in
//! the order of those, whole, as 32-bit floats. All numbers are little-endian.

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::document::Origin;
use crate::config::{Experiment, TrainConfig};
use crate::data::{Dataset, ImageShape};
use crate::models::{WeightTensor, Weights};
use crate::ops::bytes;
use crate::{Error, Result};

/// What a worker knows of a run: as much of its config as a forward and backward pass needs, and no name and no path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::train) struct Job {
    /// A config with the network, the loss, the precision and the seed of the run, the rest at its defaults.
    config: String,
    pub(super) shape: ImageShape,
    pub(super) classes: usize,
    /// Training images of each class.
    pub(super) class_counts: Vec<usize>,
}

impl Job {
    /// That of a run of `experiment` on `dataset`.
    pub(in crate::train) fn new(experiment: &Experiment, dataset: &Dataset) -> Self {
        let told = Experiment {
            seed: experiment.seed,
            model: experiment.model.clone(),
            loss: experiment.loss.without_teacher(),
            train: TrainConfig { precision: experiment.train.precision, ..TrainConfig::default() },
            ..Experiment::default()
        };
        Self {
            config: told.to_toml(),
            shape: dataset.train.shape,
            classes: dataset.train.classes.len(),
            class_counts: dataset.train.class_counts(),
        }
    }

    /// Refuses numbers that no data set of kiln has: what follows multiplies and adds them up.
    ///
    /// # Errors
    /// When there is one.
    pub(super) fn check(&self) -> Result<()> {
        const MOST_CLASSES: usize = 1 << 16;
        const MOST_VALUES: usize = 1 << 26;
        let ImageShape { channels, height, width } = self.shape;
        let values = [channels, height, width].into_iter().try_fold(1_usize, usize::checked_mul);
        if values.is_none_or(|values| !(1..=MOST_VALUES).contains(&values)) {
            return Err(Error::usage(format!("the job has images of {}", self.shape)));
        }
        let counted = self.class_counts.len();
        if counted != self.classes || counted > MOST_CLASSES {
            return Err(Error::usage(format!(
                "the job counts the images of {counted} classes, it has {}",
                self.classes
            )));
        }
        match self.class_counts.iter().find(|count| **count > u32::MAX as usize) {
            None => Ok(()),
            Some(count) => Err(Error::usage(format!("the job has {count} images of a class"))),
        }
    }

    /// The network, the loss and the seed.
    ///
    /// # Errors
    /// When they are none.
    pub(super) fn experiment(&self) -> Result<Experiment> {
        Experiment::load(&Origin::Text("the run's config".to_owned(), self.config.clone()), &[])
    }
}

/// A part of a batch but for its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PartHead {
    pub(super) images: usize,
    pub(super) first_image: usize,
    pub(super) epoch: usize,
    pub(super) iteration: usize,
    pub(super) weight: f32,
    pub(super) share: f32,
    /// The share of the other labels, where images were mixed.
    pub(super) mixed: Option<f32>,
}

/// Writes a message.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// One that has room for so many numbers of four bytes.
    pub(super) fn with_room(numbers: usize) -> Self {
        Self(Vec::with_capacity(numbers * 4 + 64))
    }

    pub(super) fn head(&mut self, head: &PartHead) {
        for number in [head.images, head.first_image, head.epoch, head.iteration] {
            self.0.extend_from_slice(&(number as u64).to_le_bytes());
        }
        self.floats(&[head.weight, head.share, head.mixed.unwrap_or(0.0)]);
        self.0.push(u8::from(head.mixed.is_some()));
    }

    pub(super) fn floats(&mut self, values: &[f32]) {
        bytes::append(values, &mut self.0);
    }

    pub(super) fn ints(&mut self, values: &[i32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(super) fn weights(&mut self, weights: &Weights) {
        weights.iter().for_each(|(_, tensor)| self.floats(&tensor.values));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a message; whatever is missing or too much is an error.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| {
            Error::failed(format!("a message ends {} bytes before its end", length.saturating_sub(self.0.len())))
        })?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize> {
        let number = self.take(8)?.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| Error::failed(format!("a message names the number {number}")))
    }

    pub(super) fn head(&mut self) -> Result<PartHead> {
        let [images, first_image, epoch, iteration] = [self.number()?, self.number()?, self.number()?, self.number()?];
        let floats = self.floats(3)?;
        let is_mixed = self.take(1)?[0] != 0;
        Ok(PartHead {
            images,
            first_image,
            epoch,
            iteration,
            weight: floats[0],
            share: floats[1],
            mixed: is_mixed.then_some(floats[2]),
        })
    }

    pub(super) fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        Ok(bytes::floats(self.take(count.saturating_mul(4))?))
    }

    pub(super) fn ints(&mut self, count: usize) -> Result<Vec<i32>> {
        let bytes = self.take(count.saturating_mul(4))?;
        Ok(bytes.as_chunks().0.iter().map(|four| i32::from_le_bytes(*four)).collect())
    }

    /// Tensors with the names and shapes of `like`.
    pub(super) fn weights(&mut self, like: &Weights) -> Result<Weights> {
        let tensors = like.iter().map(|(name, tensor)| {
            let values = self.floats(tensor.values.len())?;
            Ok((name.to_owned(), WeightTensor { shape: tensor.shape.clone(), values }))
        });
        tensors.collect()
    }

    pub(super) fn finish(self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            rest => Err(Error::failed(format!("a message has {rest} bytes too many"))),
        }
    }
}

/// The numbers of a tensor, on the host.
pub(super) fn floats_of<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as().map_err(|error| Error::failed("a tensor cannot be read from the device").caused_by(error))
}

/// Labels, on the host.
pub(super) fn ints_of(tensor: Tensor<1, Int>) -> Result<Vec<i32>> {
    tensor.try_into_vec_as().map_err(|error| Error::failed("labels cannot be read from the device").caused_by(error))
}
