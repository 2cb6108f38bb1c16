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

use image::RgbImage;
use image::imageops;

use super::paper::{Paper, Row};
use super::samples::coordinates;
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
    let fitted = pulp::Arch::new().dispatch(Search { picture: &picture, side: box_size.min(size.0).min(size.1) })?;
    Ok(centre(&fitted, size))
}

/// The search for the digit, scaled to `side`. A type, since all of it is compiled for each instruction set: a closure that
/// borrows is not taken into the functions that have them.
struct Search<'a> {
    picture: &'a RgbImage,
    side: usize,
}

impl pulp::NullaryFnOnce for Search<'_> {
    type Output = Result<Plane>;

    #[inline(always)]
    fn call(self) -> Result<Plane> {
        let ink = find_ink(self.picture)?;
        let digit = strokes::isolate(&ink.plane, ink.threshold);
        Ok(strokes::scale_into(digit, self.side))
    }
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
#[inline(always)]
fn find_ink(picture: &RgbImage) -> Result<Ink> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width.min(height) < 2 {
        return Err(blank());
    }
    let paper = Paper::fit(picture);
    // Most pixels are so near to the paper that they are noise for the ink and of the first class for the threshold,
    // and need not be looked at one by one. How near the latter is shows once the strongest ink is known.
    let mut near = NOISE * paper.noise;
    let (runs, mut values, most) = loop {
        let runs = Runs::beyond(near, picture, &paper);
        let values = runs.along(runs.direction().ok_or_else(blank)?);
        let most = largest(&values);
        let of_first_class = most / BINS as f64;
        if near <= of_first_class {
            break (runs, values, most);
        }
        near = 0.9 * of_first_class;
    };
    let threshold = otsu(&values, most, width * height).max(4.0 * paper.noise);
    let full = full_ink(&values, threshold, paper.noise).ok_or_else(blank)?;
    for value in &mut values {
        let share = *value / full;
        let share = if share < 1.0 { share } else { 1.0 };
        *value = if *value < NOISE * paper.noise { 0.0 } else { share };
    }
    let threshold = (threshold / full) as f32;
    let plane = runs.plane(&values, threshold, width).ok_or_else(blank)?;
    Ok(Ink { plane, threshold })
}

/// Pixels of a row that are looked at together.
const RUN: usize = 8;

/// Runs of pixels some of which differ from the paper.
struct Runs {
    /// The column and the row of the first pixel of each.
    starts: Vec<(usize, usize)>,
    /// How all of their pixels differ from the paper, per colour channel; 0 in places beyond the end of a row.
    channels: [Vec<f64>; 3],
}

impl Runs {
    /// All pixels that are farther from the paper than `near`, and some that are not.
    #[inline(always)]
    fn beyond(near: f64, picture: &RgbImage, paper: &Paper) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut xs = coordinates(width);
        xs.resize(width.next_multiple_of(RUN), 0.0);
        let base = std::array::from_fn(|place| paper.base[place % 3]);
        let some = width * height / 4;
        let channels = std::array::from_fn(|_| Vec::with_capacity(some));
        let mut runs = Self { starts: Vec::with_capacity(some / RUN), channels };
        let mut planes = std::array::from_fn(|_| vec![0; xs.len()]);
        for ((y, pixels), place) in picture.as_raw().chunks_exact(3 * width).enumerate().zip(coordinates(height)) {
            let row = paper.row(place);
            let [low, high] = near_colours(&row, near);
            if paper.blank_rows[y] && !outside(&base, &low, &high) {
                continue;
            }
            let first = runs.starts.len();
            let (chunks, rest) = pixels.as_chunks();
            for (index, pixels) in chunks.iter().enumerate() {
                if outside(pixels, &low, &high) {
                    runs.starts.push((index * RUN, y));
                }
            }
            // The rest of the row, filled up with paper.
            let mut last = low;
            last[..rest.len()].copy_from_slice(rest);
            if !rest.is_empty() && outside(&last, &low, &high) {
                runs.starts.push((width - rest.len() / 3, y));
            }
            if runs.starts.len() > first {
                split(pixels, &mut planes);
                runs.add_differences(first, &planes, &row, &xs);
                let beyond = (runs.starts[runs.starts.len() - 1].0 + RUN).saturating_sub(width);
                runs.channels
                    .iter_mut()
                    .for_each(|channel| channel.iter_mut().rev().take(beyond).for_each(|value| *value = 0.0));
            }
        }
        runs
    }

    /// The differences of a row's pixels, `planes`, from the paper, for its runs, which are those from `first` on.
    #[inline(always)]
    fn add_differences(&mut self, first: usize, planes: &[Vec<u8>; 3], row: &Row, xs: &[f64]) {
        for (([one, linear, square], differences), colours) in row.iter().zip(&mut self.channels).zip(planes) {
            differences.resize(self.starts.len() * RUN, 0.0);
            let of_row = differences[first * RUN..].as_chunks_mut::<RUN>().0;
            for ((start, _), differences) in self.starts[first..].iter().zip(of_row) {
                let places = xs[*start..].iter().zip(&colours[*start..]);
                for (difference, (x, colour)) in differences.iter_mut().zip(places) {
                    let paper = (square * x + linear) * x + one;
                    let paper = if paper > 0.0 { paper } else { 0.0 };
                    let paper = if paper < 255.0 { paper } else { 255.0 };
                    *difference = f64::from(*colour) - paper;
                }
            }
        }
    }

    /// The direction of the strongest differences, each counted by its square: of length 1, or none.
    #[inline(always)]
    fn direction(&self) -> Option<[f64; 3]> {
        let [red, green, blue] = &self.channels;
        let mut squares = vec![0.0; red.len()];
        for (((square, red), green), blue) in squares.iter_mut().zip(red).zip(green).zip(blue) {
            *square = red * red + green * green + blue * blue;
        }
        let strong = 0.25 * largest(&squares);
        let [mut of_red, mut of_green, mut of_blue] = [0.0; 3];
        for (((square, red), green), blue) in squares.iter().zip(red).zip(green).zip(blue) {
            let weight = if *square > strong { *square } else { 0.0 };
            of_red += red * weight;
            of_green += green * weight;
            of_blue += blue * weight;
        }
        let direction: [f64; 3] = [of_red, of_green, of_blue];
        let norm = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
        (norm > 0.0).then(|| direction.map(|value| value / norm))
    }

    /// How far each pixel is from the paper in `direction`; 0 for what lies in the other.
    #[inline(always)]
    fn along(&self, direction: [f64; 3]) -> Vec<f64> {
        let [red, green, blue] = &self.channels;
        let mut values = vec![0.0; red.len()];
        for (((value, red), green), blue) in values.iter_mut().zip(red).zip(green).zip(blue) {
            let along = red * direction[0] + green * direction[1] + blue * direction[2];
            *value = if along > 0.0 { along } else { 0.0 };
        }
        values
    }

    /// The `values` of these pixels and 0 for the others, cut to where the values are above `threshold`, with a border
    /// of [`BORDER`] pixels, which may lie beyond the picture. None when no value is. Of a picture of `width`.
    #[inline(always)]
    fn plane(&self, values: &[f64], threshold: f32, width: usize) -> Option<Plane> {
        let values = values.as_chunks::<RUN>().0;
        let (mut top, mut bottom, mut left, mut right) = (usize::MAX, 0, usize::MAX, 0);
        for ((x, y), values) in self.starts.iter().zip(values) {
            let mut inked = false;
            for value in values {
                inked |= *value as f32 > threshold;
            }
            if inked {
                (top, bottom) = (top.min(*y), bottom.max(*y));
                (left, right) = (left.min(*x), right.max((x + RUN).min(width)));
            }
        }
        if top > bottom {
            return None;
        }
        // The coordinates are moved by the border, so that it may lie beyond the edge.
        let (wide, high) = (right - left + 2 * BORDER, bottom - top + 1 + 2 * BORDER);
        let mut plane = Plane { width: wide, height: high, values: vec![0.0; wide * high] };
        for ((x, y), values) in self.starts.iter().zip(values) {
            let Some(y) = (y + BORDER).checked_sub(top).filter(|y| *y < high) else { continue };
            // How many of the first pixels lie left of the plane, and where in it the others are.
            let (cut, x) = (left.saturating_sub(x + BORDER), (x + BORDER).saturating_sub(left));
            let row = &mut plane.values[y * wide..(y + 1) * wide];
            if let (Some(places), Some(values)) = (row.get_mut(x..), values.get(cut..)) {
                for (place, value) in places.iter_mut().zip(values) {
                    *place = *value as f32;
                }
            }
        }
        Some(plane)
    }
}

