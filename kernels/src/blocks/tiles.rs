//! A convolution with 3x3 kernels by [Winograd's](super::super::winograd) tiles, channels side by side in vectors.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::simd::MOST_LANES;
use super::super::transpose::transpose;
use super::super::winograd::{PLACES, difference, kernels, sums};
use super::shape::Shape;
use super::sums::{Sums, To, activate, load, maximum, place_of, store, sum};
use super::{After, Part, bundle_of, bundles};

/// With fewer channels, the transforms take longer than the products that they save, by count of their instructions.
const FEWEST_CHANNELS: usize = 12;

/// Transformed values that stay in a core's cache.
pub(in super::super) const MOST_VALUES: usize = 80_000;

/// What lies between the values of two places, so that those of all places are not in the same few lines of a cache.
pub(in super::super) const GAP: usize = 16;

pub(in super::super) struct Tiles {
    /// Blocks of a bundle.
    pub(in super::super) width: usize,
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
    pub(in super::super) step: usize,
}

impl Tiles {
    pub(in super::super) fn are_worth_it(geometry: &ConvGeometry, input: &Shape, output: &Shape) -> bool {
        let ConvGeometry { channels_in, channels_out, kernel, stride, .. } = *geometry;
        let is_large = geometry.conv_output().iter().all(|size| *size > 1);
        let are_vectors = input.lanes == output.lanes;
        kernel == 3 && stride == 1 && are_vectors && is_large && channels_in.min(channels_out) >= FEWEST_CHANNELS
    }

