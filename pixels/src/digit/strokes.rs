//! The shape of ink: the digit alone, the width of its strokes, and how it is scaled without losing them.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::pieces::{is_one_piece, main_pieces, stretches};

/// One value per pixel, row by row: 0 paper, 1 ink.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

/// The faintest ink that counts for the crop.
const EDGE: f32 = 0.1;

/// Rows and columns without ink that a plane must have on each side for its pieces to be found: a soft edge, and paper.
pub(super) const BORDER: usize = 2;

/// The digit alone, cropped: pieces of ink that belong to it, with one pixel of their soft edge.
#[inline(always)]
pub(super) fn isolate(ink: &Plane, threshold: f32) -> Plane {
    let inked: Vec<bool> = ink.values.iter().map(|value| *value > threshold).collect();
    let kept = if is_one_piece(&inked, ink.width) { inked } else { main_pieces(ink, inked) };
    let mut digit = Plane { values: vec![0.0; ink.values.len()], ..*ink };
    let width = ink.width;
    let mut columns = vec![false; width];
    for y in 1..ink.height - 1 {
        let around = kept[(y - 1) * width..].iter().zip(&kept[y * width..]).zip(&kept[(y + 1) * width..]);
        for (column, ((above, here), below)) in columns.iter_mut().zip(around) {
            *column = *above | *here | *below;
        }
        let row = y * width + 1..(y + 1) * width - 1;
        let values = digit.values[row.clone()].iter_mut().zip(&ink.values[row]);
        let near = columns.iter().zip(&columns[1..]).zip(&columns[2..]);
        for ((to, from), ((left, here), right)) in values.zip(near) {
            *to = if *left | *here | *right { *from } else { 0.0 };
        }
    }
    crop(&digit)
}

/// Cuts off rows and columns without ink.
#[inline(always)]
fn crop(plane: &Plane) -> Plane {
    let rows = || plane.values.chunks_exact(plane.width);
    let inked = |row: &[f32]| row.iter().any(|value| *value > EDGE);
    let (Some(top), Some(bottom)) = (rows().position(inked), rows().rposition(inked)) else { return plane.clone() };
    let mut columns = vec![false; plane.width];
    for row in rows().take(bottom + 1).skip(top) {
        for (column, value) in columns.iter_mut().zip(row) {
            *column |= *value > EDGE;
        }
    }
    let inked = |column: &bool| *column;
    let left = columns.iter().position(inked).unwrap_or(0);
    let right = columns.iter().rposition(inked).unwrap_or(plane.width - 1);
    let mut values = Vec::with_capacity((right + 1 - left) * (bottom + 1 - top));
    for row in rows().take(bottom + 1).skip(top) {
        values.extend_from_slice(&row[left..=right]);
    }
    Plane { width: right - left + 1, height: bottom - top + 1, values }
}

/// The stroke widths, as shares of the box, that are left alone; beyond them strokes are thickened or thinned to the
/// nearer one. In MNIST's box of 20 they are 2 and 5 pixels.
const STROKE_SHARES: (f32, f32) = (0.1, 0.25);

/// Scales the digit, aspect kept, so that its longer side is `side` pixels. One that is within a pixel of it already is
/// left as it is.
#[inline(always)]
pub(super) fn scale_into(digit: Plane, side: usize) -> Plane {
    let longer = digit.width.max(digit.height);
    if longer.abs_diff(side) <= 1 && longer <= side {
        return digit;
    }
    let scale = side as f32 / longer as f32;
    let digit = if (0.75..1.33).contains(&scale) { digit } else { with_usual_strokes(digit, side, scale) };
    // Thickening has made it larger.
    let longer = digit.width.max(digit.height);
    let scaled = |length: usize| ((length * side) as f32 / longer as f32).round().max(1.0) as usize;
    resample(&digit, scaled(digit.width), scaled(digit.height))
}

