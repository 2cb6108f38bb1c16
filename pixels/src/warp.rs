//! Smooth movements of pixels: an affine map, a field of displacements, or both, in one resampling with bilinear
//! values.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::{Background, ImageShape};

/// From a pixel of the distorted image, relative to its shifted centre, to the place in the source that it shows.
#[derive(Clone, Copy, Debug)]
pub struct AffineMap {
    /// Columns of the source per column.
    pub xx: f32,
    /// Columns of the source per row.
    pub xy: f32,
    /// Rows of the source per column.
    pub yx: f32,
    /// Rows of the source per row.
    pub yy: f32,
    /// How far the image is shifted to the right, in pixels.
    pub right: f32,
    /// How far down.
    pub down: f32,
}

impl AffineMap {
    /// Every pixel shows itself.
    pub const IDENTITY: Self = Self { xx: 1.0, xy: 0.0, yx: 0.0, yy: 1.0, right: 0.0, down: 0.0 };
}

/// Memory that one thread reuses from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    padded: Vec<f32>,
    /// Along x and y, `[h, w]` each, in pixels.
    displacement: [Vec<f32>; 2],
    blurred: Vec<f32>,
}

/// Moves the pixels of an image of `shape` by `map`, and by displacements that `field` draws.
pub fn resample(
    map: &AffineMap,
    field: Option<(&ElasticField, &mut ChaCha8Rng)>,
    (shape, background): (ImageShape, &Background),
    scratch: &mut Scratch,
    image: &mut [u8],
) {
    let is_displaced = field.is_some();
    if let Some((field, rng)) = field {
        field.draw(rng, scratch);
    }
    let plane = shape.height * shape.width;
    let Scratch { padded, displacement, .. } = scratch;
    let displaced = is_displaced.then_some(&*displacement);
    for (channel, pixels) in image.chunks_exact_mut(plane).enumerate() {
        pad(pixels, shape.width, background.constant(channel), padded);
        let source = Padded { values: padded, height: shape.height, width: shape.width };
        match background {
            Background::Reflect => {
                resample_plane(map, displaced, pixels, |x, y| source.at(source.fold_x(x), source.fold_y(y)), shape)
            }
            _ => resample_plane(map, displaced, pixels, |x, y| source.at(x, y), shape),
        }
    }
}

#[inline]
fn resample_plane(
    map: &AffineMap,
    displaced: Option<&[Vec<f32>; 2]>,
    pixels: &mut [u8],
    at: impl Fn(f32, f32) -> f32,
    ImageShape { height, width, .. }: ImageShape,
) {
    let centre = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
    for (row, out) in pixels.chunks_exact_mut(width).enumerate() {
        let y = row as f32 - centre.1 - map.down;
        for (column, out) in out.iter_mut().enumerate() {
            let x = column as f32 - centre.0 - map.right;
            let mut from_x = map.xx * x + map.xy * y + centre.0;
            let mut from_y = map.yx * x + map.yy * y + centre.1;
            if let Some([right, down]) = displaced {
                from_x += right[row * width + column];
                from_y += down[row * width + column];
            }
            *out = (at(from_x, from_y) + 0.5) as u8;
        }
    }
}

/// One channel with a border, one pixel before and two after, so that interpolation needs no branches.
struct Padded<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
}

/// Puts a border of a constant, or of the nearest pixel, round one channel.
fn pad(pixels: &[u8], width: usize, constant: Option<u8>, padded: &mut Vec<f32>) {
    let stride = width + 3;
    padded.clear();
    padded.resize((pixels.len() / width + 3) * stride, f32::from(constant.unwrap_or(0)));
    for (pixels, padded) in pixels.chunks_exact(width).zip(padded[stride..].chunks_exact_mut(stride)) {
        for (padded, pixel) in padded[1..].iter_mut().zip(pixels) {
            *padded = f32::from(*pixel);
        }
        if constant.is_none() {
            (padded[0], padded[width + 1], padded[width + 2]) = (padded[1], padded[width], padded[width]);
        }
    }
    if constant.is_none() {
        let last = padded.len() - 3 * stride;
        padded.copy_within(stride..2 * stride, 0);
        padded.copy_within(last..last + stride, last + stride);
        padded.copy_within(last..last + stride, last + 2 * stride);
    }
}

impl Padded<'_> {
    /// The bilinear value at (`x`, `y`), in pixels from the centre of the first pixel; the border's outside.
    #[inline]
    fn at(&self, x: f32, y: f32) -> f32 {
        // One is added for the border, so that truncation rounds down.
        let x = (x + 1.0).clamp(0.0, (self.width + 1) as f32);
        let y = (y + 1.0).clamp(0.0, (self.height + 1) as f32);
        let (column, row) = (x as usize, y as usize);
        let (right, down) = (x - column as f32, y - row as f32);
        let stride = self.width + 3;
        let corner = row * stride + column;
        let (above, below) = (&self.values[corner..corner + 2], &self.values[corner + stride..corner + stride + 2]);
        let top = above[0] + (above[1] - above[0]) * right;
        let bottom = below[0] + (below[1] - below[0]) * right;
        top + (bottom - top) * down
    }

    fn fold_x(&self, x: f32) -> f32 {
        fold(x, (self.width - 1) as f32)
    }

    fn fold_y(&self, y: f32) -> f32 {
        fold(y, (self.height - 1) as f32)
    }
}

