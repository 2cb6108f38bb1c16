//! A handwritten digit in any picture, brought to the form of MNIST's images: bright ink on black, fitted into a box,
//! its centre of mass in the centre.
//!
//! 1. The paper is modelled as a smooth surface of colour, fitted to what lies at the border and then to everything that
//!    looks like it; so uneven light does not matter, nor which of paper and ink is darker, nor the ink's colour.
//! 2. Ink is what differs from the paper along the direction in which the strongest differences lie.
//! 3. Small pieces away from the main ones are specks and dropped.
//! 4. What is left is cropped, its strokes are brought to a usual width if they are far from it, and it is scaled.

use image::RgbImage;
use image::imageops;

use super::strokes::{self, Plane};
use crate::{Error, Result};

/// Larger pictures are averaged down to at most this many pixels along their longer side before anything else.
const WORKING_SIDE: u32 = 512;

/// Ink must stand out from the paper by this much in 0..=255, or the picture counts as blank.
const FAINTEST_INK: f64 = 16.0;

/// Ink must stand out from the paper by this many standard deviations of the paper's noise.
const LEAST_SIGNAL: f64 = 5.0;

/// The image of `size` (height, width), `[h, w]`, with the digit of `picture` in a box of `box_size` pixels.
///
/// # Errors
/// A usage error when no ink stands out.
pub(super) fn fit(picture: &RgbImage, size: (usize, usize), box_size: usize) -> Result<Vec<u8>> {
    let longest = picture.width().max(picture.height());
    let reduced;
    let picture = if longest > WORKING_SIDE {
        let scale = |side: u32| (u64::from(side) * u64::from(WORKING_SIDE) / u64::from(longest)).max(1) as u32;
        reduced = imageops::thumbnail(picture, scale(picture.width()), scale(picture.height()));
        &reduced
    } else {
        picture
    };
    let ink = find_ink(picture)?;
    let digit = strokes::isolate(&ink.plane, ink.threshold);
    let fitted = strokes::scale_into(&digit, box_size.min(size.0).min(size.1));
    Ok(centre(&fitted, size))
}

struct Ink {
    /// How strongly each pixel is ink: 0 paper, 1 full ink.
    plane: Plane,
    /// What separates the two.
    threshold: f32,
}

/// The difference from the paper, projected on the direction of the ink.
fn find_ink(picture: &RgbImage) -> Result<Ink> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let blank = || {
        Error::usage("no ink was found: the picture is blank")
            .tip("draw the digit clearly darker or lighter than what is behind it")
    };
    if width.min(height) < 2 {
        return Err(blank());
    }
    let paper = Paper::fit(picture);
    let differences = paper.differences(picture);

    // The direction: the average of the strongest differences, each counted by its square.
    let squares: Vec<f64> = differences.iter().map(|d| d.iter().map(|v| v * v).sum()).collect();
    let strongest = squares.iter().copied().fold(0.0, f64::max);
    let mut direction = [0.0; 3];
    for (difference, square) in differences.iter().zip(&squares).filter(|(_, square)| **square > 0.25 * strongest) {
        for (sum, value) in direction.iter_mut().zip(difference) {
            *sum += value * square;
        }
    }
    let norm = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm == 0.0 {
        return Err(blank());
    }
    let along = |d: &[f64; 3]| d.iter().zip(&direction).map(|(value, unit)| value * unit / norm).sum::<f64>().max(0.0);
    let mut values: Vec<f64> = differences.iter().map(along).collect();

    let threshold = otsu(&values).max(4.0 * paper.noise);
    let mut inked: Vec<f64> = values.iter().copied().filter(|value| *value > threshold).collect();
    inked.sort_by(f64::total_cmp);
    let Some(&median) = inked.get(inked.len() / 2) else { return Err(blank()) };
    // In colour space, white and black are the square root of 3 times 255 apart.
    if median < FAINTEST_INK * 3.0_f64.sqrt() || median < LEAST_SIGNAL * paper.noise {
        return Err(blank());
    }
    let full = inked[inked.len() * 9 / 10];
    for value in &mut values {
        // Below one and a half deviations it is the paper's noise.
        *value = if *value < 1.5 * paper.noise { 0.0 } else { (*value / full).min(1.0) };
    }
    let values = values.into_iter().map(|value| value as f32).collect();
    Ok(Ink { plane: Plane { width, height, values }, threshold: (threshold / full) as f32 })
}

/// The colour of the paper as a quadratic function of the place, per colour channel.
struct Paper {
    coefficients: [[f64; TERMS]; 3],
    /// Standard deviation of the paper's pixels from it, along one direction of colour.
    noise: f64,
}

const TERMS: usize = 6;

/// A place in units of -1 to 1, as the terms of the quadratic function.
fn terms(x: usize, y: usize, width: usize, height: usize) -> [f64; TERMS] {
    let x = 2.0 * x as f64 / (width - 1) as f64 - 1.0;
    let y = 2.0 * y as f64 / (height - 1) as f64 - 1.0;
    [1.0, x, y, x * x, x * y, y * y]
}

