//! Small made-up images: seeded, quick, learnable. For tests and benchmarks.

use kiln_pixels::pattern::Pattern;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Source, Splits, allocate, check_shape};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::{ImageSet, ImageShape};
use crate::seed::{Purpose, Stream};

/// Small made-up images, the same for the same seed: for tests and benchmarks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyntheticConfig {
    /// Training images, before validation is taken out.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Classes, 2 to 100.
    pub classes: usize,
    /// Colour channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Strength of the pixel noise, 0 to 1: 0 makes the task trivial.
    pub noise: f64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { train: 1000, test: 200, classes: 10, channels: 1, height: 12, width: 12, noise: 0.2 }
    }
}

impl SyntheticConfig {
    fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width }
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
        check_shape(self.shape(), problems);
        problems.require((0.0..=1.0).contains(&noise), "noise", || format!("must be 0 to 1, got {noise}"));
    }
}

impl Source for SyntheticConfig {
    /// Each class is a smooth random pattern; each image is its class's pattern, shifted by up to a pixel, with noise.
    /// Only sums and products of numbers are used, so the bytes are the same on every machine.
    fn open(&self, seed: u64) -> Result<Splits> {
        let shape = self.shape();
        let stream = Stream::new(seed, Purpose::Synthetic);
        let patterns: Vec<_> = (0..self.classes).map(|class| Pattern::draw(shape, &mut stream.at(0, class))).collect();
        let classes: std::sync::Arc<[String]> = (0..self.classes).map(|class| class.to_string()).collect();
        let split = |epoch: usize, count: usize| {
            let mut pixels = allocate(count, shape)?;
            pixels.par_chunks_exact_mut(shape.len()).enumerate().for_each(|(index, image)| {
                patterns[index % patterns.len()].image(self.noise, &mut stream.at(epoch, index), image);
            });
            let labels = (0..count).map(|index| (index % self.classes) as u16).collect();
            ImageSet::new(shape, pixels, labels, classes.clone())
        };
        Ok(Splits::new(split(1, self.train)?, split(2, self.test)?))
    }

    #[cfg(test)]
    fn example(_: &std::path::Path) -> Self {
        Self { train: 40, test: 10, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_every_machine() {
        let config = SyntheticConfig { train: 20, test: 5, ..Default::default() };
        let splits = config.open(1).unwrap();
        let fingerprint = crate::data::image_set::fingerprint(&splits.train, None, &splits.test);
        insta::assert_snapshot!(fingerprint.named, @"f2cf9ef46ab04169c9c1a6dca4f04aaed59c50a85244ac1cc0866340cd788e74");
        assert_ne!(splits.train.pixels, config.open(2).unwrap().train.pixels);
        assert_eq!(splits.train.class_counts(), [2; 10]);
    }

    #[test]
    fn more_images_than_memory_could_hold_are_refused() {
        let config =
            SyntheticConfig { train: 1_000_000, channels: 3, height: 512, width: 512, ..SyntheticConfig::default() };
        let error = config.open(1).err().unwrap();
        insta::assert_snapshot!(error.render(), @r"
        error: 1000000 images of 3x512x512 are too many: at most 17179869184 bytes are allowed
        tip: use fewer images, or smaller ones: kiln keeps all of them in memory
        ");
        assert_eq!(error.exit_code(), 2);
    }

    /// Nearest class mean: the simplest classifier there is.
    #[test]
    fn the_classes_can_be_learnt() {
        let splits = SyntheticConfig::default().open(3).unwrap();
        let size = splits.train.shape.len();
        let mut means = vec![vec![0.0; size]; 10];
        for index in 0..splits.train.len() {
            for (mean, pixel) in means[splits.train.label(index)].iter_mut().zip(splits.train.image(index)) {
                *mean += f64::from(*pixel) / 100.0;
            }
        }
        let distance = |mean: &[f64], image: &[u8]| -> f64 {
            mean.iter().zip(image).map(|(mean, pixel)| (mean - f64::from(*pixel)).powi(2)).sum()
        };
        let right = (0..splits.test.len()).filter(|&index| {
            let distances: Vec<f64> = means.iter().map(|mean| distance(mean, splits.test.image(index))).collect();
            let nearest = (0..10).min_by(|a, b| distances[*a].total_cmp(&distances[*b]));
            nearest == Some(splits.test.label(index))
        });
        assert!(right.count() > 190);
    }
}
