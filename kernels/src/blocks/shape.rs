//! How a value lies in blocks of channels.

use super::super::fill::with_scratch;
use super::super::transpose::transpose;

/// `[blocks, height + 2 border, width + 2 border, lanes]`; what fills up the last block is 0, as is the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Shape {
    pub(in super::super) channels: usize,
    pub(in super::super) height: usize,
    pub(in super::super) width: usize,
    /// Zeros on each side.
    pub(in super::super) border: usize,
    /// Channels of a block.
    pub(in super::super) lanes: usize,
    /// Whether a convolution reads it, perhaps a row and a place beyond its end.
    pub(in super::super) is_convolved: bool,
}

impl Shape {
    pub(in super::super) fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// # Panics
    /// If a block is not a vector of this machine.
    pub(in super::super) fn assert_lanes(&self, lanes: usize) {
        assert!(self.lanes == lanes, "blocks of {} channels, vectors of {lanes}", self.lanes);
    }

    /// Values from one row to the next.
    pub(in super::super) fn row(&self) -> usize {
        (self.width + 2 * self.border) * self.lanes
    }

    /// Values from one block to the next.
    pub(in super::super) fn block(&self) -> usize {
        (self.height + 2 * self.border) * self.row()
    }

    /// All values of an image.
    pub(in super::super) fn size(&self) -> usize {
        self.blocks() * self.block() + if self.is_convolved { self.row() + self.lanes } else { 0 }
    }

    /// Where a place of a block lies.
    pub(in super::super) fn at(&self, y: usize, x: usize) -> usize {
        (y + self.border) * self.row() + (x + self.border) * self.lanes
    }

    /// Where each value of `[channels, height, width]` lies.
    pub(in super::super) fn places(&self) -> impl Iterator<Item = usize> {
        let shape = *self;
        (0..self.channels).flat_map(move |channel| {
            let first = channel / shape.lanes * shape.block() + channel % shape.lanes;
            (0..shape.height).flat_map(move |y| (0..shape.width).map(move |x| first + shape.at(y, x)))
        })
    }

    /// Where each value of a patch lies, from its first one on: of each channel these rows and columns.
    pub(in super::super) fn offsets(&self, rows: &[usize], columns: &[usize]) -> Vec<usize> {
        let places = |channel: usize| {
            let first = channel / self.lanes * self.block() + channel % self.lanes;
            rows.iter().flat_map(move |y| columns.iter().map(move |x| first + y * self.row() + x * self.lanes))
        };
        (0..self.channels).flat_map(places).collect()
    }

    /// Where a band that begins with row `y` begins: the first holds the border above it.
    pub(in super::super) fn start_of(&self, y: usize) -> usize {
        if y == 0 { 0 } else { (y + self.border) * self.row() }
    }

    #[inline(always)]
    pub(in super::super) fn block_of<'a>(&self, values: &'a [f32], block: usize) -> &'a [f32] {
        &values[block * self.block()..][..self.block()]
    }

    /// The own values of a row of a block.
    #[inline(always)]
    pub(in super::super) fn row_of<'a>(&self, block: &'a [f32], y: usize) -> &'a [f32] {
        &block[self.at(y, 0)..][..self.width * self.lanes]
    }

    /// Clears what is around the `rows` of a band of a block, that which ends with the last one holding the border below.
    #[inline(always)]
    pub(in super::super) fn clear_border(&self, rows: &std::ops::Range<usize>, band: &mut [f32]) {
        if self.border == 0 {
            return;
        }
        let (start, side) = (self.start_of(rows.start), self.border * self.lanes);
        let own = self.width * self.lanes;
        // From the end of a row to the beginning of the next.
        let mut end = 0;
        for y in rows.clone() {
            let at = self.at(y, 0) - start;
            band[end..at].fill(0.0);
            end = at + own;
        }
        let last = if rows.end == self.height { band.len() } else { end + side };
        band[end..last].fill(0.0);
    }

    /// From `[channels, height, width]`.
    pub(in super::super) fn read(&self, planes: &[f32], values: &mut [f32]) {
        values[..self.blocks() * self.block()].fill(0.0);
        self.put(planes, values);
    }

    /// The same where zeros are around the values already.
    pub(in super::super) fn put(&self, planes: &[f32], values: &mut [f32]) {
        let Self { height, width, lanes, .. } = *self;
        let blocks =
            planes.chunks(lanes * height * width).take(self.blocks()).zip(values.chunks_exact_mut(self.block()));
        if lanes == 1 {
            for (plane, block) in blocks {
                for (y, row) in plane.chunks_exact(width).enumerate() {
                    block[self.at(y, 0)..][..width].copy_from_slice(row);
                }
            }
            return;
        }
        let place = |from: &[f32], to: &mut [f32]| {
            transpose(from, height * width, [from.len() / (height * width), height * width], to, lanes);
        };
        if self.border == 0 {
            return blocks.for_each(|(planes, block)| place(planes, block));
        }
        with_scratch([height * width * lanes], |[side]| {
            for (planes, block) in blocks {
                // Channels that a last block has not.
                if planes.len() < side.len() {
                    side.fill(0.0);
                }
                place(planes, side);
                for (y, row) in side.chunks_exact(width * lanes).enumerate() {
                    block[self.at(y, 0)..][..row.len()].copy_from_slice(row);
                }
            }
        });
    }

    /// To `[channels, height, width]`.
    pub(in super::super) fn write(&self, values: &[f32], planes: &mut [f32]) {
        for (value, place) in planes.iter_mut().zip(self.places()) {
            *value = values[place];
        }
    }
}