impl Paper {
    /// Starts from the median colour of the border, then three times fits the pixels that are close to what it has: of
    /// the border a plane, then of the whole picture the quadratic function.
    fn fit(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let margin = (width.min(height) / 25).max(1);
        let on_border = |x: usize, y: usize| x.min(width - 1 - x).min(y.min(height - 1 - y)) < margin;
        // Some ten thousand places are enough.
        let step = ((width * height) as f64 / 20_000.0).sqrt().ceil().max(1.0) as usize;
        let places: Vec<(usize, usize)> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .filter(|&(x, y)| (x % step == 0 && y % step == 0) || (on_border(x, y) && (x + y) % step == 0))
            .collect();
        let border: Vec<_> = places.iter().copied().filter(|&(x, y)| on_border(x, y)).collect();
        let colour = |&(x, y): &(usize, usize)| picture.get_pixel(x as u32, y as u32).0.map(f64::from);

        let mut paper = Self { coefficients: [[0.0; TERMS]; 3], noise: 0.0 };
        for channel in 0..3 {
            let mut values: Vec<f64> = border.iter().map(|place| colour(place)[channel]).collect();
            paper.coefficients[channel][0] = median(&mut values);
        }
        for (places, terms_used) in [(&border, 3), (&border, 3), (&places, TERMS), (&places, TERMS)] {
            let distance = |place: &(usize, usize)| {
                let expected = paper.at(terms(place.0, place.1, width, height));
                colour(place).iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            };
            let distances: Vec<f64> = places.iter().map(distance).collect();
            // The spread of the closer half of the border's pixels tells paper from ink.
            let mut near: Vec<f64> = border.iter().map(distance).collect();
            let limit = (3.5 * median(&mut near)).max(12.0);
            let close = places.iter().zip(&distances).filter(|(_, distance)| **distance <= limit);
            let samples: Vec<_> =
                close.map(|(place, _)| (terms(place.0, place.1, width, height), colour(place))).collect();
            // Too few to tell anything: keep what there is.
            if samples.len() < 4 * TERMS {
                break;
            }
            paper.solve(&samples, terms_used);
        }
        paper
    }

    fn at(&self, terms: [f64; TERMS]) -> [f64; 3] {
        self.coefficients.map(|coefficients| coefficients.iter().zip(terms).map(|(c, t)| c * t).sum())
    }

    /// Least squares over `samples` with the first `used` terms.
    fn solve(&mut self, samples: &[([f64; TERMS], [f64; 3])], used: usize) {
        let mut normal = [[0.0; TERMS + 3]; TERMS];
        for (terms, colour) in samples {
            for row in 0..used {
                for column in 0..used {
                    normal[row][column] += terms[row] * terms[column];
                }
                for channel in 0..3 {
                    normal[row][TERMS + channel] += terms[row] * colour[channel];
                }
            }
        }
        let count = samples.len() as f64;
        for (row, values) in normal.iter_mut().enumerate() {
            // A touch of ridge: terms that the samples say nothing about stay 0.
            values[row] += if row == 0 { 0.0 } else { 1e-4 * count };
            values[row] += if row < used { 0.0 } else { 1.0 };
        }
        eliminate(&mut normal);
        for (channel, coefficients) in self.coefficients.iter_mut().enumerate() {
            for (row, coefficient) in coefficients.iter_mut().enumerate() {
                *coefficient = normal[row][TERMS + channel];
            }
        }
        let squares: f64 = samples
            .iter()
            .map(|(terms, colour)| self.at(*terms).iter().zip(colour).map(|(a, b)| (a - b).powi(2)).sum::<f64>())
            .sum();
        self.noise = (squares / (3.0 * count)).sqrt();
    }

    /// The difference of each pixel from the paper, row by row.
    fn differences(&self, picture: &RgbImage) -> Vec<[f64; 3]> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let difference = |(x, y, pixel): (u32, u32, &image::Rgb<u8>)| {
            let paper = self.at(terms(x as usize, y as usize, width, height));
            std::array::from_fn(|channel| f64::from(pixel.0[channel]) - paper[channel].clamp(0.0, 255.0))
        };
        picture.enumerate_pixels().map(difference).collect()
    }
}

/// Gauss-Jordan elimination with the largest pivot; leaves the solutions in the last three columns.
fn eliminate(rows: &mut [[f64; TERMS + 3]; TERMS]) {
    for pivot in 0..TERMS {
        let best = (pivot..TERMS).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()));
        rows.swap(pivot, best.unwrap_or(pivot));
        let divisor = rows[pivot][pivot];
        rows[pivot] = rows[pivot].map(|value| value / divisor);
        let solved = rows[pivot];
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != pivot) {
            let factor = row[pivot];
            for (value, solved) in row.iter_mut().zip(solved) {
                *value -= factor * solved;
            }
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The threshold with the largest variance between what is below and above it (Otsu, 1979).
fn otsu(values: &[f64]) -> f64 {
    const BINS: usize = 256;
    let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut histogram = [0_u64; BINS];
    for value in values {
        histogram[((value / largest * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let total = values.len() as f64;
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
