//! Images and planes of results in blocks of channels, as many as a vector holds, side by side: `[blocks, rows, places, lanes]`, with the
//! zeros around them that convolutions need. A value of an image is multiplied with the weights of a vector of output channels, so
//! that no result is computed for nothing, however small the images are.
//!
//! Files import one way: `tiles`, `gradient` -> `sums`, `shape`, this file.

mod gradient;
mod shape;
mod sums;
mod tiles;

use std::ops::Range;

use super::transpose::transpose;
pub(super) use gradient::{AddKernels, ReadGradient};
pub(super) use shape::Shape;
pub(super) use sums::{Sums, To, activate, load, maximum, place_of, store, sum};
pub(super) use tiles::{GAP, Kernels, MOST_VALUES, Read, Tiles};

/// How many blocks are computed together, of all `blocks`.
pub(super) fn bundles(blocks: usize) -> usize {
    match blocks {
        1 => 1,
        _ if !blocks.is_multiple_of(2) && blocks.is_multiple_of(3) => 3,
        _ => 2,
    }
}

/// The first block of the bundle of `width` blocks that a block is in, and how many blocks of all it has.
pub(super) fn bundle_of(block: usize, width: usize, blocks: usize) -> (usize, usize) {
    let first = block / width * width;
    (first, width.min(blocks - first))
}

/// Weights of channels, each `depth` values, as [`Sums`] reads them: `[bundles, depth, width, lanes]`, zeros where a block has fewer
/// channels. The last bundle may have fewer than `width` blocks.
pub(super) fn pack(weight: &[f32], depth: usize, lanes: usize, width: usize) -> Vec<f32> {
    let (bundle, channels) = (width * lanes * depth, weight.len() / depth);
    let mut packed = vec![0.0; channels.next_multiple_of(lanes) * depth];
    for (rows, packed) in weight.chunks(bundle).zip(packed.chunks_mut(bundle)) {
        let across = packed.len() / depth;
        transpose(rows, depth, [rows.len() / depth, depth], packed, across);
    }
    packed
}

/// The reverse of [`pack`].
pub(super) fn unpack(packed: &[f32], channels: usize, depth: usize, lanes: usize, width: usize) -> Vec<f32> {
    let bundle = width * lanes * depth;
    let mut weight = vec![0.0; channels * depth];
    for (rows, packed) in weight.chunks_mut(bundle).zip(packed.chunks(bundle)) {
        transpose(packed, packed.len() / depth, [depth, rows.len() / depth], rows, depth);
    }
    weight
}

/// A part of the outputs.
pub(super) struct Part<'a> {
    /// The images that are convolved.
    pub(super) input: &'a [f32],
    /// The first block.
    pub(super) block: usize,
    pub(super) rows: Range<usize>,
}

/// What happens to a convolution's results.
pub(super) struct After<'a> {
    pub(super) output: &'a Shape,
    pub(super) bias: &'a [f32],
    pub(super) added: Option<Added<'a>>,
    pub(super) relu: bool,
}

/// What is added to them.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    pub(super) values: &'a [f32],
    pub(super) shape: &'a Shape,
    /// Where each place lies in a block.
    pub(super) places: &'a [usize],
}

impl<'a> Added<'a> {
    /// A block, and where some places lie in it.
    pub(super) fn block(&self, block: usize, places: Range<usize>) -> (&'a [f32], &'a [usize]) {
        (self.shape.block_of(self.values, block), &self.places[places])
    }
}
