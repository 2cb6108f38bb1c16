//! Group norm: the channels of an image in groups, each by its own mean and variance.
//!
//! Groups need not be blocks, so there are two steps: the first finds mean and squared deviations of each channel for itself, side
//! by side in vectors; the second puts those of a group together, which is exact, and computes the values.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::super::blocks::{Shape, activate, load, maximum, store};
use super::super::super::fill::with_scratch;
use super::super::super::norm::group::assert_divides;
use super::super::super::pool::Epilogue;
use super::super::super::size::assert_length;
use super::super::team::{Grid, Member};
use super::cut::Cuts;
use super::{Place, for_rows};

/// A group norm and what follows it.
pub struct GroupNormLayer {
    /// Groups of neighbouring channels; they divide the channels.
    pub groups: usize,
    /// What is added to the variance.
    pub epsilon: f64,
    /// `[scale, shift]` of each channel, after the norm.
    pub channels: Vec<[f32; 2]>,
    /// Whether negative values become 0.
    pub relu: bool,
    /// Whether a 2x2 max-pool follows.
    pub pool: bool,
}

impl GroupNormLayer {
    /// The shape of its output for images of this one, `[channels, height, width]`.
    ///
    /// # Panics
    /// If the layer does not fit them.
    pub(in super::super) fn output(&self, [channels, height, width]: [usize; 3]) -> [usize; 3] {
        assert_length("group norm", &self.channels, channels);
        assert_divides(self.groups, channels);
        assert!(height > 0 && width > 0, "group norm: planes of {:?}", [height, width]);
        let epilogue = Epilogue { relu: self.relu, pool: self.pool };
        epilogue.assert_fits([height, width]);
        let [height, width] = epilogue.output([height, width]);
        [channels, height, width]
    }
}

/// The moments of a value of this shape: of each channel the mean, and the sum of the squared deviations from it,
/// `[blocks, 2, lanes]`.
pub(in super::super) struct Moments(pub(in super::super) Shape);

impl Moments {
    /// How many there are.
    pub(in super::super) fn size(&self) -> usize {
        self.0.blocks() * 2 * self.0.lanes
    }

    pub(super) fn run(&self, member: &Member, input: Place, output: Place) {
        let (shape, block) = (&self.0, 2 * self.0.lanes);
        let blocks = shape.blocks();
        let grid = Grid { start: output.from, blocks, block, group: 1, first: block, chunk: block, bands: 1 };
        member.step_of_blocks([input.array], output.array, grid, |block, [values], moments| {
            let block = shape.block_of(&values[input.from..], block);
            pulp::Arch::new().dispatch(Measure { shape, block, moments: &mut *moments[0] });
        });
    }
}

/// The moments of a block's channels.
struct Measure<'a> {
    shape: &'a Shape,
    block: &'a [f32],
    moments: &'a mut [f32],
}

impl WithSimd for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.shape.assert_lanes(S::F32_LANES);
        let count = simd.splat_f32s((self.shape.height * self.shape.width) as f32);
        let mean = simd.div_f32s(self.sum(simd, |value| value), count);
        let square = |value| {
            let difference = simd.sub_f32s(value, mean);
            simd.mul_f32s(difference, difference)
        };
        let squares = self.sum(simd, square);
        store::<S>(self.moments, mean);
        store::<S>(&mut self.moments[S::F32_LANES..], squares);
    }
}

impl Measure<'_> {
    /// The sum of `term` over the places of the block, row by row.
    #[inline(always)]
    fn sum<S: Simd>(&self, simd: S, term: impl Fn(S::f32s) -> S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        let mut total = zero;
        for y in 0..self.shape.height {
            // Several sums, none of which waits for another.
            let mut sums = [zero; 4];
            let (fours, rest) = S::as_simd_f32s(self.shape.row_of(self.block, y)).0.as_chunks::<4>();
            for four in fours {
                for (sum, value) in sums.iter_mut().zip(four) {
                    *sum = simd.add_f32s(*sum, term(*value));
                }
            }
            for value in rest {
                sums[0] = simd.add_f32s(sums[0], term(*value));
            }
            let [a, b, c, d] = sums;
            total = simd.add_f32s(total, simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)));
        }
        total
    }
}

/// What follows the moments.
pub(in super::super) struct GroupNorm {
    layer: GroupNormLayer,
    input: Shape,
    output: Shape,
    cuts: Cuts,
}

