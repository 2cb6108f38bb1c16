//! Random distortions of one training image, drawn from (seed, epoch, position).
//! Never a flip: a mirrored 2 is no digit.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImageShape, random};
use crate::check::{Check, Problems};
use crate::seed::{Purpose, Stream};

/// `[data.augment]`: the largest distortion of each kind; 0 switches a kind off. Every image of every epoch gets its own
/// draw, uniform between minus and plus the given value. Torchvision's `RandomAffine` and `ElasticTransform` do the same,
/// in two resamplings instead of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AugmentConfig {
    /// Shift in pixels, along each axis.
    pub shift_pixels: f64,
    /// Rotation in degrees about the centre.
    pub rotate_degrees: f64,
    /// Scale as a fraction: 0.1 draws a factor between 0.9 and 1.1.
    pub scale: f64,
    /// Horizontal shear in degrees.
    pub shear_degrees: f64,
    /// Elastic distortion: the displacement in pixels (root mean square along each axis) of a smooth random field.
    pub elastic_pixels: f64,
    /// Smoothness of the elastic field: the standard deviation in pixels of the Gaussian that blurs it.
    pub elastic_smoothness: f64,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            shift_pixels: 0.0,
            rotate_degrees: 0.0,
            scale: 0.0,
            shear_degrees: 0.0,
            elastic_pixels: 0.0,
            // The value of Simard, Steinkraus and Platt (2003) for MNIST.
            elastic_smoothness: 4.0,
        }
    }
}

impl AugmentConfig {
    /// True when no image would be changed.
    pub fn is_identity(&self) -> bool {
        !self.moves_affinely() && self.elastic_pixels == 0.0
    }

    fn moves_affinely(&self) -> bool {
        [self.shift_pixels, self.rotate_degrees, self.scale, self.shear_degrees].iter().any(|limit| *limit != 0.0)
    }
}

impl Check for AugmentConfig {
    fn check(&self, problems: &mut Problems) {
        let limits = [
            ("shift_pixels", self.shift_pixels, 64.0),
            ("rotate_degrees", self.rotate_degrees, 180.0),
            ("elastic_pixels", self.elastic_pixels, 64.0),
        ];
        for (key, value, most) in limits {
            problems.require((0.0..=most).contains(&value), key, || format!("must be 0 to {most}, got {value}"));
        }
        for (key, value, end) in [("scale", self.scale, 1.0), ("shear_degrees", self.shear_degrees, 90.0)] {
            problems.require((0.0..end).contains(&value), key, || {
                format!("must be at least 0 and below {end}, got {value}")
            });
        }
        let smoothness = self.elastic_smoothness;
        problems.require(smoothness > 0.0 && smoothness <= 64.0, "elastic_smoothness", || {
            format!("must be above 0 and at most 64, got {smoothness}")
        });
    }
}

/// The distortions of `AugmentConfig`, ready for images of one size.
#[derive(Clone, Debug)]
pub struct Augment {
    config: AugmentConfig,
    shape: ImageShape,
    stream: Stream,
    elastic: Option<ElasticField>,
}

/// Memory that one thread reuses from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    padded: Vec<f32>,
    displacement: [Vec<f32>; 2],
    blurred: Vec<f32>,
}

impl Augment {
    /// Distortions of images of `shape`, drawn under the experiment's `seed`.
    pub fn new(config: &AugmentConfig, shape: ImageShape, seed: u64) -> Self {
        let elastic = (config.elastic_pixels > 0.0)
            .then(|| ElasticField::new(config.elastic_pixels, config.elastic_smoothness, shape));
        Self { config: config.clone(), shape, stream: Stream::new(seed, Purpose::Augmentation), elastic }
    }

