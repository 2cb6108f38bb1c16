//! A fully connected layer whose weights lie as the kernels read them.

use std::ops::Range;

use super::super::direct::{self, Convolve, PANEL};
use super::super::fill::with_scratch;
use super::super::pool::add_biases;
use super::super::simd::vectorised;
use super::team::{Access, Member};

/// Outputs that are computed together.
const BLOCK: usize = 64;

pub(super) struct Dense {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    bias: Vec<f32>,
    relu: bool,
    /// `[blocks, inputs, BLOCK]`; the last block is as wide as the vectors need.
    packed: Vec<f32>,
    /// Where the rows of a whole block begin, and those of the last.
    offsets: [Vec<usize>; 2],
}

impl Dense {
    /// With weights `[in, out]`.
    ///
    /// # Panics
    /// If the slices do not fit each other.
    pub(super) fn new(weight: &[f32], bias: Vec<f32>, relu: bool) -> Self {
        let outputs = bias.len();
        assert!(
            outputs > 0 && !weight.is_empty() && weight.len().is_multiple_of(outputs),
            "weights do not fit the bias"
        );
        let inputs = weight.len() / outputs;
        let mut packed = Vec::with_capacity(inputs * direct::stride(outputs));
        for first in (0..outputs).step_by(BLOCK) {
            let count = BLOCK.min(outputs - first);
            for row in weight.chunks_exact(outputs) {
                packed.extend_from_slice(&row[first..first + count]);
                packed.resize(packed.len() + direct::stride(count) - count, 0.0);
            }
        }
        let last = direct::stride((outputs - 1) % BLOCK + 1);
        let offsets = [BLOCK, last].map(|width| (0..inputs).map(|r| r * width).collect());
        Self { inputs, outputs, bias, relu, packed, offsets }
    }

    /// Computes `count` rows of `inputs`.
    pub(super) fn run(&self, member: &Member, [input, output]: [usize; 2], count: usize) {
        if !member.is_alone() {
            for row in 0..count {
                let range = row * self.outputs..(row + 1) * self.outputs;
                let access = Access { reads: [input], writes: output, range, chunk: BLOCK };
                member.step(access, |part, [input], output| {
                    self.blocks(&input[row * self.inputs..][..self.inputs], part..part + 1, output);
                });
            }
            return;
        }
        let range = 0..count * self.outputs;
        let access = Access { reads: [input], writes: output, chunk: range.len(), range };
        member.step(access, |_, [input], output| {
            self.blocks(&input[..count * self.inputs], 0..self.outputs.div_ceil(BLOCK), output);
        });
    }

    /// Some blocks of the outputs of some rows; `output` begins with the first block's first.
    fn blocks(&self, input: &[f32], blocks: Range<usize>, output: &mut [f32]) {
        let count = input.len() / self.inputs;
        let row = output.len() / count;
        // A single row lies as the product reads it.
        let (step, rows) = if count == 1 { (1, 1) } else { (PANEL, count.next_multiple_of(PANEL)) };
        let scratch = if count == 1 { 0 } else { rows * self.inputs };
        with_scratch([scratch, direct::results(BLOCK)], |[packed, results]| {
            let packed = if count == 1 {
                input
            } else {
                vectorised(
                    #[inline(always)]
                    || direct::pack(input, self.inputs, packed),
                );
                packed
            };
            let first = blocks.start;
            for block in blocks {
                let (at, columns) = ((block - first) * BLOCK, BLOCK.min(self.outputs - block * BLOCK));
                let width = direct::stride(columns);
                let image = &self.packed[block * BLOCK * self.inputs..][..width * self.inputs];
                let offsets = &self.offsets[usize::from(width < BLOCK)];
                let panels = packed.chunks_exact(step * self.inputs).zip(output.chunks_mut(step * row));
                for (weights, output) in panels {
                    let (rows, results) = (output.len() / row, &mut *results);
                    direct::convolve(Convolve { weights, step, rows, offsets, image, length: width, results });
                    for (values, output) in results.chunks_exact(width).zip(output.chunks_exact_mut(row)) {
                        let output = &mut output[at..at + columns];
                        output.copy_from_slice(&values[..columns]);
                        vectorised(
                            #[inline(always)]
                            || add_biases(output, &self.bias[block * BLOCK..], self.relu),
                        );
                    }
                }
            }
        });
    }
}
