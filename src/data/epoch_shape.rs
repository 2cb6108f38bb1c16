//! How an epoch is cut into batches.

use crate::{Error, Result};

/// How an epoch is cut into batches.
///
/// The images are gone through in **passes**. A pass is a fresh order of all `n` images, cut into batches of
/// `batch_size`; its last batch is smaller when `n` does not divide, or is left out with `drop_last`. So a pass has
/// `ceil(n / batch_size)` batches (`drop_last`: `floor`), and a batch never spans two passes. An epoch is the first
/// `iterations` batches of its passes: exactly one pass when they are equal; with fewer, the rest of the pass is not
/// seen in this epoch; with more, a second pass in a new order follows, then a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochShape {
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches in an epoch.
    pub iterations: usize,
    /// Leave out the batch at the end of a pass that is smaller than `batch_size`.
    pub drop_last: bool,
    /// Batches whose gradients make one update.
    pub accumulation: usize,
}

impl EpochShape {
    /// One pass over `images`: an epoch as the word is usually meant.
    pub fn one_pass(images: usize, batch_size: usize) -> Self {
        let iterations = images.div_ceil(batch_size.max(1));
        Self { batch_size, iterations, drop_last: false, accumulation: 1 }
    }

    /// The batches in one pass over `images`.
    pub fn batches_per_pass(&self, images: usize) -> usize {
        if self.drop_last { images / self.batch_size } else { images.div_ceil(self.batch_size) }
    }

    /// The number of images in batch `iteration` (from 0) of an epoch.
    pub fn size_of(&self, images: usize, iteration: usize) -> usize {
        let start = iteration % self.batches_per_pass(images) * self.batch_size;
        self.batch_size.min(images - start)
    }

    /// The number of images in the first `iterations` batches of an epoch, counting repeats.
    pub fn items_in(&self, images: usize, iterations: usize) -> usize {
        if iterations == 0 {
            return 0;
        }
        let per_pass = self.batches_per_pass(images);
        let whole_pass = images.min(per_pass * self.batch_size);
        iterations / per_pass * whole_pass + images.min(iterations % per_pass * self.batch_size)
    }

    /// Which fraction of the images of its accumulation window batch `iteration` has. The last window of an epoch ends with
    /// the epoch.
    pub fn weight_of(&self, images: usize, iteration: usize) -> f32 {
        let start = iteration - iteration % self.accumulation;
        let end = (start + self.accumulation).min(self.iterations);
        let window = self.items_in(images, end) - self.items_in(images, start);
        self.size_of(images, iteration) as f32 / window as f32
    }

    /// # Errors
    /// A usage error when there is not a single batch.
    pub(super) fn check(&self, images: usize) -> Result<()> {
        if self.batch_size == 0 || self.accumulation == 0 {
            return Err(Error::usage(format!(
                "batch size and accumulation must be at least 1, got {} and {}",
                self.batch_size, self.accumulation
            )));
        }
        if self.iterations > 0 && self.batches_per_pass(images) == 0 {
            return Err(Error::usage(format!(
                "{} iterations need at least one batch of {} images, got {images} images",
                self.iterations, self.batch_size
            ))
            .tip("use a smaller `train.batch_size`, or `train.drop_last = false`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_a_window_add_up_to_1_in_proportion_to_size() {
        let shape = EpochShape { batch_size: 4, iterations: 7, drop_last: false, accumulation: 2 };
        let weights: Vec<f32> = (0..7).map(|iteration| shape.weight_of(10, iteration)).collect();
        let expected = [0.5, 0.5, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0, 1.0];
        assert!(weights.iter().zip(expected).all(|(weight, expected)| (weight - expected).abs() < 1e-6), "{weights:?}");
    }
}
