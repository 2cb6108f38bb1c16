//! A convolution with each value of a patch read where it lies.

use pulp::{Simd, WithSimd};

use super::super::super::blocks::{After, Part, Shape, Sums, To, activate, bundles, load, maximum, pack, store, sum};
use super::super::super::fill::with_scratch;
use super::super::super::geometry::ConvGeometry;
use super::super::super::pool::window;
use super::cut::{Cuts, cut};

pub(super) struct Patches {
    /// Blocks of a bundle.
    width: usize,
    /// `[bundles, depth, width, lanes]`; the last bundle may have fewer blocks.
    weights: Vec<f32>,
    /// Where each value of a patch lies.
    offsets: Vec<usize>,
    /// Where the patch of each result begins: row by row, or under a pool window by window.
    starts: Vec<usize>,
    /// Where each result that is stored lies in a block.
    targets: Vec<usize>,
    /// Results of a row that is stored.
    across: usize,
    pool: bool,
}

impl Patches {
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], input: &Shape, output: &Shape) -> Self {
        let ConvGeometry { kernel, stride, padding, .. } = *geometry;
        let corner = input.border - padding;
        let (row, lanes) = (input.row(), input.lanes);
        let taps = (0..kernel).collect::<Vec<_>>();
        let start = |[y, x]: [usize; 2]| (y * stride + corner) * row + (x * stride + corner) * lanes;
        let (height, across) = (output.height, output.width);
        let pool = geometry.epilogue.pool;
        let places = (0..height).flat_map(|y| (0..across).map(move |x| [y, x]));
        let starts = match pool {
            true => places.clone().flat_map(window).map(start).collect(),
            false => places.clone().map(start).collect(),
        };
        let width = bundles(output.blocks());
        let depth = geometry.patch();
        Self {
            width,
            weights: pack(weight, depth, output.lanes, width),
            offsets: input.offsets(&taps, &taps),
            starts,
            targets: places.map(|[y, x]| output.at(y, x)).collect(),
            across,
            pool,
        }
    }

    pub(super) fn cuts(&self, output: &Shape, threads: usize) -> Cuts {
        let results = if self.pool { 4 * self.across } else { self.across };
        let cycles = |rows, blocks| (rows * results * blocks) as f64 * (self.offsets.len() as f64 / 2.0 + 4.0);
        let of = |threads| cut(output, self.width, 1, output.height, threads, cycles);
        Cuts::new(of(1), of(threads))
    }

    /// Computes a part of the outputs.
    pub(super) fn run(&self, part: Part, after: &After, outputs: &mut [&mut [f32]]) {
        let (lanes, depth) = (after.output.lanes, self.offsets.len());
        let places = part.rows.start * self.across..part.rows.end * self.across;
        let each = if self.pool { 4 } else { 1 };
        let starts = &self.starts[each * places.start..each * places.end];
        with_scratch([starts.len() * self.width * lanes], |[results]| {
            for (i, outputs) in outputs.chunks_mut(self.width).enumerate() {
                let (first, count) = (part.block + i * self.width, outputs.len());
                let vectors = &self.weights[first * lanes * depth..][..count * lanes * depth];
                sum(Sums {
                    image: part.input,
                    vectors,
                    count,
                    steps: &self.offsets,
                    starts,
                    results: &mut *results,
                    to: To::Own,
                });
                for (index, output) in outputs.iter_mut().enumerate() {
                    let (results, block) = (&*results, first + index);
                    let (rows, targets) = (&part.rows, &self.targets[places.clone()]);
                    let from = after.output.start_of(rows.start);
                    after.output.clear_border(rows, output);
                    let added = after.added.map(|added| added.block(block, places.clone()));
                    let bias = &after.bias[block * lanes..];
                    let relu = after.relu;
                    let finish = Finish { results, index, count, each, bias, added, relu, targets, from, output };
                    pulp::Arch::new().dispatch(finish);
                }
            }
        });
    }
}

/// What is done with the results of a block.
struct Finish<'a> {
    /// `[results, count, lanes]`, of which those at `index` are meant.
    results: &'a [f32],
    index: usize,
    count: usize,
    /// Results of a window of the pool, or one.
    each: usize,
    bias: &'a [f32],
    added: Option<(&'a [f32], &'a [usize])>,
    relu: bool,
    /// Where they go in the block; `output` begins at `from`.
    targets: &'a [usize],
    from: usize,
    output: &'a mut [f32],
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { results, index, count, each, bias, added, relu, targets, from, output } = self;
        let (results, bias) = (S::as_simd_f32s(results).0, load::<S>(bias));
        if each == 4 {
            for (window, target) in results.chunks_exact(4 * count).zip(targets) {
                let value = maximum(simd, [0, 1, 2, 3].map(|corner| window[corner * count + index]));
                let value = activate(simd, simd.add_f32s(value, bias), relu);
                store::<S>(&mut output[target - from..], value);
            }
            return;
        }
        for (n, (values, target)) in results.chunks_exact(count).zip(targets).enumerate() {
            let mut value = simd.add_f32s(values[index], bias);
            if let Some((added, places)) = added {
                value = simd.add_f32s(value, load::<S>(&added[places[n]..]));
            }
            store::<S>(&mut output[target - from..], activate(simd, value, relu));
        }
    }
}
