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

mod otsu;
mod paper;
mod pieces;
mod planes;
mod runs;
mod samples;
mod strokes;

use std::borrow::Cow;

use image::imageops;
use image::{DynamicImage, RgbImage};

use otsu::Strengths;
use paper::Paper;
use planes::Planes;
use runs::Runs;
use strokes::Plane;

use crate::flat::flatten;

/// Larger pictures are averaged down to at most this many pixels along their longer side before anything else.
const WORKING_SIDE: u32 = 512;

/// Ink must stand out from the paper by this much in 0..=255, or the picture counts as blank.
const FAINTEST_INK: f64 = 16.0;

/// Ink must stand out from the paper by this many standard deviations of the paper's noise.
const LEAST_SIGNAL: f64 = 5.0;

/// What differs from the paper by fewer of these deviations is the paper's noise.
const NOISE: f64 = 1.5;

/// The image of `size` (height, width), `[h, w]`, with the digit of `picture` in a box of `box_size` pixels; none when no ink
/// stands out. In one plane of grey the same is found as in three alike, in less time.
pub fn fit(picture: &DynamicImage, size: (usize, usize), box_size: usize) -> Option<Vec<u8>> {
    match picture.as_luma8() {
        Some(grey) if grey.width().max(grey.height()) <= WORKING_SIDE => search(&Planes::of_grey(grey), size, box_size),
        _ => fit_colour(&flatten(picture), size, box_size),
    }
}

fn fit_colour(picture: &RgbImage, size: (usize, usize), box_size: usize) -> Option<Vec<u8>> {
    let longest = picture.width().max(picture.height());
    let picture = if longest > WORKING_SIDE {
        let scale = |side: u32| (u64::from(side) * u64::from(WORKING_SIDE) / u64::from(longest)).max(1) as u32;
        Cow::Owned(imageops::thumbnail(picture, scale(picture.width()), scale(picture.height())))
    } else {
        Cow::Borrowed(picture)
    };
    match Planes::of_colourless(&picture) {
        Some(plane) => search(&plane, size, box_size),
        None => search(&Planes::of_colour(&picture), size, box_size),
    }
}

fn search<const C: usize>(picture: &Planes<C>, size: (usize, usize), box_size: usize) -> Option<Vec<u8>> {
    let side = box_size.min(size.0).min(size.1);
    Some(centre(&pulp::Arch::new().dispatch(Search { picture, side })?, size))
}

/// The search for the digit, scaled to `side`. A type, since all of it is compiled for each instruction set: a closure that
/// borrows is not taken into the functions that have them.
struct Search<'a, const C: usize> {
    picture: &'a Planes<'a, C>,
    side: usize,
}

impl<const C: usize> pulp::NullaryFnOnce for Search<'_, C> {
    type Output = Option<Plane>;

    #[inline(always)]
    fn call(self) -> Option<Plane> {
        let ink = find_ink(self.picture)?;
        let digit = strokes::isolate(&ink.plane, ink.threshold);
        Some(strokes::scale_into(digit, self.side))
    }
}

struct Ink {
    /// How strongly each pixel is ink: 0 paper, 1 full ink. Cut to where the ink is, with a [`BORDER`].
    plane: Plane,
    /// What separates the two.
    threshold: f32,
}

/// The difference from the paper, projected on the direction of the ink.
#[inline(always)]
fn find_ink<const C: usize>(picture: &Planes<C>) -> Option<Ink> {
    if picture.width.min(picture.height) < 2 {
        return None;
    }
    let paper = Paper::fit(picture);
    // Most pixels are so near to the paper that they are noise for the ink and of the first class for the threshold,
    // and need not be looked at one by one. How near the latter is shows once the strongest ink is known.
    let mut near = NOISE * paper.noise;
    let (runs, strengths) = loop {
        let runs = Runs::beyond(near, picture, &paper);
        let strengths = Strengths::new(runs.along(runs.direction()?));
        let of_first_class = strengths.first_class();
        if near <= of_first_class {
            break (runs, strengths);
        }
        near = 0.9 * of_first_class;
    };
    let strengths = strengths.counted(picture.width * picture.height);
    let threshold = strengths.threshold().max(4.0 * paper.noise);
    // In colour space, white and black are the square root of 3 times 255 apart.
    let faint = (FAINTEST_INK * 3.0_f64.sqrt()).max(LEAST_SIGNAL * paper.noise);
    let full = strengths.full(threshold, faint)?;
    let shares = strengths.shares(full, NOISE * paper.noise);
    let threshold = (threshold / full) as f32;
    let plane = runs.plane(&shares, threshold, picture.width)?;
    Some(Ink { plane, threshold })
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
