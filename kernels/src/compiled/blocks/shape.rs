//! How a value lies in blocks of channels.

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
    pub(super) fn assert_lanes(&self, lanes: usize) {
        assert!(self.lanes == lanes, "blocks of {} channels, vectors of {lanes}", self.lanes);
    }

    /// Values from one row to the next.
    pub(super) fn row(&self) -> usize {
        (self.width + 2 * self.border) * self.lanes
    }

    /// Values from one block to the next.
    pub(super) fn block(&self) -> usize {
        (self.height + 2 * self.border) * self.row()
    }

    /// All values of an image.
    pub(in super::super) fn size(&self) -> usize {
        self.blocks() * self.block() + if self.is_convolved { self.row() + self.lanes } else { 0 }
    }

    /// Where a place of a block lies.
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
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

    /// Where a band that begins with row `y` begins: the first holds the border above it.
    pub(super) fn start_of(&self, y: usize) -> usize {
        if y == 0 { 0 } else { (y + self.border) * self.row() }
    }

    #[inline(always)]
    pub(super) fn block_of<'a>(&self, values: &'a [f32], block: usize) -> &'a [f32] {
        &values[block * self.block()..][..self.block()]
    }

    /// The own values of a row of a block.
    #[inline(always)]
    pub(super) fn row_of<'a>(&self, block: &'a [f32], y: usize) -> &'a [f32] {
        &block[self.at(y, 0)..][..self.width * self.lanes]
    }

    /// Clears what is around the `rows` of a band of a block, that which ends with the last one holding the border below.
    #[inline(always)]
    pub(super) fn clear_border(&self, rows: &std::ops::Range<usize>, band: &mut [f32]) {
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
    pub(super) fn read(&self, planes: &[f32], values: &mut [f32]) {
        let (lanes, plane) = (self.lanes, self.height * self.width);
        values[..self.blocks() * self.block()].fill(0.0);
        for (channel, plane) in planes.chunks_exact(plane).take(self.channels).enumerate() {
            let block = &mut values[channel / lanes * self.block()..][..self.block()];
            for (y, row) in plane.chunks_exact(self.width).enumerate() {
                let to = &mut block[self.at(y, 0)..][..row.len() * lanes];
                if lanes == 1 {
                    to.copy_from_slice(row);
                    continue;
                }
                for (to, value) in to.chunks_exact_mut(lanes).zip(row) {
                    to[channel % lanes] = *value;
                }
            }
        }
    }

    /// To `[channels, height, width]`.
    pub(super) fn write(&self, values: &[f32], planes: &mut [f32]) {
        for (value, place) in planes.iter_mut().zip(self.places()) {
            *value = values[place];
        }
    }
}