/// Thickens or thins the strokes so that after scaling they are neither hairlines nor blobs.
#[inline(always)]
fn with_usual_strokes(digit: Plane, side: usize, scale: f32) -> Plane {
    let ink: Vec<bool> = digit.values.iter().map(|value| *value > 0.5).collect();
    let count = ink.iter().filter(|ink| **ink).count();
    if count == 0 {
        return digit;
    }
    // A pixel's edge is half a pixel nearer than the next pixel's centre. Across a stroke, the distance to the edge
    // averages a quarter of its width.
    let inside = distances(&ink, digit.width, false, f32::INFINITY);
    let width = 4.0 * sum_to_edge(&inside) / count as f32;
    let (thinnest, thickest) = (STROKE_SHARES.0 * side as f32 / scale, STROKE_SHARES.1 * side as f32 / scale);
    let grow = (width.clamp(thinnest, thickest) - width) / 2.0;
    if grow.abs() < 0.5 {
        return digit;
    }
    // How much of a pixel lies within an edge that is moved out by `grow`, given its distance beyond the edge.
    let covered = |beyond: f32| (0.5 + grow - beyond).clamp(0.0, 1.0);
    if grow < 0.0 {
        let of_pixel = |inside: &f32| if *inside > 0.0 { covered(0.5 - inside) } else { 0.0 };
        let values = inside.iter().map(of_pixel).collect();
        return crop(&Plane { values, ..digit });
    }
    let margin = grow.ceil() as usize;
    let (wide, high) = (digit.width + 2 * margin, digit.height + 2 * margin);
    let mut padded = vec![false; wide * high];
    for (row, values) in ink.chunks_exact(digit.width).enumerate() {
        padded[(row + margin) * wide + margin..][..digit.width].copy_from_slice(values);
    }
    let outside = distances(&padded, wide, true, 1.0 + grow);
    let of_pixel = |outside: &f32| if *outside > 0.0 { covered(outside - 0.5) } else { 1.0 };
    let values = outside.iter().map(of_pixel).collect();
    crop(&Plane { width: wide, height: high, values })
}

/// The sum of the distances from the edge, where there is one, one after the other.
#[inline(always)]
fn sum_to_edge(inside: &[f32]) -> f32 {
    let (chunks, rest) = inside.as_chunks::<LANES>();
    let mut sum = 0.0;
    for values in chunks.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
        // Most are nowhere near the ink.
        if values.iter().fold(false, |ink, value| ink | (*value > 0.0)) {
            values.iter().for_each(|distance| sum += (distance - 0.5).max(0.0));
        }
    }
    sum
}

/// For each pixel the distance to the nearest one with `ink == to`, which counts as there beyond the border when `to` is
/// false. Distances above `limit` may come out larger than they are.
#[inline(always)]
fn distances(ink: &[bool], width: usize, to: bool, limit: f32) -> Vec<f32> {
    let height = ink.len() / width;
    let far = (width + height + 2) as i32;
    // The squares of the distances within the rows: whole numbers, which single precision holds exactly up to sides of
    // 2,000 pixels. The rows are filled up with zeros.
    let stride = width.next_multiple_of(LANES);
    let mut in_rows = vec![0.0; stride * height];
    let mut blocks: Vec<(usize, usize)> = Vec::with_capacity(4 * height);
    for ((y, ink), squares) in ink.chunks_exact(width).enumerate().zip(in_rows.chunks_exact_mut(stride)) {
        for Range { start, end } in stretches(ink, !to) {
            let (left, right) = (if to && start == 0 { far } else { 0 }, if to && end == width { far } else { 0 });
            for (steps, square) in (1..).zip(&mut squares[start..end]) {
                let distance = (left + steps).min(right + (end - start + 1) as i32 - steps).min(far);
                *square = (distance * distance) as f32;
            }
            // Two stretches may lie in one block.
            let first = (y, start / LANES * LANES);
            let next = blocks.last().filter(|last| **last >= first).map_or(first.1, |last| last.1 + LANES);
            blocks.extend((next..end).step_by(LANES).map(|x| (y, x)));
        }
    }
    let mut distances = vec![0.0; width * height + LANES];
    let border = if to { far as usize } else { 0 };
    pulp::Arch::new().dispatch(Columns {
        in_rows: &in_rows,
        stride,
        blocks: &blocks,
        border,
        limit,
        width,
        distances: &mut distances,
    });
    distances.truncate(width * height);
    distances
}

/// Numbers that are worked on together.
const LANES: usize = 16;