/// The place in `0..=last` that a mirror at both ends shows at `place`.
#[inline]
fn fold(place: f32, last: f32) -> f32 {
    if (0.0..=last).contains(&place) || last == 0.0 {
        return place;
    }
    last - (place.rem_euclid(2.0 * last) - last).abs()
}

/// Columns that are blurred side by side: their sums fit into registers, and none waits for another.
const SUMS: usize = 16;

/// Smooth random displacements (Simard, Steinkraus and Platt, 2003): uniform noise blurred by a Gaussian. The field
/// wraps round at the border, so that it is equally strong everywhere.
#[derive(Clone, Debug)]
pub struct ElasticField {
    /// The Gaussian, from -radius to radius; its squares are scaled so that the blurred field has the wanted strength.
    kernel: Vec<f32>,
    height: usize,
    width: usize,
}

impl ElasticField {
    /// Fields for images of `shape`, of a strength of `pixels` (root mean square), blurred by a Gaussian whose deviation is `smoothness`
    /// pixels.
    pub fn new(pixels: f64, smoothness: f64, shape: ImageShape) -> Self {
        let radius = (3.0 * smoothness).ceil() as i32;
        let gaussian = |offset: i32| (-0.5 * (f64::from(offset) / smoothness).powi(2)).exp();
        let kernel: Vec<f64> = (-radius..=radius).map(gaussian).collect();
        // Wrapping adds up the kernel's tails that land on the same pixel.
        let folded_energy = |length: usize| -> f64 {
            let mut folded = vec![0.0; length];
            for (offset, value) in kernel.iter().enumerate() {
                folded[offset % length] += value;
            }
            folded.iter().map(|value| value * value).sum()
        };
        // Uniform noise in -1..1 has variance 1/3; each of the two blurs multiplies it by the kernel's energy.
        let variance = folded_energy(shape.height) * folded_energy(shape.width) / 3.0;
        let gain = (pixels / variance.sqrt()).sqrt();
        let kernel = kernel.iter().map(|value| (value * gain) as f32).collect();
        Self { kernel, height: shape.height, width: shape.width }
    }

    /// Fills the displacements along x and y, `[h, w]` each, in pixels.
    fn draw(&self, rng: &mut ChaCha8Rng, scratch: &mut Scratch) {
        let Scratch { displacement, blurred, .. } = scratch;
        for field in displacement {
            field.clear();
            field.extend((0..self.height * self.width).map(|_| (rng.next_u32() as f32) / (1_u32 << 31) as f32 - 1.0));
            self.blur_rows(field, blurred, self.width);
            // `blurred` is transposed, so the same pass blurs the columns and transposes back.
            self.blur_rows(blurred, field, self.height);
        }
    }

    /// Blurs each row of `length` values and writes the result transposed.
    fn blur_rows(&self, from: &[f32], to: &mut Vec<f32>, length: usize) {
        let rows = from.len() / length;
        let radius = self.kernel.len() / 2;
        to.clear();
        to.resize(from.len(), 0.0);
        // Each row is unrolled far enough that the kernel needs no wrapping.
        let mut unrolled = vec![0.0; length.next_multiple_of(SUMS) + 2 * radius];
        let start = (length - radius % length) % length;
        for (row, values) in from.chunks_exact(length).enumerate() {
            for turn in unrolled.chunks_mut(length) {
                let (end, beginning) = turn.split_at_mut(turn.len().min(length - start));
                end.copy_from_slice(&values[start..][..end.len()]);
                beginning.copy_from_slice(&values[..beginning.len()]);
            }
            for first in (0..length).step_by(SUMS) {
                let mut sums = [0.0; SUMS];
                for (weight, window) in self.kernel.iter().zip(unrolled[first..].windows(SUMS)) {
                    for (sum, value) in sums.iter_mut().zip(window) {
                        *sum += value * weight;
                    }
                }
                for (column, sum) in (first..length).zip(sums) {
                    to[column * rows + row] = sum;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn the_elastic_field_has_the_asked_strength() {
        for (pixels, smoothness) in [(1.0, 4.0), (2.0, 1.5), (0.5, 12.0)] {
            let field = ElasticField::new(pixels, smoothness, ImageShape { channels: 1, height: 28, width: 28 });
            let mut scratch = Scratch::default();
            let mut squares = 0.0;
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            for _ in 0..400 {
                field.draw(&mut rng, &mut scratch);
                squares += scratch.displacement.iter().flatten().map(|value| f64::from(value * value)).sum::<f64>();
            }
            let strength = (squares / (400 * 2 * 28 * 28) as f64).sqrt();
            assert!((strength / pixels - 1.0).abs() < 0.1, "{strength} for {pixels} at {smoothness}");
        }
    }
}
