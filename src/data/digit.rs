//! A handwritten digit in any picture, brought to the form of MNIST's images: bright ink on black, fitted into a box,
//! its centre of mass in the centre.
//!
//! 1. The paper is modelled as a smooth surface of colour; so uneven light does not matter, nor which of paper and ink is
//!    darker, nor the ink's colour.
//! 2. Ink is what differs from the paper along the direction in which the strongest differences lie.
//! 3. Small pieces away from the main ones are specks and dropped.
//! 4. What is left is cropped, its strokes are brought to a usual width if they are far from it, and it is scaled.
//!
//! Threshold (Otsu, 1979) and connected components are written here and beside: the `imageproc` crate has both, for its own
//! image types, and brings a linear-algebra library, a font renderer and a statistics library along.

use std::borrow::Cow;
use std::ops::Range;

use image::RgbImage;
use image::imageops;

use super::paper::{Paper, Row, coordinates};
use super::strokes::{self, BORDER, Plane};
use crate::{Error, Result};

/// Larger pictures are averaged down to at most this many pixels along their longer side before anything else.
const WORKING_SIDE: u32 = 512;

/// Ink must stand out from the paper by this much in 0..=255, or the picture counts as blank.
const FAINTEST_INK: f64 = 16.0;

/// Ink must stand out from the paper by this many standard deviations of the paper's noise.
const LEAST_SIGNAL: f64 = 5.0;

/// What differs from the paper by fewer of these deviations is the paper's noise.
const NOISE: f64 = 1.5;

/// Classes of differences among which the threshold between paper and ink is chosen.
const BINS: usize = 256;

/// The image of `size` (height, width), `[h, w]`, with the digit of `picture` in a box of `box_size` pixels.
///
/// # Errors
/// A usage error when no ink stands out.
pub(super) fn fit(picture: &RgbImage, size: (usize, usize), box_size: usize) -> Result<Vec<u8>> {
    let longest = picture.width().max(picture.height());
    let picture = if longest > WORKING_SIDE {
        let scale = |side: u32| (u64::from(side) * u64::from(WORKING_SIDE) / u64::from(longest)).max(1) as u32;
        Cow::Owned(imageops::thumbnail(picture, scale(picture.width()), scale(picture.height())))
    } else {
        Cow::Borrowed(picture)
    };
    let ink = find_ink(&picture)?;
    let digit = strokes::isolate(&ink.plane, ink.threshold);
    let fitted = strokes::scale_into(digit, box_size.min(size.0).min(size.1));
    Ok(centre(&fitted, size))
}

fn blank() -> Error {
    Error::usage("no ink was found: the picture is blank")
        .tip("draw the digit clearly darker or lighter than what is behind it")
}

struct Ink {
    /// How strongly each pixel is ink: 0 paper, 1 full ink. Cut to where the ink is, with a [`BORDER`].
    plane: Plane,
    /// What separates the two.
    threshold: f32,
}

/// The difference from the paper, projected on the direction of the ink.
fn find_ink(picture: &RgbImage) -> Result<Ink> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width.min(height) < 2 {
        return Err(blank());
    }
    let paper = Paper::fit(picture);
    // Most pixels are so near to the paper that they are noise for the ink and of the first class for the threshold,
    // and need not be looked at one by one. How near the latter is shows once the strongest ink is known.
    let mut near = NOISE * paper.noise;
    let (different, mut values) = loop {
        let different = pulp::Arch::new().dispatch(Find { picture, paper: &paper, near });
        let values = different.along(different.direction().ok_or_else(blank)?);
        let of_first_class = largest(&values) / BINS as f64;
        if near <= of_first_class {
            break (different, values);
        }
        near = 0.9 * of_first_class;
    };

    let threshold = otsu(&values, width * height - values.len()).max(4.0 * paper.noise);
    let mut inked: Vec<f64> = values.iter().copied().filter(|value| *value > threshold).collect();
    let (half, most) = (inked.len() / 2, inked.len() * 9 / 10);
    // In colour space, white and black are the square root of 3 times 255 apart.
    let faint = (FAINTEST_INK * 3.0_f64.sqrt()).max(LEAST_SIGNAL * paper.noise);
    if inked.iter().filter(|value| **value < faint).count() > half || inked.is_empty() {
        return Err(blank());
    }
    let (_, &mut full, _) = inked.select_nth_unstable_by(most, f64::total_cmp);
    for value in &mut values {
        *value = if *value < NOISE * paper.noise { 0.0 } else { (*value / full).min(1.0) };
    }
    let threshold = (threshold / full) as f32;
    let plane = different.plane(&values, threshold, width).ok_or_else(blank)?;
    Ok(Ink { plane, threshold })
}

/// Pixels of a row that are looked at together.
const RUN: usize = 16;

/// What differs from the paper.
struct Differences {
    /// Where the pixels are, counted row by row.
    runs: Vec<Range<usize>>,
    /// Their differences from the paper, per colour channel.
    channels: [Vec<f64>; 3],
}