impl GroupNorm {
    pub(in super::super) fn new(layer: GroupNormLayer, [input, output]: [Shape; 2], threads: usize) -> Self {
        Self { layer, input, output, cuts: Cuts::of_passes(output, threads) }
    }

    pub(super) fn run(&self, member: &Member, [input, moments]: [Place; 2], output: Place) {
        let (cut, lanes) = (self.cuts.of(member), self.output.lanes);
        let (reads, grid) = ([input.array, moments.array], cut.grid(&self.output, output.from));
        member.step_of_blocks(reads, output.array, grid, |part, [values, moments_of], pieces| {
            let (first, rows) = cut.part(part);
            let room = pieces.len() * lanes;
            with_scratch([room, room, room], |[means, slopes, shifts]| {
                self.lines(&moments_of[moments.from..], first * lanes, [&mut *means, &mut *slopes, &mut *shifts]);
                for (i, piece) in pieces.iter_mut().enumerate() {
                    pulp::Arch::new().dispatch(Apply {
                        norm: self,
                        rows: &rows,
                        line: [&*means, &*slopes, &*shifts].map(|values| &values[i * lanes..][..lanes]),
                        block: self.input.block_of(&values[input.from..], first + i),
                        piece,
                    });
                }
            });
        });
    }

    /// Mean, slope and shift of the channels from `first` on, zeros where a block has fewer.
    fn lines(&self, moments: &[f32], first: usize, [means, slopes, shifts]: [&mut [f32]; 3]) {
        let GroupNormLayer { groups, epsilon, ref channels, .. } = self.layer;
        let (of_each, end) = (channels.len() / groups, channels.len().min(first + means.len()));
        for lines in [&mut *means, &mut *slopes, &mut *shifts] {
            lines.fill(0.0);
        }
        for group in first / of_each..end.div_ceil(of_each) {
            let group = group * of_each..(group + 1) * of_each;
            let (mean, variance) = self.of_group(moments, group.clone());
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for channel in group.start.max(first)..group.end.min(end) {
                let [scale, shift] = channels[channel];
                means[channel - first] = mean as f32;
                slopes[channel - first] = inverse as f32 * scale;
                shifts[channel - first] = shift;
            }
        }
    }

    /// Mean and variance of a group of channels, from those of each.
    fn of_group(&self, moments: &[f32], group: Range<usize>) -> (f64, f64) {
        let (lanes, plane) = (self.input.lanes, (self.input.height * self.input.width) as f64);
        let count = group.len() as f64;
        let of = |channel: usize| {
            let block = &moments[channel / lanes * 2 * lanes..][..2 * lanes];
            [block[channel % lanes], block[lanes + channel % lanes]].map(f64::from)
        };
        let mean = group.clone().map(|channel| of(channel)[0]).sum::<f64>() / count;
        let squares = group.map(|channel| {
            let [own, squares] = of(channel);
            squares + plane * (own - mean) * (own - mean)
        });
        (mean, squares.sum::<f64>() / (count * plane))
    }
}

/// `(x - mean) * slope + shift` of some rows of a block, and what follows.
struct Apply<'a> {
    norm: &'a GroupNorm,
    rows: &'a Range<usize>,
    /// Mean, slope and shift of each channel of the block.
    line: [&'a [f32]; 3],
    block: &'a [f32],
    piece: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { norm, rows, line, block, piece } = self;
        let GroupNorm { layer: GroupNormLayer { relu, pool, .. }, input, output, .. } = norm;
        output.assert_lanes(S::F32_LANES);
        let [mean, slope, shift] = line.map(load::<S>);
        let normalised = |value| simd.mul_add_e_f32s(simd.sub_f32s(value, mean), slope, shift);
        let row = |y| S::as_simd_f32s(input.row_of(block, y)).0;
        for_rows(output, rows, piece, |y, output| {
            let output = S::as_mut_simd_f32s(output).0;
            if !pool {
                for (output, value) in output.iter_mut().zip(row(y)) {
                    *output = activate(simd, normalised(*value), *relu);
                }
                return;
            }
            let pairs = row(2 * y).as_chunks::<2>().0.iter().zip(row(2 * y + 1).as_chunks::<2>().0);
            for (output, ([a, b], [c, d])) in output.iter_mut().zip(pairs) {
                *output = activate(simd, maximum(simd, [*a, *b, *c, *d].map(normalised)), *relu);
            }
        });
    }
}
