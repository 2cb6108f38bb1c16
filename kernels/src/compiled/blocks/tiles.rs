//! A convolution with 3x3 kernels by [Winograd's](super::super::super::winograd) tiles, channels side by side in vectors.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::super::fill::with_scratch;
use super::super::super::geometry::ConvGeometry;
use super::super::super::winograd::{PLACES, transform};
use super::conv::{After, Part, bundles};
use super::cut::{Cuts, cut};
use super::patches::pack;
use super::shape::Shape;
use super::sums::{Sums, activate, load, maximum, store, sum};

/// With fewer channels, the transforms take longer than the products that they save, by count of their instructions.
const FEWEST_CHANNELS: usize = 12;

/// Transformed values that stay in a core's cache.
const MOST_VALUES: usize = 80_000;

/// What lies between the values of two places, so that those of all places are not in the same few lines of a cache.
const GAP: usize = 16;

pub(super) struct Tiles {
    /// Blocks of a bundle.
    width: usize,
    /// `[places, bundles, channels in, width, lanes]`.
    weights: [Vec<f32>; PLACES],
    /// Where each input channel lies in the transformed values of a tile.
    offsets: Vec<usize>,
    /// Where each tile of a whole plane begins in them.
    starts: Vec<usize>,
    input: Shape,
    /// Rows and columns of the border that are not looked at.
    corner: usize,
    /// Tiles of a row, and rows of a tile that are stored.
    across: usize,
    step: usize,
}

impl Tiles {
    pub(super) fn are_worth_it(geometry: &ConvGeometry, input: &Shape, output: &Shape) -> bool {
        let ConvGeometry { channels_in, channels_out, kernel, stride, .. } = *geometry;
        let is_large = geometry.conv_output().iter().all(|size| *size > 1);
        let are_vectors = input.lanes == output.lanes;
        kernel == 3 && stride == 1 && are_vectors && is_large && channels_in.min(channels_out) >= FEWEST_CHANNELS
    }

    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], input: Shape, output: &Shape) -> Self {
        let width = bundles(output.blocks());
        let kernels = weight.as_chunks::<9>().0.iter().map(|kernel| transform(&kernel.map(|value| [value])));
        let kernels = kernels.collect::<Vec<_>>();
        let weights = std::array::from_fn(|place| {
            let values = kernels.iter().map(|kernel| kernel[place][0]).collect::<Vec<_>>();
            pack(&values, geometry.channels_in, output, width)
        });
        let step = if geometry.epilogue.pool { 1 } else { 2 };
        let across = output.width.div_ceil(step);
        let depth = input.blocks() * input.lanes;
        Self {
            width,
            weights,
            offsets: (0..geometry.channels_in).collect(),
            starts: (0..across * output.height.div_ceil(step)).map(|tile| tile * depth).collect(),
            input,
            corner: input.border - geometry.padding,
            across,
            step,
        }
    }

    /// Values of a tile at one place.
    fn depth(&self) -> usize {
        self.input.blocks() * self.input.lanes
    }

    pub(super) fn cuts(&self, output: &Shape, threads: usize) -> Cuts {
        let most = MOST_VALUES / (PLACES * self.depth() * self.across) * self.step;
        let read = 25.0 * self.input.blocks() as f64;
        let write = 8.0 * self.offsets.len() as f64 + 45.0;
        let cycles = |rows: usize, blocks: usize| {
            (rows.div_ceil(self.step) * self.across) as f64 * (read + write * blocks as f64)
        };
        let of = |threads| cut(output, self.width, self.step, most, threads, cycles);
        Cuts::new(of(1), of(threads))
    }

    /// Computes a part of the outputs.
    pub(super) fn run(&self, part: Part, after: &After, outputs: &mut [&mut [f32]]) {
        let (lanes, depth) = (after.output.lanes, self.depth());
        let rows = part.rows.start / self.step..part.rows.end.div_ceil(self.step);
        let tiles = rows.len() * self.across;
        let (values_of, products_of) = (tiles * depth + GAP, tiles * self.width * lanes + GAP);
        with_scratch([PLACES * values_of, PLACES * products_of], |[values, products]| {
            let read = Read { tiles: self, input: part.input, rows: &rows, values: &mut *values, place: values_of };
            pulp::Arch::new().dispatch(read);
            for (i, outputs) in outputs.chunks_mut(self.width).enumerate() {
                let (first, count) = (part.block + i * self.width, outputs.len());
                let bundle = first * lanes * self.offsets.len()..(first + count) * lanes * self.offsets.len();
                let places = values.chunks_exact(values_of).zip(products.chunks_exact_mut(products_of));
                for ((image, results), weights) in places.zip(&self.weights) {
                    let (vectors, starts) = (&weights[bundle.clone()], &self.starts[..tiles]);
                    sum(Sums { image, vectors, count, steps: &self.offsets, starts, results });
                }
                for (index, output) in outputs.iter_mut().enumerate() {
                    let block = first + index;
                    after.output.clear_border(&part.rows, output);
                    let added =
                        after.added.map(|added| added.block(block, 0..after.output.height * after.output.width));
                    pulp::Arch::new().dispatch(Write {
                        tiles: self,
                        rows: &rows,
                        products,
                        place: products_of,
                        index,
                        count,
                        bias: &after.bias[block * lanes..],
                        added,
                        relu: after.relu,
                        shape: after.output,
                        output,
                    });
                }
            }
        });
    }
}

