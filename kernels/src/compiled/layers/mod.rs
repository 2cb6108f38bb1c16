//! Layers whose values lie in [blocks](super::super::blocks) of channels: a vector is stored where the next layer reads it, and what
//! follows a convolution happens in registers. What is written is cut into groups of blocks and bands of rows; each part of it is
//! computed from the layer's inputs alone, without waiting for others.
//!
//! Files import one way: this file -> `conv`, `group` -> `patches` -> `cut`.

mod conv;
mod cut;
mod group;
mod patches;

use std::ops::Range;

use super::super::blocks::Shape;
use super::super::simd::vectorised;
use super::team::{Grid, Member};
pub(super) use conv::Conv;
pub(super) use cut::Cuts;
pub use group::GroupNormLayer;
pub(super) use group::{GroupNorm, Moments};

/// Where a value of an image lies: in which array, and from where on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) array: usize,
    pub(super) from: usize,
}

pub(super) enum Operation {
    /// From planes, `[channels, height, width]`.
    Read(Shape),
    Conv(Box<Conv>),
    /// `x * slope + offset`, then ReLU.
    Norm(Norm),
    /// What a group norm needs of its input.
    Moments(Moments),
    /// Of a value and its moments.
    GroupNorm(GroupNorm),
    /// The sum of two values, then ReLU if asked.
    Sum(Sum),
    /// The mean over height and width.
    Mean(Shape, Shape),
    /// To planes.
    Write(Shape),
}

impl Operation {
    pub(super) fn run(&self, member: &Member, inputs: &[Place], output: Place) {
        let input = inputs[0];
        let both = || [input, inputs.get(1).copied().unwrap_or(input)];
        let whole = |length| whole(output, length);
        match self {
            Self::Conv(conv) => conv.run(member, inputs, output),
            Self::Norm(norm) => norm.run(member, input, output),
            Self::Sum(sum) => sum.run(member, both(), output),
            Self::Moments(moments) => moments.run(member, input, output),
            Self::GroupNorm(norm) => norm.run(member, both(), output),
            Self::Read(shape) => {
                member.step_of_blocks([input.array], output.array, whole(shape.size()), |_, [input_of], out| {
                    shape.read(&input_of[input.from..], out[0]);
                })
            }
            Self::Mean(from, to) => {
                member.step_of_blocks([input.array], output.array, whole(to.size()), |_, [values], out| {
                    mean(from, to, &values[input.from..], out[0]);
                })
            }
            Self::Write(shape) => {
                let grid = whole(shape.channels * shape.height * shape.width);
                member.step_of_blocks([input.array], output.array, grid, |_, [values], out| {
                    shape.write(&values[input.from..], out[0]);
                });
            }
        }
    }
}

/// All of a value as one part.
fn whole(output: Place, length: usize) -> Grid {
    Grid { start: output.from, blocks: 1, block: length, group: 1, first: length, chunk: length.max(1), bands: 1 }
}

/// A batch norm and ReLU.
pub(super) struct Norm {
    input: Shape,
    output: Shape,
    cuts: Cuts,
    /// Of each channel, zeros where a block has fewer.
    slopes: Vec<f32>,
    offsets: Vec<f32>,
}

impl Norm {
    pub(super) fn new(input: Shape, output: Shape, lines: &[[f32; 2]], threads: usize) -> Self {
        let padded = |which: usize| {
            let mut values = lines.iter().map(|line| line[which]).collect::<Vec<_>>();
            values.resize(output.blocks() * output.lanes, 0.0);
            values
        };
        Self { input, output, cuts: Cuts::of_passes(output, threads), slopes: padded(0), offsets: padded(1) }
    }

    fn run(&self, member: &Member, input: Place, output: Place) {
        let (cut, lanes) = (self.cuts.of(member), self.output.lanes);
        member.step_of_blocks(
            [input.array],
            output.array,
            cut.grid(&self.output, output.from),
            |part, [values], pieces| {
                let (first, rows) = cut.part(part);
                for (i, piece) in pieces.iter_mut().enumerate() {
                    let block = first + i;
                    let lines = [&self.slopes, &self.offsets].map(|line| &line[block * lanes..][..lanes]);
                    let values = self.input.block_of(&values[input.from..], block);
                    vectorised(
                        #[inline(always)]
                        || {
                            for_rows(&self.output, &rows, piece, |y, output| {
                                norm(self.input.row_of(values, y), lines, output);
                            });
                        },
                    );
                }
            },
        );
    }
}

#[inline(always)]
fn norm(input: &[f32], [slopes, offsets]: [&[f32]; 2], output: &mut [f32]) {
    let lanes = slopes.len();
    for (output, input) in output.chunks_exact_mut(lanes).zip(input.chunks_exact(lanes)) {
        for (i, output) in output.iter_mut().enumerate() {
            let value = input[i] * slopes[i] + offsets[i];
            // A NaN passes, so that a broken run shows.
            *output = if value <= 0.0 { 0.0 } else { value };
        }
    }
}

/// Calls `each(row, its values)` for the `rows` that a piece of a block holds, and clears what is around them.
#[inline(always)]
fn for_rows(shape: &Shape, rows: &Range<usize>, piece: &mut [f32], mut each: impl FnMut(usize, &mut [f32])) {
    let start = shape.start_of(rows.start);
    shape.clear_border(rows, piece);
    for y in rows.clone() {
        each(y, &mut piece[shape.at(y, 0) - start..][..shape.width * shape.lanes]);
    }
}

/// A sum and ReLU.
pub(super) struct Sum {
    inputs: [Shape; 2],
    output: Shape,
    cuts: Cuts,
    relu: bool,
}

impl Sum {
    pub(super) fn new(inputs: [Shape; 2], output: Shape, relu: bool, threads: usize) -> Self {
        Self { inputs, output, cuts: Cuts::of_passes(output, threads), relu }
    }

    fn run(&self, member: &Member, inputs: [Place; 2], output: Place) {
        let cut = self.cuts.of(member);
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let (reads, grid) = (inputs.map(|input| input.array), cut.grid(&self.output, output.from));
        member.step_of_blocks(reads, output.array, grid, |part, [left, right], pieces| {
            let (first, rows) = cut.part(part);
            for (i, piece) in pieces.iter_mut().enumerate() {
                let left = self.inputs[0].block_of(&left[inputs[0].from..], first + i);
                let right = self.inputs[1].block_of(&right[inputs[1].from..], first + i);
                vectorised(
                    #[inline(always)]
                    || {
                        for_rows(&self.output, &rows, piece, |y, output| {
                            let inputs = self.inputs[0].row_of(left, y).iter().zip(self.inputs[1].row_of(right, y));
                            for (output, (left, right)) in output.iter_mut().zip(inputs) {
                                let sum = left + right;
                                *output = if sum <= floor { floor } else { sum };
                            }
                        });
                    },
                );
            }
        });
    }
}

/// The mean over each plane.
fn mean(from: &Shape, to: &Shape, input: &[f32], output: &mut [f32]) {
    let lanes = from.lanes;
    output.fill(0.0);
    for block in 0..from.blocks() {
        let (values, at) = (from.block_of(input, block), block * to.block() + to.at(0, 0));
        let output = &mut output[at..at + lanes];
        vectorised(
            #[inline(always)]
            || {
                for y in 0..from.height {
                    for values in from.row_of(values, y).chunks_exact(lanes) {
                        for (sum, value) in output.iter_mut().zip(values) {
                            *sum += value;
                        }
                    }
                }
                output.iter_mut().for_each(|sum| *sum /= (from.height * from.width) as f32);
            },
        );
    }
}