    /// Writes the distorted image to `out`, both `[c, h, w]`. The draw depends on the seed, `epoch` and `position` (the
    /// image's place in the epoch's order) alone. What comes in from outside the image is background, 0.
    pub fn apply(&self, pixels: &[u8], (epoch, position): (usize, usize), scratch: &mut Scratch, out: &mut [u8]) {
        let mut rng = self.stream.at(epoch, position);
        let map = AffineMap::draw(&self.config, &mut rng);
        if let Some(elastic) = &self.elastic {
            elastic.draw(&mut rng, scratch);
        }
        let ImageShape { height, width, .. } = self.shape;
        let plane = height * width;
        let Scratch { padded, displacement, .. } = scratch;
        for (pixels, out) in pixels.chunks_exact(plane).zip(out.chunks_exact_mut(plane)) {
            pad(pixels, width, padded);
            let source = Padded { values: padded, height, width };
            let centre = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                let y = row as f32 - centre.1 - map.down;
                for (column, out) in out.iter_mut().enumerate() {
                    let x = column as f32 - centre.0 - map.right;
                    let mut from_x = map.xx * x + map.xy * y + centre.0;
                    let mut from_y = map.yx * x + map.yy * y + centre.1;
                    if self.elastic.is_some() {
                        from_x += displacement[0][row * width + column];
                        from_y += displacement[1][row * width + column];
                    }
                    *out = (source.at(from_x, from_y) + 0.5) as u8;
                }
            }
        }
    }
}

/// From a pixel of the distorted image, relative to its shifted centre, to the place in the source that it shows.
struct AffineMap {
    xx: f32,
    xy: f32,
    yx: f32,
    yy: f32,
    right: f32,
    down: f32,
}

impl AffineMap {
    /// The inverse of: scale, then shear, then rotate about the centre, then shift. Always six draws, so that a kind
    /// that is switched off does not change the draws of the others.
    fn draw(config: &AugmentConfig, rng: &mut impl Rng) -> Self {
        let right = random::uniform_symmetric(rng, config.shift_pixels);
        let down = random::uniform_symmetric(rng, config.shift_pixels);
        let (sin, cos) = random::uniform_symmetric(rng, config.rotate_degrees.to_radians()).sin_cos();
        let scale_x = 1.0 + random::uniform_symmetric(rng, config.scale);
        let scale_y = 1.0 + random::uniform_symmetric(rng, config.scale);
        let shear = random::uniform_symmetric(rng, config.shear_degrees).to_radians().tan();
        // forward = R(angle) * [1 shear; 0 1] * diag(scale_x, scale_y); its inverse row by row:
        let xx = (cos + shear * sin) / scale_x;
        let xy = (sin - shear * cos) / scale_x;
        let (yx, yy) = (-sin / scale_y, cos / scale_y);
        let [xx, xy, yx, yy, right, down] = [xx, xy, yx, yy, right, down].map(|value| value as f32);
        Self { xx, xy, yx, yy, right, down }
    }
}

/// One channel with a border of background, one pixel before and two after, so that interpolation needs no branches.
struct Padded<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
}

fn pad(pixels: &[u8], width: usize, padded: &mut Vec<f32>) {
    let stride = width + 3;
    padded.clear();
    padded.resize((pixels.len() / width + 3) * stride, 0.0);
    for (pixels, padded) in pixels.chunks_exact(width).zip(padded[stride..].chunks_exact_mut(stride)) {
        for (padded, pixel) in padded[1..].iter_mut().zip(pixels) {
            *padded = f32::from(*pixel);
        }
    }
}

impl Padded<'_> {
    /// The bilinear value at (`x`, `y`), in pixels from the centre of the first pixel; 0 outside.
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
}

/// Smooth random displacements (Simard, Steinkraus and Platt, 2003): uniform noise blurred by a Gaussian. The field
/// wraps round at the border, so that it is equally strong everywhere.
#[derive(Clone, Debug)]
struct ElasticField {
    /// The Gaussian, from -radius to radius; its squares are scaled so that the blurred field has the wanted strength.
    kernel: Vec<f32>,
    height: usize,
    width: usize,
}