/// The colours of a row's pixels, channel by channel.
#[inline(always)]
fn split(pixels: &[u8], [red, green, blue]: &mut [Vec<u8>; 3]) {
    for (((pixel, red), green), blue) in pixels.as_chunks().0.iter().zip(red).zip(green).zip(blue) {
        [*red, *green, *blue] = *pixel;
    }
}

/// What counts as full ink, of the values above `threshold`: what a tenth of them exceed. None when they are too few or
/// too faint to be ink.
#[inline(always)]
fn full_ink(values: &[f64], threshold: f64, noise: f64) -> Option<f64> {
    // In colour space, white and black are the square root of 3 times 255 apart.
    let faint = (FAINTEST_INK * 3.0_f64.sqrt()).max(LEAST_SIGNAL * noise);
    // Each value is put behind the last one that counts, whether it counts or not: there is nothing to guess wrong.
    let (mut inked, mut count, mut faint_ones) = (vec![0.0; values.len()], 0, 0);
    for value in values {
        inked[count] = *value;
        count += usize::from(*value > threshold);
        faint_ones += usize::from((*value > threshold) & (*value < faint));
    }
    inked.truncate(count);
    if faint_ones > count / 2 || count == 0 {
        return None;
    }
    // Of numbers that are not negative, the bits are in the same order.
    Some(*inked.select_nth_unstable_by_key(count * 9 / 10, |value| value.to_bits()).1)
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
#[inline(always)]
fn largest(values: &[f64]) -> f64 {
    let mut lanes = [0.0; 4 * RUN];
    for values in values.chunks(lanes.len()) {
        for (largest, value) in lanes.iter_mut().zip(values) {
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
    lanes.into_iter().fold(0.0, f64::max)
}

/// The threshold with the largest variance between what is below and above it (Otsu, 1979), of `values`, the `largest` of
/// them, and so many zeros that they are `count`.
#[inline(always)]
fn otsu(values: &[f64], largest: f64, count: usize) -> f64 {
    let largest = largest.max(f64::MIN_POSITIVE);
    // Equal values stand side by side, and each count waits for the one before it: so each lane is counted apart.
    let mut histograms = [[0_u32; BINS]; RUN];
    for values in values.as_chunks::<RUN>().0 {
        for (value, histogram) in values.iter().zip(&mut histograms) {
            histogram[((value / largest * BINS as f64) as i32 as usize).min(BINS - 1)] += 1;
        }
    }
    let mut histogram: [u64; BINS] = std::array::from_fn(|bin| histograms.iter().map(|one| u64::from(one[bin])).sum());
    histogram[0] = count as u64 - histogram[1..].iter().sum::<u64>();
    let total = count as f64;
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
