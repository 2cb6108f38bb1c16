//! The shape of ink: its pieces, the width of its strokes, and how it is scaled without losing them.

use std::cell::LazyCell;
use std::ops::Range;

use pulp::{Simd, WithSimd};

/// One value per pixel, row by row: 0 paper, 1 ink.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

/// A piece with at least this share of the largest piece's ink belongs to the digit wherever it is.
const LARGE_PIECE: f32 = 0.1;

/// A piece with at least this share belongs to the digit when it is close to the largest one.
const SMALL_PIECE: f32 = 0.015;

/// Close: the gap is at most this share of the largest piece's longer side.
const CLOSE: f32 = 0.15;

/// The faintest ink that counts for the crop.
const EDGE: f32 = 0.1;

/// Rows and columns without ink that a plane must have on each side for its pieces to be found: a soft edge, and paper.
pub(super) const BORDER: usize = 2;

/// The digit alone, cropped: pieces of ink that belong to it, with one pixel of their soft edge.
pub(super) fn isolate(ink: &Plane, threshold: f32) -> Plane {
    let (pieces, places) = find_pieces(ink, threshold);
    let Some(main) = pieces.iter().max_by(|a, b| a.mass.total_cmp(&b.mass)) else { return ink.clone() };
    let extent = |piece: &Piece| Extent::of(&places[piece.places.clone()], ink.width);
    // Only looked at when there is more than one.
    let main_extent = LazyCell::new(|| extent(main));
    let mut kept = vec![false; ink.values.len()];
    for piece in &pieces {
        let share = piece.mass / main.mass;
        let close = || extent(piece).gap_to(&main_extent) <= CLOSE * main_extent.longer_side() as f32;
        if share >= LARGE_PIECE || (share >= SMALL_PIECE && close()) {
            places[piece.places.clone()].iter().for_each(|&place| kept[place] = true);
        }
    }
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
        for ((to, from), near) in values.zip(columns.windows(3)) {
            *to = if near[0] | near[1] | near[2] { *from } else { 0.0 };
        }
    }
    crop(&digit)
}

/// One connected piece of ink.
struct Piece {
    mass: f32,
    /// Where its pixels are in the list of all.
    places: Range<usize>,
}

/// The bounding box of a piece.
struct Extent {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Extent {
    /// Of at least one place in a plane of `width`.
    fn of(places: &[usize], width: usize) -> Self {
        let mut extent = Self { left: usize::MAX, right: 0, top: usize::MAX, bottom: 0 };
        for place in places {
            let (x, y) = (place % width, place / width);
            (extent.left, extent.right) = (extent.left.min(x), extent.right.max(x));
            (extent.top, extent.bottom) = (extent.top.min(y), extent.bottom.max(y));
        }
        extent
    }

    fn longer_side(&self) -> usize {
        (self.right - self.left).max(self.bottom - self.top) + 1
    }

