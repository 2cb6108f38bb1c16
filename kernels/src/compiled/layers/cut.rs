//! How the values that a layer writes are cut into parts, which threads compute side by side.

use std::ops::Range;

use super::super::super::blocks::Shape;
use super::super::team::{Grid, Member};

/// Groups of blocks, and bands of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Blocks of a group.
    group: usize,
    /// Rows of a band, and of all bands.
    band: usize,
    rows: usize,
    /// How many.
    bands: usize,
}

/// Cuts for a thread alone and for those that share an image.
pub(in super::super) struct Cuts {
    alone: Cut,
    together: Cut,
}

impl Cuts {
    pub(super) fn new(alone: Cut, together: Cut) -> Self {
        Self { alone, together }
    }

    /// Of a pass over all values of `output`.
    pub(super) fn of_passes(output: Shape, threads: usize) -> Self {
        let work = |threads| {
            cut(&output, 1, 1, output.height, threads, |rows, blocks| (rows * blocks * output.width * 2) as f64)
        };
        Self::new(work(1), work(threads))
    }

    pub(super) fn of(&self, member: &Member) -> &Cut {
        if member.is_alone() { &self.alone } else { &self.together }
    }
}

/// Cycles that a part costs, besides its work.
const PART: f64 = 600.0;

/// The cut of `output` that takes `threads` threads the least time: groups of whole `width` blocks, bands of whole `step` rows, at
/// most `most` of them; `cycles(rows, blocks)` is the work of a part.
pub(super) fn cut(
    output: &Shape,
    width: usize,
    step: usize,
    most: usize,
    threads: usize,
    cycles: impl Fn(usize, usize) -> f64,
) -> Cut {
    let (blocks, rows) = (output.blocks(), output.height);
    let (bundles, steps) = (blocks.div_ceil(width), rows.div_ceil(step));
    let limit = (most / step).clamp(1, steps);
    let mut best: Option<(f64, Cut)> = None;
    for groups in 1..=bundles.min(4 * threads) {
        let group = bundles.div_ceil(groups) * width;
        for bands in steps.div_ceil(limit)..=steps.min(4 * threads).max(steps.div_ceil(limit)) {
            let band = steps.div_ceil(bands) * step;
            let cut = Cut { group, band, rows, bands: rows.div_ceil(band) };
            let parts = blocks.div_ceil(group) * cut.bands;
            let time = parts.div_ceil(threads) as f64 * (cycles(band.min(rows), group.min(blocks)) + PART);
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, cut));
            }
        }
    }
    best.map_or(Cut { group: blocks.max(1), band: rows.max(1), rows, bands: 1 }, |(_, cut)| cut)
}

impl Cut {
    /// For the values of `output` from `start` on.
    pub(super) fn grid(&self, output: &Shape, start: usize) -> Grid {
        Grid {
            start,
            blocks: output.blocks(),
            block: output.block(),
            group: self.group,
            first: output.start_of(self.band),
            chunk: self.band * output.row(),
            bands: self.bands,
        }
    }

    /// The first block of a part, and its rows.
    pub(super) fn part(&self, part: usize) -> (usize, Range<usize>) {
        let first = part % self.bands * self.band;
        (part / self.bands * self.group, first..self.rows.min(first + self.band))
    }
}