/// `B' d B` of the tiles in some rows: `[places, tiles, channels in]`, places `place` values apart.
struct Read<'a> {
    tiles: &'a Tiles,
    input: &'a [f32],
    rows: &'a Range<usize>,
    values: &'a mut [f32],
    place: usize,
}

impl WithSimd for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, input, rows, values, place } = self;
        let (shape, across, corner) = (&tiles.input, tiles.across, tiles.corner);
        let (lanes, depth, row) = (S::F32_LANES, tiles.depth(), shape.row());
        let mut targets = values.chunks_exact_mut(place);
        let targets: [&mut [f32]; PLACES] = std::array::from_fn(|_| targets.next().unwrap_or_default());
        for block in 0..shape.blocks() {
            for (i, y) in rows.clone().enumerate() {
                let first = block * shape.block() + (2 * y + corner) * row + corner * lanes;
                // One length for the four of them, so that one check is enough.
                let line = |k| &input[first + k * row..][..(2 * across + 2) * lanes];
                let lines = [line(0), line(1), line(2), line(3)].map(|line| S::as_simd_f32s(line).0);
                let (mut a, mut b) = (column(simd, lines, 0), column(simd, lines, 1));
                for x in 0..across {
                    let (c, d) = (column(simd, lines, 2 * x + 2), column(simd, lines, 2 * x + 3));
                    let at = (i * across + x) * depth + block * lanes;
                    for k in 0..4 {
                        let values = difference(simd, [a[k], b[k], c[k], d[k]]);
                        for l in 0..4 {
                            store::<S>(&mut targets[4 * k + l][at..], values[l]);
                        }
                    }
                    (a, b) = (c, d);
                }
            }
        }
    }
}

/// `A' m A` of the tiles in some rows of a block, and what follows.
struct Write<'a> {
    tiles: &'a Tiles,
    rows: &'a Range<usize>,
    /// `[places, tiles, count, lanes]`, of which those at `index` are meant; places are `place` values apart.
    products: &'a [f32],
    place: usize,
    index: usize,
    count: usize,
    bias: &'a [f32],
    added: Option<(&'a [f32], &'a [usize])>,
    relu: bool,
    shape: &'a Shape,
    output: &'a mut [f32],
}

impl WithSimd for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, rows, products, place, index, count, bias, added, relu, shape, output } = self;
        let Tiles { across, step, .. } = *tiles;
        shape.assert_lanes(S::F32_LANES);
        let (used, bias) = (rows.len() * across * count, load::<S>(bias));
        let mut all = products.chunks_exact(place);
        let products: [&[S::f32s]; PLACES] =
            std::array::from_fn(|_| &S::as_simd_f32s(all.next().unwrap_or_default()).0[..used]);
        let first = shape.start_of(rows.start * step);
        for (i, row) in rows.clone().enumerate() {
            for x in 0..across {
                let tile = (i * across + x) * count + index;
                let column = |k: usize| sums(simd, [0, 4, 8, 12].map(|first| products[first + k][tile]));
                let along = [column(0), column(1), column(2), column(3)];
                let square = [sums(simd, along.map(|column| column[0])), sums(simd, along.map(|column| column[1]))];
                if step == 1 {
                    let [[a, b], [c, d]] = square;
                    let value = simd.add_f32s(maximum(simd, [a, b, c, d]), bias);
                    store::<S>(&mut output[shape.at(row, x) - first..], activate(simd, value, relu));
                    continue;
                }
                for (corner, value) in square.into_iter().flatten().enumerate() {
                    let (y, x) = (2 * row + corner / 2, 2 * x + corner % 2);
                    if y < shape.height && x < shape.width {
                        let mut value = simd.add_f32s(value, bias);
                        if let Some((added, places)) = added {
                            value = simd.add_f32s(value, load::<S>(&added[places[y * shape.width + x]..]));
                        }
                        store::<S>(&mut output[shape.at(y, x) - first..], activate(simd, value, relu));
                    }
                }
            }
        }
    }
}

/// The column `x` of four lines of vectors, transformed.
#[inline(always)]
fn column<S: Simd>(simd: S, lines: [&[S::f32s]; 4], x: usize) -> [S::f32s; 4] {
    difference(simd, lines.map(|line| line[x]))
}

/// `B' d` along one axis.
#[inline(always)]
fn difference<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// `A' m` along one axis.
#[inline(always)]
fn sums<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(a, b), c), simd.sub_f32s(simd.sub_f32s(b, c), d)]
}
