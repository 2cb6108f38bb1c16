//! Made-up images: smooth patterns with noise. Only sums and products of numbers are used, so the bytes are the same on every
//! machine.

use rand_chacha::ChaCha8Rng;

use crate::{ImageShape, random};

/// Points along each side of the coarse grid that a class's pattern is interpolated from.
const GRID: usize = 5;

/// The pixels by which an image may be shifted along each axis.
const SHIFT: usize = 1;

/// A smooth pattern, with a margin of [`SHIFT`] pixels on every side.
#[derive(Debug)]
pub struct Pattern {
    shape: ImageShape,
    /// `[c, h + 2 SHIFT, w + 2 SHIFT]`, 0 to 255.
    values: Vec<f64>,
}

impl Pattern {
    /// A smooth pattern, drawn.
    pub fn draw(shape: ImageShape, rng: &mut ChaCha8Rng) -> Self {
        let (height, width) = (shape.height + 2 * SHIFT, shape.width + 2 * SHIFT);
        let mut values = Vec::with_capacity(shape.channels * height * width);
        for _ in 0..shape.channels {
            let grid: [[f64; GRID]; GRID] =
                std::array::from_fn(|_| std::array::from_fn(|_| 255.0 * random::below(rng, 2) as f64));
            for row in 0..height {
                for column in 0..width {
                    values.push(interpolate(&grid, row as f64 / height as f64, column as f64 / width as f64));
                }
            }
        }
        Self { shape, values }
    }

    /// Writes the pattern, shifted by up to [`SHIFT`] pixels, with `noise` (0 to 1) on every pixel.
    pub fn image(&self, noise: f64, rng: &mut ChaCha8Rng, out: &mut [u8]) {
        let ImageShape { height, width, .. } = self.shape;
        let (down, right) = (random::below(rng, 2 * SHIFT + 1), random::below(rng, 2 * SHIFT + 1));
        let stride = width + 2 * SHIFT;
        for (index, pixel) in out.iter_mut().enumerate() {
            let (channel, row, column) = (index / (height * width), index / width % height, index % width);
            let value = self.values[(channel * (height + 2 * SHIFT) + row + down) * stride + column + right];
            // The sum of two uniform draws: a triangle, which is close enough to a bell.
            let disturbance =
                random::uniform_symmetric(rng, 255.0 * noise) + random::uniform_symmetric(rng, 255.0 * noise);
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