impl Differences {
    /// Adds the first `count` pixels of a run that starts at `start`.
    #[inline(always)]
    fn push(&mut self, (start, count): (usize, usize), pixels: &[u8; 3 * RUN], xs: &[f64; RUN], row: &Row) {
        for (channel, ([one, linear, square], differences)) in row.iter().zip(&mut self.channels).enumerate() {
            let mut values = [0.0; RUN];
            for lane in 0..RUN {
                let paper = (square * xs[lane] + linear) * xs[lane] + one;
                let paper = if paper > 0.0 { paper } else { 0.0 };
                let paper = if paper < 255.0 { paper } else { 255.0 };
                values[lane] = f64::from(pixels[3 * lane + channel]) - paper;
            }
            differences.extend_from_slice(&values[..count]);
        }
        self.runs.push(start..start + count);
    }

    fn squares(&self) -> impl Iterator<Item = f64> {
        let [red, green, blue] = &self.channels;
        red.iter().zip(green).zip(blue).map(|((red, green), blue)| red * red + green * green + blue * blue)
    }

    /// The direction of the strongest differences, each counted by its square: of length 1, or none.
    fn direction(&self) -> Option<[f64; 3]> {
        let squares: Vec<f64> = self.squares().collect();
        let strong = 0.25 * largest(&squares);
        let mut direction = [0.0; 3];
        for (index, square) in squares.iter().enumerate().filter(|(_, square)| **square > strong) {
            for (sum, channel) in direction.iter_mut().zip(&self.channels) {
                *sum += channel[index] * square;
            }
        }
        let norm = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
        (norm > 0.0).then(|| direction.map(|value| value / norm))
    }

    /// How far each pixel is from the paper in `direction`; 0 for what lies in the other.
    fn along(&self, direction: [f64; 3]) -> Vec<f64> {
        let [red, green, blue] = &self.channels;
        let along = |((red, green), blue): ((&f64, &f64), &f64)| {
            let along = red * direction[0] + green * direction[1] + blue * direction[2];
            if along > 0.0 { along } else { 0.0 }
        };
        red.iter().zip(green).zip(blue).map(along).collect()
    }

    /// The `values` of these pixels and 0 for the others, cut to where the values are above `threshold`, with a border
    /// of [`BORDER`] pixels, which may lie beyond the picture. None when no value is. Of a picture of `width`.
    fn plane(&self, values: &[f64], threshold: f32, width: usize) -> Option<Plane> {
        let mut rest = values;
        let mut runs = Vec::with_capacity(self.runs.len());
        let (mut top, mut bottom, mut left, mut right) = (usize::MAX, 0, usize::MAX, 0);
        for run in &self.runs {
            let (values, after) = rest.split_at(run.len());
            rest = after;
            let (x, y) = (run.start % width, run.start / width);
            if values.iter().any(|value| *value as f32 > threshold) {
                (top, bottom) = (top.min(y), bottom.max(y));
                (left, right) = (left.min(x), right.max(x + run.len()));
            }
            runs.push((x, y, values));
        }
        if top > bottom {
            return None;
        }
        // The coordinates are moved by the border, so that it may lie beyond the edge.
        let (wide, high) = (right - left + 2 * BORDER, bottom - top + 1 + 2 * BORDER);
        let mut plane = Plane { width: wide, height: high, values: vec![0.0; wide * high] };
        for (x, y, values) in runs {
            let Some(y) = (y + BORDER).checked_sub(top).filter(|y| *y < high) else { continue };
            let row = &mut plane.values[y * wide..][..wide];
            for (x, value) in (x + BORDER..).zip(values) {
                if let Some(place) = x.checked_sub(left).and_then(|x| row.get_mut(x)) {
                    *place = *value as f32;
                }
            }
        }
        Some(plane)
    }
}

/// All pixels that are farther from the paper than `near`, and some that are not. A type, since it is compiled for each
/// instruction set: a closure that borrows is not taken into the functions that have them.
struct Find<'a> {
    picture: &'a RgbImage,
    paper: &'a Paper,
    near: f64,
}

impl pulp::NullaryFnOnce for Find<'_> {
    type Output = Differences;

    #[inline(always)]
    fn call(self) -> Differences {
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let (xs, ys) = (coordinates(width), coordinates(height));
        let mut found = Differences { runs: Vec::new(), channels: Default::default() };
        for (y, pixels) in self.picture.as_raw().chunks_exact(3 * width).enumerate() {
            let row = self.paper.row(ys[y]);
            let [low, high] = near_colours(&row, self.near);
            let (pixels, rest) = pixels.as_chunks();
            let (places, rest_of_places) = xs.as_chunks();
            for (index, (pixels, xs)) in pixels.iter().zip(places).enumerate() {
                if outside(pixels, &low, &high) {
                    found.push((y * width + index * RUN, RUN), pixels, xs, &row);
                }
            }
            // The rest of the row, filled up with paper.
            let (mut pixels, mut xs) = (low, [0.0; RUN]);
            pixels[..rest.len()].copy_from_slice(rest);
            xs[..rest_of_places.len()].copy_from_slice(rest_of_places);
            if !rest.is_empty() && outside(&pixels, &low, &high) {
                found.push(((y + 1) * width - rest.len() / 3, rest.len() / 3), &pixels, &xs, &row);
            }
        }
        found
    }
}

