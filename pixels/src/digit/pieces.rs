//! The pieces of ink, and which of them belong to the digit. A piece is ink that touches by side or corner.

use std::cell::LazyCell;
use std::ops::Range;

use super::strokes::Plane;

/// A piece with at least this share of the largest piece's ink belongs to the digit wherever it is.
const LARGE_PIECE: f32 = 0.1;

/// A piece with at least this share belongs to the digit when it is close to the largest one.
const SMALL_PIECE: f32 = 0.015;

/// Close: the gap is at most this share of the largest piece's longer side.
const CLOSE: f32 = 0.15;

/// Pixels that are looked at together: the bytes of a word.
const TOGETHER: usize = 8;

/// Which pixels belong to the digit: those of the largest piece, of others that are large, and of small ones close to it.
pub(super) fn main_pieces(ink: &Plane, inked: Vec<bool>) -> Vec<bool> {
    let mut kept = vec![false; inked.len()];
    let (pieces, places) = find_pieces(ink, inked);
    let Some(main) = pieces.iter().max_by(|a, b| a.mass.total_cmp(&b.mass)) else { return kept };
    let extent = |piece: &Piece| Extent::of(&places[piece.places.clone()], ink.width);
    // Only looked at when there is a small one.
    let main_extent = LazyCell::new(|| extent(main));
    for piece in &pieces {
        let share = piece.mass / main.mass;
        let close = || extent(piece).gap_to(&main_extent) <= CLOSE * main_extent.longer_side() as f32;
        if share >= LARGE_PIECE || (share >= SMALL_PIECE && close()) {
            places[piece.places.clone()].iter().for_each(|&place| kept[place] = true);
        }
    }
    kept
}

/// Where a row's pixels that are `of` stand side by side, from left to right.
#[inline(always)]
pub(super) fn stretches(row: &[bool], of: bool) -> Stretches<'_> {
    Stretches { row, of, from: 0 }
}

/// What [`stretches`] gives. A type, so that it is compiled with what uses it.
pub(super) struct Stretches<'a> {
    row: &'a [bool],
    of: bool,
    from: usize,
}

impl Iterator for Stretches<'_> {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.from + find(&self.row[self.from..], self.of)?;
        self.from = start + find(&self.row[start..], !self.of).unwrap_or(self.row.len() - start);
        Some(start..self.from)
    }
}

/// Where the first `wanted` is.
#[inline(always)]
fn find(row: &[bool], wanted: bool) -> Option<usize> {
    // Each byte of a word is 0 or 1; those that are wanted are made 1.
    let others = if wanted { 0 } else { u64::from_le_bytes([1; TOGETHER]) };
    let (chunks, rest) = row.as_chunks::<TOGETHER>();
    for (index, [a, b, c, d, e, f, g, h]) in chunks.iter().enumerate() {
        let bytes = [*a as u8, *b as u8, *c as u8, *d as u8, *e as u8, *f as u8, *g as u8, *h as u8];
        let word = u64::from_le_bytes(bytes) ^ others;
        if word != 0 {
            return Some(index * TOGETHER + word.trailing_zeros() as usize / 8);
        }
    }
    let passed = row.len() - rest.len();
    rest.iter().position(|value| *value == wanted).map(|place| passed + place)
}

/// Whether all ink touches by side or corner. Most digits are one piece, and this takes a fraction of the time that it
/// takes to find out which pixels belong to which.
#[inline(always)]
pub(super) fn is_one_piece(inked: &[bool], width: usize) -> bool {
    // The stretches of each row are joined with those above that they touch. A stretch knows another of its piece, or
    // itself; a piece is as many stretches as were joined, and one.
    let mut known: Vec<usize> = Vec::new();
    let (mut above, mut row, mut joined) = (Vec::<Range<usize>>::new(), Vec::new(), 0);
    for pixels in inked.chunks_exact(width) {
        for stretch in stretches(pixels, true) {
            row.push(stretch);
        }
        let (first_above, first) = (known.len() - above.len(), known.len());
        for (index, stretch) in row.iter().enumerate() {
            known.push(first + index);
            for (other, above) in above.iter().enumerate() {
                if above.start <= stretch.end && stretch.start <= above.end {
                    let (above, here) = (piece(&mut known, first_above + other), piece(&mut known, first + index));
                    joined += usize::from(above != here);
                    known[here] = above;
                }
            }
        }
        std::mem::swap(&mut above, &mut row);
        row.clear();
    }
    joined + 1 == known.len()
}

/// The stretch that stands for the piece of this one.
#[inline(always)]
fn piece(known: &mut [usize], mut stretch: usize) -> usize {
    while known[stretch] != stretch {
        known[stretch] = known[known[stretch]];
        stretch = known[stretch];
    }
    stretch
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

/// The pieces of the ink that is `unseen` so far, whose pixels touch by side or corner, and the places of all their pixels.
fn find_pieces(ink: &Plane, mut unseen: Vec<bool>) -> (Vec<Piece>, Vec<usize>) {
    let width = ink.width;
    let around = [-1, 0, 1].map(|row| [-1, 0, 1].map(|column| row * width as isize + column));
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

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn pieces_touch_by_side_or_corner() {
        let drawing = ["......", ".##.#.", "...#..", "......", ".#....", "......"];
        let inked: Vec<bool> = drawing.concat().bytes().map(|cell| cell == b'#').collect();
        let values = inked.iter().map(|inked| f32::from(u8::from(*inked))).collect();
        let (pieces, places) = find_pieces(&Plane { width: 6, height: 6, values }, inked);
        assert_eq!(pieces.iter().map(|piece| piece.mass).collect::<Vec<_>>(), [4.0, 1.0]);
        assert_eq!(places, [7, 8, 15, 10, 25]);
        let [first, second] = [&pieces[0], &pieces[1]].map(|piece| Extent::of(&places[piece.places.clone()], 6));
        assert_eq!((first.longer_side(), first.gap_to(&second)), (4, 2.0));
    }

    #[test]
    fn one_piece_is_what_has_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut single = 0;
        for case in 0..2000 {
            let (width, height) = (rng.random_range(1..50) + 2, rng.random_range(1..12) + 2);
            let share = [0.05, 0.3, 0.6, 0.9][case % 4];
            let inked: Vec<bool> = (0..width * height)
                .map(|place| {
                    let (x, y) = (place % width, place / width);
                    x > 0 && x + 1 < width && y > 0 && y + 1 < height && rng.random_range(0.0..1.0) < share
                })
                .collect();
            let plane = Plane { width, height, values: vec![1.0; width * height] };
            let (pieces, _) = find_pieces(&plane, inked.clone());
            assert_eq!(is_one_piece(&inked, width), pieces.len() == 1, "case {case}");
            single += usize::from(pieces.len() == 1);
        }
        assert!(single > 200, "{single}");
    }
}