/// From the squares of the distances within each row, in rows of `stride`, to distances in all directions, in rows of
/// `width`; compiled for each instruction set.
struct Columns<'a> {
    in_rows: &'a [f32],
    stride: usize,
    /// The row and the first column of each of the blocks of [`LANES`] that are not all zeros, in order.
    blocks: &'a [(usize, usize)],
    /// How far beyond the first and the last row a distance ends.
    border: usize,
    /// How far above and below is looked.
    limit: f32,
    width: usize,
    /// Zeros at first. A block may reach beyond the end of its row, where it writes zeros.
    distances: &'a mut [f32],
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { in_rows, stride, blocks, border, limit, width, distances } = self;
        let height = in_rows.len() / stride;
        for &(y, x) in blocks {
            let border = (border + (y + 1).min(height - y)) as f32;
            let border = simd.splat_f32s(border * border);
            let here = S::as_simd_f32s(&in_rows[y * stride + x..][..LANES]).0;
            let out = S::as_mut_simd_f32s(&mut distances[y * width + x..][..LANES]).0;
            for (place, (out, here)) in out.iter_mut().zip(here).enumerate() {
                let mut squares = simd.min_f32s(*here, border);
                let mut largest = simd.reduce_max_f32s(squares);
                for aside in 1..height {
                    let square = (aside * aside) as f32;
                    if square >= largest || aside as f32 > limit {
                        break;
                    }
                    // Beyond the border there is no row; the row itself changes nothing.
                    let above = if aside <= y { y - aside } else { y };
                    let below = if y + aside < height { y + aside } else { y };
                    let above = S::as_simd_f32s(&in_rows[above * stride + x..][..LANES]).0[place];
                    let below = S::as_simd_f32s(&in_rows[below * stride + x..][..LANES]).0[place];
                    let nearer = simd.add_f32s(simd.min_f32s(above, below), simd.splat_f32s(square));
                    squares = simd.min_f32s(squares, nearer);
                    // How far there is still to look is worth knowing every few rows.
                    if aside % 4 == 0 {
                        largest = simd.reduce_max_f32s(squares);
                    }
                }
                *out = simd.sqrt_f32s(squares);
            }
        }
    }
}

/// Averages over areas where the plane shrinks, interpolates where it grows.
#[inline(always)]
fn resample(plane: &Plane, width: usize, height: usize) -> Plane {
    let rows: Vec<Vec<(usize, f32)>> = weights(plane.height, height);
    let columns = weights(plane.width, width);
    let mut values = Vec::with_capacity(width * height);
    for row in &rows {
        let mut line = vec![0.0; plane.width];
        for (from, weight) in row {
            for (sum, value) in line.iter_mut().zip(&plane.values[from * plane.width..]) {
                *sum += weight * value;
            }
        }
        values
            .extend(columns.iter().map(|column| column.iter().map(|(from, weight)| weight * line[*from]).sum::<f32>()));
    }
    Plane { width, height, values }
}

/// For each of `to` pixels the source pixels and weights that make it, out of `from`.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let step = from as f32 / to as f32;
    let place = |index: usize| {
        let (start, end) = (index as f32 * step, (index + 1) as f32 * step);
        if step >= 1.0 {
            let pixels = start as usize..(end.ceil() as usize).min(from);
            let overlap = |pixel: usize| (end.min((pixel + 1) as f32) - start.max(pixel as f32)).max(0.0) / step;
            return pixels.map(|pixel| (pixel, overlap(pixel))).collect();
        }
        let centre = ((start + end) / 2.0 - 0.5).clamp(0.0, (from - 1) as f32);
        let before = centre as usize;
        let share = centre - before as f32;
        vec![(before, 1.0 - share), ((before + 1).min(from - 1), share)]
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The distance from one pixel, to all others in turn.
    fn distance(ink: &[bool], width: usize, place: usize, to: bool) -> f32 {
        let height = ink.len() / width;
        let (x, y) = (place % width, place / width);
        let others = (0..ink.len()).filter(|other| ink[*other] == to).map(|other| {
            let (across, down) = (x.abs_diff(other % width), y.abs_diff(other / width));
            across * across + down * down
        });
        let border =
            if to { usize::MAX } else { [x + 1, y + 1, width - x, height - y].into_iter().min().unwrap().pow(2) };
        let border = if ink[place] == to { usize::MAX } else { border };
        (others.min().unwrap_or(usize::MAX).min(border) as f32).sqrt()
    }

    #[test]
    fn distances_are_those_of_trying_every_pixel() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for case in 0..300 {
            let (width, height) = (rng.random_range(1..40), rng.random_range(1..40));
            let share = [0.02, 0.5, 0.98][case % 3];
            let mut ink: Vec<bool> = (0..width * height).map(|_| rng.random_range(0.0..1.0) < share).collect();
            ink[rng.random_range(0..width * height)] = true;
            for (to, limit) in [(false, f32::INFINITY), (true, f32::INFINITY), (true, 4.5)] {
                for (place, found) in distances(&ink, width, to, limit).into_iter().enumerate() {
                    let expected = distance(&ink, width, place, to);
                    let right = if expected <= limit { found == expected } else { found >= expected };
                    assert!(right, "case {case} at {place}: {found}, not {expected}");
                }
            }
        }
    }
}