/// The least and the greatest bytes of a run of pixels that are all within `near` of the paper along a row.
fn near_colours(row: &Row, near: f64) -> [[u8; 3 * RUN]; 2] {
    // Per channel, so that all three together are within it; and rounding errors are no difference.
    let near = (near / 3.0_f64.sqrt() * 0.999).max(1e-9);
    let bounds = row.map(|[one, linear, square]| {
        let at = |x: f64| ((square * x + linear) * x + one).clamp(0.0, 255.0);
        // The vertex of the parabola; a constant has it anywhere.
        let vertex = -linear / (2.0 * square);
        let ends = [-1.0, 1.0, if vertex.is_nan() { 0.0 } else { vertex.clamp(-1.0, 1.0) }].map(at);
        let (least, most) = (ends.into_iter().fold(255.0, f64::min), ends.into_iter().fold(0.0, f64::max));
        let (low, high) = ((most - near).ceil(), (least + near).floor());
        if low <= high { (low as u8, high as u8) } else { (u8::MAX, 0) }
    });
    let [mut low, mut high] = [[0; 3 * RUN]; 2];
    for (low, high) in low.chunks_exact_mut(3).zip(high.chunks_exact_mut(3)) {
        for (channel, bounds) in bounds.iter().enumerate() {
            (low[channel], high[channel]) = *bounds;
        }
    }
    [low, high]
}

/// Whether a byte of a run of pixels lies beyond its bounds.
#[inline(always)]
fn outside(pixels: &[u8; 3 * RUN], low: &[u8; 3 * RUN], high: &[u8; 3 * RUN]) -> bool {
    let mut outside = false;
    for place in 0..3 * RUN {
        outside |= (pixels[place] < low[place]) | (pixels[place] > high[place]);
    }
    outside
}

/// The largest of some numbers and 0; in lanes, since each comparison waits for the one before it.
fn largest(values: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    for chunk in values.chunks(lanes.len()) {
        for (largest, value) in lanes.iter_mut().zip(chunk) {
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
    lanes.into_iter().fold(0.0, f64::max)
}

/// The threshold with the largest variance between what is below and above it (Otsu, 1979), of `values` and as many zeros.
fn otsu(values: &[f64], zeros: usize) -> f64 {
    let largest = largest(values).max(f64::MIN_POSITIVE);
    let mut histogram = [0_u64; BINS];
    histogram[0] = zeros as u64;
    for value in values {
        histogram[((value / largest * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let total = (values.len() + zeros) as f64;
    let sum: f64 = (0..).zip(histogram).map(|(bin, count)| f64::from(bin) * count as f64).sum();
    let (mut below, mut sum_below, mut best) = (0.0, 0.0, (0.0, 0));
    for (bin, count) in histogram.into_iter().enumerate() {
        below += count as f64;
        sum_below += bin as f64 * count as f64;
        if below > 0.0 && below < total {
            let apart = sum_below / below - (sum - sum_below) / (total - below);
            let variance = below * (total - below) * apart * apart;
            if variance > best.0 {
                best = (variance, bin);
            }
        }
    }
    (best.1 + 1) as f64 / BINS as f64 * largest
}

/// Puts `digit` onto black with its centre of mass in the centre, moved by whole pixels and never over the edge.
fn centre(digit: &Plane, (height, width): (usize, usize)) -> Vec<u8> {
    let total: f32 = digit.values.iter().sum();
    let (mut x, mut y) = (0.0, 0.0);
    for (place, value) in digit.values.iter().enumerate() {
        x += value * (place % digit.width) as f32;
        y += value * (place / digit.width) as f32;
    }
    let offset = |length: usize, inner: usize, mass: f32| {
        // In MNIST the centre of mass lies within half a pixel of the pixel with index 14, measured on its files.
        let wanted = (length / 2) as f32 - mass / total.max(f32::MIN_POSITIVE);
        wanted.round().clamp(0.0, (length - inner) as f32) as usize
    };
    let (right, down) = (offset(width, digit.width, x), offset(height, digit.height, y));
    let brightest = digit.values.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut out = vec![0; height * width];
    for (row, values) in digit.values.chunks_exact(digit.width).enumerate() {
        for (column, value) in values.iter().enumerate() {
            out[(row + down) * width + column + right] = (value / brightest * 255.0).round() as u8;
        }
    }
    out
}