    /// For up to `images` images together.
    pub(in super::super) fn new(
        geometry: &ConvGeometry,
        kernels: Kernels,
        [input, output]: [Shape; 2],
        images: usize,
    ) -> Self {
        let width = bundles(output.blocks());
        let step = if geometry.epilogue.pool { 1 } else { 2 };
        let across = output.width.div_ceil(step);
        let depth = input.blocks() * input.lanes;
        let size = output.blocks() * output.lanes * geometry.channels_in;
        let mut weights = std::array::from_fn(|_| vec![0.0; size]);
        pulp::Arch::new().dispatch(Pack { kernels, geometry, width, weights: &mut weights });
        Self {
            width,
            weights,
            offsets: (0..geometry.channels_in).collect(),
            starts: (0..images * across * output.height.div_ceil(step)).map(|tile| tile * depth).collect(),
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

    /// The most rows of the output that a part should have, so that what is transformed stays in a cache.
    pub(in super::super) fn most_rows(&self) -> usize {
        MOST_VALUES / (PLACES * self.depth() * self.across) * self.step
    }

    /// About how many cycles a part of so many rows and blocks takes.
    pub(in super::super) fn cycles(&self, rows: usize, blocks: usize) -> f64 {
        let read = 25.0 * self.input.blocks() as f64;
        let write = 8.0 * self.offsets.len() as f64 + 45.0;
        (rows.div_ceil(self.step) * self.across) as f64 * (read + write * blocks as f64)
    }

    /// Computes a part of the outputs of `images` images, image by image: `outputs` are their bands of each block. So are `places`, for
    /// the [places](super::super::pool::PoolIndex) of a max-pool's maxima, if anybody asks.
    pub(in super::super) fn run(
        &self,
        part: Part,
        images: usize,
        after: &After,
        outputs: &mut [&mut [f32]],
        places: &mut [&mut [f32]],
    ) {
        let (lanes, depth) = (after.output.lanes, self.depth());
        let rows = part.rows.start / self.step..part.rows.end.div_ceil(self.step);
        let (each, blocks) = (rows.len() * self.across, outputs.len() / images);
        let tiles = images * each;
        let (values_of, products_of) = (tiles * depth + GAP, tiles * self.width * lanes + GAP);
        with_scratch([PLACES * values_of, PLACES * products_of], |[values, products]| {
            for (image, input) in part.input.chunks_exact(self.input.size()).take(images).enumerate() {
                let values = &mut values[image * each * depth..];
                let (shape, corner, across) = (&self.input, self.corner, self.across);
                pulp::Arch::new().dispatch(Read {
                    input,
                    shape,
                    corner,
                    rows: &rows,
                    across,
                    values,
                    place: values_of,
                });
            }
            for i in (0..blocks).step_by(self.width) {
                let (first, count) = (part.block + i, self.width.min(blocks - i));
                let bundle = first * lanes * self.offsets.len()..(first + count) * lanes * self.offsets.len();
                let both = values.chunks_exact(values_of).zip(products.chunks_exact_mut(products_of));
                for ((image, results), weights) in both.zip(&self.weights) {
                    let (vectors, starts) = (&weights[bundle.clone()], &self.starts[..tiles]);
                    sum(Sums { image, vectors, count, steps: &self.offsets, starts, results, to: To::Own });
                }
                for (image, index) in (0..images).flat_map(|image| (0..count).map(move |index| (image, index))) {
                    let (block, piece) = (first + index, image * blocks + i + index);
                    let output = &mut *outputs[piece];
                    after.output.clear_border(&part.rows, output);
                    let added =
                        after.added.map(|added| added.block(block, 0..after.output.height * after.output.width));
                    pulp::Arch::new().dispatch(Write {
                        tiles: self,
                        rows: &rows,
                        products,
                        first: image * each * count,
                        place: products_of,
                        index,
                        count,
                        bias: &after.bias[block * lanes..],
                        added,
                        relu: after.relu,
                        shape: after.output,
                        output,
                        places: places.get_mut(piece).map(|places| &mut **places),
                    });
                }
            }
        });
    }
}

/// The kernels of a convolution.
#[derive(Clone, Copy)]
pub(in super::super) enum Kernels<'a> {
    /// `[out, in, 3, 3]`.
    Given(&'a [f32]),
    /// Those that the gradient of a convolution's input is a convolution with: `[in, out, 3, 3]`, each to be turned by half a circle.
    Turned(&'a [f32]),
}

/// Puts kernels, transformed, into the order in which [`Sums`] reads them.
struct Pack<'a> {
    kernels: Kernels<'a>,
    geometry: &'a ConvGeometry,
    /// Blocks of a bundle.
    width: usize,
    weights: &'a mut [Vec<f32>; PLACES],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kernels: given, geometry, width, weights } = self;
        let (depth, channels, lanes) = (geometry.channels_in, geometry.channels_out, S::F32_LANES);
        let blocks = channels.div_ceil(lanes);
        // Taps of a block's kernels; the last block first, so that what fills it up is 0.
        let mut taps = [0.0; 9 * MOST_LANES];
        for block in (0..blocks).rev() {
            let (out, (bundle, own)) = (block * lanes, bundle_of(block, width, blocks));
            let rows = lanes.min(channels - out);
            for step in 0..depth {
                let (from, stride) = match given {
                    Kernels::Given(weight) => (&weight[(out * depth + step) * 9..], depth * 9),
                    Kernels::Turned(weight) => (&weight[(step * channels + out) * 9..], 9),
                };
                transpose(from, stride, [rows, 9], &mut taps, lanes);
                let mut kernel = [simd.splat_f32s(0.0); 9];
                kernel.copy_from_slice(&S::as_simd_f32s(&taps).0[..9]);
                if let Kernels::Turned(_) = given {
                    kernel.reverse();
                }
                let at = (bundle * depth + step * own + block - bundle) * lanes;
                for (weights, value) in weights.iter_mut().zip(kernels(simd, kernel)) {
                    store::<S>(&mut weights[at..], value);
                }
            }
        }
    }
}

/// `B' d B` of the tiles in some rows: `[places, tiles, channels in]`, places `place` values apart.
pub(in super::super) struct Read<'a> {
    pub(in super::super) input: &'a [f32],
    pub(in super::super) shape: &'a Shape,
    /// Rows and columns of the border that are not looked at.
    pub(in super::super) corner: usize,
    pub(in super::super) rows: &'a Range<usize>,
    /// Tiles of a row.
    pub(in super::super) across: usize,
    pub(in super::super) values: &'a mut [f32],
    pub(in super::super) place: usize,
}

impl WithSimd for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { input, shape, corner, rows, across, values, place } = self;
        let (lanes, row) = (S::F32_LANES, shape.row());
        let depth = shape.blocks() * lanes;
        let mut targets = values.chunks_mut(place);
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
    /// Where those of the image begin, in vectors.
    first: usize,
    place: usize,
    index: usize,
    count: usize,
    bias: &'a [f32],
    added: Option<(&'a [f32], &'a [usize])>,
    relu: bool,
    shape: &'a Shape,
    output: &'a mut [f32],
    places: Option<&'a mut [f32]>,
}

impl WithSimd for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, rows, products, first, place, index, count, bias, added, relu, shape, output, mut places } =
            self;
        let Tiles { across, step, .. } = *tiles;
        shape.assert_lanes(S::F32_LANES);
        let (used, bias) = (rows.len() * across * count, load::<S>(bias));
        let mut all = products.chunks_exact(place);
        let products: [&[S::f32s]; PLACES] =
            std::array::from_fn(|_| &S::as_simd_f32s(all.next().unwrap_or_default()).0[first..][..used]);
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
                    let at = shape.at(row, x) - first;
                    store::<S>(&mut output[at..], activate(simd, value, relu));
                    if let Some(places) = &mut places {
                        store::<S>(&mut places[at..], place_of(simd, [a, b, c, d], (value, relu)));
                    }
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