impl ElasticField {
    fn new(pixels: f64, smoothness: f64, shape: ImageShape) -> Self {
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
    fn draw(&self, rng: &mut impl Rng, scratch: &mut Scratch) {
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
        let mut unrolled = vec![0.0; length + 2 * radius];
        let start = (length - radius % length) % length;
        for (row, values) in from.chunks_exact(length).enumerate() {
            for (place, value) in unrolled.iter_mut().enumerate() {
                *value = values[(start + place) % length];
            }
            for column in 0..length {
                let window = &unrolled[column..column + self.kernel.len()];
                to[column * rows + row] = window.iter().zip(&self.kernel).map(|(value, weight)| value * weight).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

    fn distort(config: AugmentConfig, pixels: &[u8], place: (usize, usize)) -> Vec<u8> {
        let mut out = vec![7; pixels.len()];
        Augment::new(&config, SHAPE, 1).apply(pixels, place, &mut Scratch::default(), &mut out);
        out
    }

    /// A bright block of 8 x 6 pixels about the point (`x`, `y`).
    fn block(x: usize, y: usize) -> Vec<u8> {
        let inside = |place: usize| (x - 4..x + 4).contains(&(place % 28)) && (y - 3..y + 3).contains(&(place / 28));
        (0..28 * 28).map(|place| if inside(place) { 255 } else { 0 }).collect()
    }

    /// Sum of the pixels and their centre.
    fn mass(pixels: &[u8]) -> (f64, f64, f64) {
        let sum = |weight: fn(usize) -> usize| -> f64 {
            pixels.iter().enumerate().map(|(place, pixel)| f64::from(*pixel) * weight(place) as f64).sum()
        };
        let total = sum(|_| 1);
        (total, sum(|place| place % 28) / total, sum(|place| place / 28) / total)
    }

    #[test]
    fn no_limits_change_nothing() {
        let config = AugmentConfig::default();
        assert!(config.is_identity());
        assert_eq!(distort(config, &block(12, 15), (1, 1)), block(12, 15));
    }

    #[test]
    fn a_shift_moves_the_centre_of_mass_by_at_most_the_limit_and_keeps_the_mass() {
        let config = AugmentConfig { shift_pixels: 3.0, ..Default::default() };
        let before = mass(&block(14, 14));
        let mut furthest = 0.0_f64;
        for position in 0..200 {
            let after = mass(&distort(config.clone(), &block(14, 14), (1, position)));
            assert!((after.0 / before.0 - 1.0).abs() < 0.02);
            for moved in [after.1 - before.1, after.2 - before.2] {
                assert!(moved.abs() < 3.05);
                furthest = furthest.max(moved.abs());
            }
        }
        assert!(furthest > 2.7);
    }

    #[test]
    fn a_rotation_keeps_mass_and_distance_from_the_centre() {
        let config = AugmentConfig { rotate_degrees: 180.0, ..Default::default() };
        for position in 0..50 {
            let (total, x, y) = mass(&distort(config.clone(), &block(20, 14), (1, position)));
            let distance = (x - 13.5).hypot(y - 13.5);
            assert!((distance - 6.0).abs() < 0.15, "{distance}");
            assert!((total / mass(&block(20, 14)).0 - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn scaling_changes_the_area_and_shear_does_not() {
        let spread = |config: AugmentConfig| {
            let areas = (0..100).map(|position| mass(&distort(config.clone(), &block(14, 14), (1, position))).0);
            areas.fold((f64::MAX, 0.0_f64), |(least, most), area| (least.min(area), most.max(area)))
        };
        let area = 48.0 * 255.0;
        let (least, most) = spread(AugmentConfig { scale: 0.2, ..Default::default() });
        assert!(least < 0.8 * area && least > 0.6 * area && most > 1.2 * area && most < 1.5 * area);
        let (least, most) = spread(AugmentConfig { shear_degrees: 20.0, ..Default::default() });
        assert!(least > 0.95 * area && most < 1.05 * area);
    }

    #[test]
    fn the_elastic_field_has_the_asked_strength() {
        for (pixels, smoothness) in [(1.0, 4.0), (2.0, 1.5), (0.5, 12.0)] {
            let field = ElasticField::new(pixels, smoothness, SHAPE);
            let mut scratch = Scratch::default();
            let stream = Stream::new(5, Purpose::Augmentation);
            let mut squares = 0.0;
            for index in 0..400 {
                field.draw(&mut stream.at(0, index), &mut scratch);
                squares += scratch.displacement.iter().flatten().map(|value| f64::from(value * value)).sum::<f64>();
            }
            let strength = (squares / (400 * 2 * 28 * 28) as f64).sqrt();
            assert!((strength / pixels - 1.0).abs() < 0.1, "{strength} for {pixels} at {smoothness}");
        }
    }

    #[test]
    fn draws_depend_on_epoch_and_position() {
        let config = AugmentConfig { shift_pixels: 2.0, elastic_pixels: 1.0, ..Default::default() };
        let image = |place| distort(config.clone(), &block(14, 14), place);
        assert_eq!(image((1, 1)), image((1, 1)));
        assert_ne!(image((1, 1)), image((1, 2)));
        assert_ne!(image((1, 1)), image((2, 1)));
    }
}