    /// The gap between the bounding boxes in pixels; 0 when they overlap.
    fn gap_to(&self, other: &Self) -> f32 {
        let apart = |start: usize, end: usize, other_start: usize, other_end: usize| {
            other_start.saturating_sub(end).max(start.saturating_sub(other_end))
        };
        apart(self.left, self.right, other.left, other.right).max(apart(self.top, self.bottom, other.top, other.bottom))
            as f32
    }
}

/// The pieces whose pixels touch by side or corner, and the places of all their pixels.
fn find_pieces(ink: &Plane, threshold: f32) -> (Vec<Piece>, Vec<usize>) {
    let width = ink.width;
    let around = [-1, 0, 1].map(|row| [-1, 0, 1].map(|column| row * width as isize + column));
    let mut unseen: Vec<bool> = ink.values.iter().map(|value| *value > threshold).collect();
    let mut places = Vec::with_capacity(unseen.len());
    let mut pieces = Vec::new();
    for start in 0..unseen.len() {
        if !unseen[start] {
            continue;
        }
        let mut piece = Piece { mass: 0.0, places: places.len()..places.len() };
        unseen[start] = false;
        places.push(start);
        while let Some(&place) = places.get(piece.places.end) {
            piece.places.end += 1;
            piece.mass += ink.values[place];
            for offset in around.as_flattened() {
                let neighbour = place.wrapping_add_signed(*offset);
                if std::mem::take(&mut unseen[neighbour]) {
                    places.push(neighbour);
                }
            }
        }
        pieces.push(piece);
    }
    (pieces, places)
}

/// Cuts off rows and columns without ink.
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
fn with_usual_strokes(digit: Plane, side: usize, scale: f32) -> Plane {
    let ink: Vec<bool> = digit.values.iter().map(|value| *value > 0.5).collect();
    let count = ink.iter().filter(|ink| **ink).count();
    if count == 0 {
        return digit;
    }
    // A pixel's edge is half a pixel nearer than the next pixel's centre. Across a stroke, the distance to the edge
    // averages a quarter of its width.
    let inside = distances(&ink, digit.width, false, f32::INFINITY);
    let width = 4.0 * inside.iter().map(|distance| (distance - 0.5).max(0.0)).sum::<f32>() / count as f32;
    let (thinnest, thickest) = (STROKE_SHARES.0 * side as f32 / scale, STROKE_SHARES.1 * side as f32 / scale);
    let grow = (width.clamp(thinnest, thickest) - width) / 2.0;
    if grow.abs() < 0.5 {
        return digit;
    }
    // How much of a pixel lies within an edge that is moved out by `grow`, given its distance beyond the edge.
    let covered = |beyond: f32| (0.5 + grow - beyond).clamp(0.0, 1.0);
    if grow < 0.0 {
        let values = inside.iter().map(|inside| if *inside > 0.0 { covered(0.5 - inside) } else { 0.0 }).collect();
        return crop(&Plane { values, ..digit });
    }
    let margin = grow.ceil() as usize;
    let (wide, high) = (digit.width + 2 * margin, digit.height + 2 * margin);
    let mut padded = vec![false; wide * high];
    for (row, values) in ink.chunks_exact(digit.width).enumerate() {
        padded[(row + margin) * wide + margin..][..digit.width].copy_from_slice(values);
    }
    let outside = distances(&padded, wide, true, 1.0 + grow);
    let values = outside.iter().map(|outside| if *outside > 0.0 { covered(outside - 0.5) } else { 1.0 }).collect();
    crop(&Plane { width: wide, height: high, values })
}

/// For each pixel the distance to the nearest one with `ink == to`, which counts as there beyond the border when `to` is
/// false. Distances above `limit` may come out larger than they are.
fn distances(ink: &[bool], width: usize, to: bool, limit: f32) -> Vec<f32> {
    let height = ink.len() / width;
    let far = (width + height + 2) as u32;
    let beyond = if to { far } else { 0 };
    // The squares of the distances within the rows: whole numbers, which single precision holds exactly up to sides of
    // 2,000 pixels. The rows are filled up with zeros.
    let stride = width.next_multiple_of(LANES);
    let mut in_rows = vec![0.0; stride * height];
    let mut line = vec![0; width];
    for (ink, squares) in ink.chunks_exact(width).zip(in_rows.chunks_exact_mut(stride)) {
        let mut distance = beyond;
        for (value, ink) in line.iter_mut().zip(ink) {
            distance = if *ink == to { 0 } else { (distance + 1).min(far) };
            *value = distance;
        }
        distance = beyond;
        for (square, value) in squares[..width].iter_mut().zip(&line).rev() {
            distance = (distance + 1).min(*value);
            *square = (distance * distance) as f32;
        }
    }
    let mut squares = in_rows.clone();
    for (y, row) in squares.chunks_exact_mut(stride).enumerate() {
        let border = if to { far } else { (y + 1).min(height - y) as u32 };
        row.iter_mut().for_each(|square| *square = lesser(*square, (border * border) as f32));
        pulp::Arch::new().dispatch(Columns { in_rows: &in_rows, y, limit, row });
    }
    squares.chunks_exact(stride).flat_map(|row| &row[..width]).map(|square| square.sqrt()).collect()
}

/// Numbers that are worked on together.
const LANES: usize = 16;

/// Lowers the squares of a row's distances to what the rows above and below have, given the squares of the distances
/// within each row; compiled for each instruction set.
struct Columns<'a> {
    in_rows: &'a [f32],
    y: usize,
    limit: f32,
    row: &'a mut [f32],
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.row.len();
        let height = self.in_rows.len() / stride;
        let line = |y: usize| S::as_simd_f32s(&self.in_rows[y * stride..(y + 1) * stride]).0;
        let row = S::as_mut_simd_f32s(self.row).0;
        let mut largest = row.iter().fold(simd.splat_f32s(0.0), |largest, value| simd.max_f32s(largest, *value));
        for aside in 1..height {
            let square = (aside * aside) as f32;
            if square >= simd.reduce_max_f32s(largest) || aside as f32 > self.limit {
                break;
            }
            // Beyond the border there is no row; the row itself changes nothing.
            let above = line(self.y.checked_sub(aside).unwrap_or(self.y));
            let below = line(if self.y + aside < height { self.y + aside } else { self.y });
            let square = simd.splat_f32s(square);
            largest = simd.splat_f32s(0.0);
            for ((value, above), below) in row.iter_mut().zip(above).zip(below) {
                *value = simd.min_f32s(*value, simd.add_f32s(simd.min_f32s(*above, *below), square));
                largest = simd.max_f32s(largest, *value);
            }
        }
    }
}

/// The lesser of two numbers; unlike [`f32::min`], one instruction.
#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Averages over areas where the plane shrinks, interpolates where it grows.
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

    #[test]
    fn pieces_touch_by_side_or_corner() {
        let drawing = ["......", ".##.#.", "...#..", "......", ".#....", "......"];
        let values = drawing.concat().bytes().map(|cell| if cell == b'#' { 1.0 } else { 0.0 }).collect();
        let (pieces, places) = find_pieces(&Plane { width: 6, height: 6, values }, 0.5);
        assert_eq!(pieces.iter().map(|piece| piece.mass).collect::<Vec<_>>(), [4.0, 1.0]);
        assert_eq!(places, [7, 8, 15, 10, 25]);
        let [first, second] = [&pieces[0], &pieces[1]].map(|piece| Extent::of(&places[piece.places.clone()], 6));
        assert_eq!((first.longer_side(), first.gap_to(&second)), (4, 2.0));
    }
}
