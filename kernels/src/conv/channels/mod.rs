//! A convolution with channels side by side in vectors: each value of an image is read where it lies and multiplied with the weights
//! of a bundle of channels, so that no place is computed for nothing, however small the images are.
//!
//! Forward and for the weights' gradients these are the output channels. For the input's they are the input channels: what each output
//! passes back is added to its patch.

mod backward;
mod images;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::blocks::{Sums, To, activate, bundles, maximum, pack, place_of, sum};
use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::pool::{Epilogue, PoolIndex, window};
use super::super::simd::lanes;
use super::super::transpose::transpose;
use super::FEWEST_GROUPS;
use super::passes::{Forward, write_indices};
pub(super) use backward::Backward;
use images::Images;

/// Places that make full use of a product, where there are as many images.
const ENOUGH_PLACES: usize = 128;

/// How many images of `plane` results each are computed together, at most `most`.
pub(super) fn together(plane: usize, most: usize) -> usize {
    (ENOUGH_PLACES / plane).clamp(1, most.max(1))
}

/// Channels in bundles of blocks of a vector each.
#[derive(Clone, Copy)]
struct Bundles {
    channels: usize,
    /// Channels of a bundle; the last may have fewer.
    each: usize,
    lanes: usize,
}

impl Bundles {
    fn of(channels: usize) -> Self {
        let lanes = lanes();
        Self { channels, each: bundles(channels.div_ceil(lanes)) * lanes, lanes }
    }

    /// Blocks of a bundle.
    fn width(&self) -> usize {
        self.each / self.lanes
    }

    /// The channels of each bundle, and how many there are with those that fill up the last block.
    fn iter(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let Self { channels, each, lanes } = *self;
        (0..channels).step_by(each).map(move |first| {
            let end = channels.min(first + each);
            (first..end, (end - first).next_multiple_of(lanes))
        })
    }
}

/// Weights of a product with patches of padded images.
struct Product {
    bundles: Bundles,
    /// `[bundles, offsets, channels of a bundle]`.
    weights: Vec<f32>,
    /// Where each value of a patch lies in the images.
    offsets: Vec<usize>,
}

impl Product {
    /// Of weights `[channels, offsets]`.
    fn new(weights: &[f32], offsets: Vec<usize>) -> Self {
        let depth = offsets.len();
        let bundles = Bundles::of(weights.len() / depth);
        Self { bundles, weights: pack(weights, depth, bundles.lanes, bundles.width()), offsets }
    }

    /// Products of the bundle with `across` channels from `first` on with the patches that begin at `starts`: `[starts, across]`,
    /// or where `to` says.
    fn run(&self, (first, across): (usize, usize), image: &[f32], starts: &[usize], results: &mut [f32], to: To) {
        let depth = self.offsets.len();
        let (vectors, count) = (&self.weights[first * depth..][..across * depth], across / self.bundles.lanes);
        sum(Sums { image, vectors, count, steps: &self.offsets, starts, results, to });
    }
}

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let Epilogue { relu, pool } = geometry.epilogue;
    let together = together(geometry.conv_plane(), geometry.batch / FEWEST_GROUPS);
    let images = Images::input(geometry, together);
    let taps = (0..geometry.kernel).collect::<Vec<_>>();
    let product = Product::new(weight, images.offsets([&taps, &taps]));
    let [_, channels, height, width] = geometry.output();
    let plane = height * width;
    let places = (0..plane).map(|n| [n / width, n % width]);
    let starts = match pool {
        true => images.starts(places.flat_map(window)),
        false => images.starts(places),
    };
    let mut biases = bias.to_vec();
    biases.resize(channels.next_multiple_of(product.bundles.lanes), 0.0);
    let run = |part: usize, output: &mut [f32], indices: &mut [PoolIndex]| {
        let count = output.len() / (channels * plane);
        let starts = &starts[..starts.len() / together * count];
        let of_pool = |length: usize| if pool { length } else { 0 };
        let places = count * plane * product.bundles.each;
        let lengths = [images.size(), starts.len() * product.bundles.each, of_pool(places), of_pool(output.len())];
        with_scratch(lengths, |[padded, results, places, planes]| {
            padded.fill(0.0);
            images.put(&input[part * together * geometry.image()..][..count * geometry.image()], padded);
            for (own, across) in product.bundles.iter() {
                let results = &mut results[..starts.len() * across];
                product.run((own.start, across), padded, starts, results, To::Own);
                let biases = &biases[own.start..][..across];
                pulp::Arch::new().dispatch(Finish { results, biases, relu, pool, places: &mut *places });
                for (values, target) in [(&*results, &mut *output), (&*places, &mut *planes)] {
                    let images = target.chunks_exact_mut(channels * plane).zip(values.chunks_exact(plane * across));
                    for (target, values) in images {
                        let target = &mut target[own.start * plane..own.end * plane];
                        transpose(values, across, [plane, own.len()], target, plane);
                    }
                }
            }
            write_indices(planes, indices);
        });
    };
    Forward::filled(geometry, [geometry.batch * channels * plane, together * channels * plane], run)
}

/// Adds biases `[across]` to results `[places, across]`, and applies what follows; of four results of a window of the pool one is
/// left, at the beginning, and its place in the window is written to `places`.
struct Finish<'a> {
    results: &'a mut [f32],
    biases: &'a [f32],
    relu: bool,
    pool: bool,
    places: &'a mut [f32],
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { results, biases, relu, pool, places } = self;
        let (biases, results) = (S::as_simd_f32s(biases).0, S::as_mut_simd_f32s(results).0);
        let count = biases.len();
        if !pool {
            for results in results.chunks_exact_mut(count) {
                for (value, bias) in results.iter_mut().zip(biases) {
                    *value = activate(simd, simd.add_f32s(*value, *bias), relu);
                }
            }
            return;
        }
        let places = S::as_mut_simd_f32s(places).0;
        for (n, places) in places.chunks_exact_mut(count).take(results.len() / (4 * count)).enumerate() {
            for (i, (place, bias)) in places.iter_mut().zip(biases).enumerate() {
                let window = [0, 1, 2, 3].map(|corner| results[(4 * n + corner) * count + i]);
                let value = simd.add_f32s(maximum(simd, window), *bias);
                results[n * count + i] = activate(simd, value, relu);
                *place = place_of(simd, window, (value, relu));
            }
        }
    }
}
