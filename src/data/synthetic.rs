//! Small made-up images: seeded, quick, learnable. For tests and benchmarks.

use rand::Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImageSet, ImageShape, Parts, draw};
use crate::Result;
use crate::seed::{Purpose, Stream};

/// The keys of `data.kind = "synthetic"`.
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

/// Points along each side of the coarse grid that a class's pattern is interpolated from.
const GRID: usize = 5;

/// The pixels by which an image may be shifted along each axis.
const SHIFT: usize = 1;

/// Each class is a smooth random pattern; each image is its class's pattern, shifted by up to a pixel, with noise. Only
/// sums and products of numbers are used, so the bytes are the same on every machine.
pub(super) fn generate(config: &SyntheticConfig, seed: u64) -> Result<Parts> {
    let shape = ImageShape { channels: config.channels, height: config.height, width: config.width };
    let stream = Stream::new(seed, Purpose::Synthetic);
    let patterns: Vec<_> = (0..config.classes).map(|class| Pattern::draw(shape, &mut stream.at(0, class))).collect();
    let classes: std::sync::Arc<[String]> = (0..config.classes).map(|class| class.to_string()).collect();
    let part = |epoch: usize, count: usize| {
        let mut pixels = vec![0; count * shape.len()];
        pixels.par_chunks_exact_mut(shape.len()).enumerate().for_each(|(index, image)| {
            patterns[index % patterns.len()].image(config.noise, &mut stream.at(epoch, index), image);
        });
        let labels = (0..count).map(|index| (index % config.classes) as u16).collect();
        ImageSet::new(shape, pixels, labels, classes.clone())
    };
    Ok(Parts { train: part(1, config.train)?, test: part(2, config.test)?, notices: Vec::new() })
}

/// The pattern of one class, with a margin of [`SHIFT`] pixels on every side.
struct Pattern {
    shape: ImageShape,
    /// `[c, h + 2 SHIFT, w + 2 SHIFT]`, 0 to 255.
    values: Vec<f64>,
}

impl Pattern {
    fn draw(shape: ImageShape, rng: &mut impl Rng) -> Self {
        let (height, width) = (shape.height + 2 * SHIFT, shape.width + 2 * SHIFT);
        let mut values = Vec::with_capacity(shape.channels * height * width);
        for _ in 0..shape.channels {
            let grid: [[f64; GRID]; GRID] =
                std::array::from_fn(|_| std::array::from_fn(|_| 255.0 * draw::below(rng, 2) as f64));
            for row in 0..height {
                for column in 0..width {
                    values.push(interpolate(&grid, row as f64 / height as f64, column as f64 / width as f64));
                }
            }
        }
        Self { shape, values }
    }

    fn image(&self, noise: f64, rng: &mut impl Rng, out: &mut [u8]) {
        let ImageShape { height, width, .. } = self.shape;
        let (down, right) = (draw::below(rng, 2 * SHIFT + 1), draw::below(rng, 2 * SHIFT + 1));
        let stride = width + 2 * SHIFT;
        for (index, pixel) in out.iter_mut().enumerate() {
            let (channel, row, column) = (index / (height * width), index / width % height, index % width);
            let value = self.values[(channel * (height + 2 * SHIFT) + row + down) * stride + column + right];
            // The sum of two uniform draws: a triangle, which is close enough to a bell.
            let disturbance = draw::symmetric(rng, 255.0 * noise) + draw::symmetric(rng, 255.0 * noise);
            *pixel = (value + disturbance + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
}

/// The bilinear value of `grid` at `y` and `x`, both in `0..1` over the whole grid.
fn interpolate(grid: &[[f64; GRID]; GRID], y: f64, x: f64) -> f64 {
    let (y, x) = (y * (GRID - 1) as f64, x * (GRID - 1) as f64);
    let (row, column) = (y as usize, x as usize);
    let (down, right) = (y - row as f64, x - column as f64);
    let along = |row: usize| grid[row][column] * (1.0 - right) + grid[row][column + 1] * right;
    along(row) * (1.0 - down) + along(row + 1) * down
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_every_machine() {
        let config = SyntheticConfig { train: 20, test: 5, ..Default::default() };
        let parts = generate(&config, 1).unwrap();
        insta::assert_snapshot!(crate::data::fingerprint(&parts.train, &parts.test), @"f2cf9ef46ab04169c9c1a6dca4f04aaed59c50a85244ac1cc0866340cd788e74");
        assert_ne!(parts.train.pixels, generate(&config, 2).unwrap().train.pixels);
        assert_eq!(parts.train.class_counts(), [2; 10]);
    }

    /// Nearest class mean: the simplest classifier there is.
    #[test]
    fn the_classes_can_be_learnt() {
        let parts = generate(&SyntheticConfig::default(), 3).unwrap();
        let size = parts.train.shape.len();
        let mut means = vec![vec![0.0; size]; 10];
        for index in 0..parts.train.len() {
            for (mean, pixel) in means[parts.train.label(index)].iter_mut().zip(parts.train.image(index)) {
                *mean += f64::from(*pixel) / 100.0;
            }
        }
        let distance = |mean: &[f64], image: &[u8]| -> f64 {
            mean.iter().zip(image).map(|(mean, pixel)| (mean - f64::from(*pixel)).powi(2)).sum()
        };
        let right = (0..parts.test.len()).filter(|&index| {
            let distances: Vec<f64> = means.iter().map(|mean| distance(mean, parts.test.image(index))).collect();
            let nearest = (0..10).min_by(|a, b| distances[*a].total_cmp(&distances[*b]));
            nearest == Some(parts.test.label(index))
        });
        assert!(right.count() > 190);
    }
}
