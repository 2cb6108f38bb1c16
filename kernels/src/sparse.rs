//! The backward pass of a convolution under a max-pool, from the non-zero gradients alone.
//!
//! At most one value in four of `dz` is not 0: the maximum of each window, and none of a window where ReLU is inactive. So
//! instead of two dense matrix products, each maximum at `(o, y, x)` with gradient `g` adds `g * patch` to `dW[o]` and
//! `g * W[o]` to its patch of `dx`. With channels last (NHWC), a patch is `k` runs of `k * channels` neighbouring values;
//! the image is copied to that order with its padding, and `dx` back from it. Of a first layer, whose runs are short and whose
//! `dx` nobody needs, each patch is copied to a run of its own.
//!
//! While the maxima of a channel are visited, the sums of `dW`, or the weights for `dx`, stay in registers.

use pulp::{Simd, WithSimd};

use super::geometry::ConvGeometry;
use super::padded::Layout;
use super::pool::{INACTIVE, PoolIndex};

/// With fewer values in a run, matrix products are faster.
const SHORTEST_RUN: usize = 32;

/// Up to so many values, a patch is one run of its own, copied once for each place: for the first layer of a network.
const LARGEST_PATCH: usize = 64;

/// Most windows in a row.
const WIDEST: usize = 128;

/// Values of the images that some rows of windows see, so that they stay in the nearest cache.
const NEAREST: usize = 6 << 10;

/// Where the patches of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patches {
    /// In the image with its padding, channels last: `kernel` runs each.
    InPlace,
    /// Each in a run of its own.
    Copied,
}

impl Patches {
    /// How to visit the maxima; none if matrix products are faster.
    pub(super) fn of(geometry: &ConvGeometry, needs_input: bool) -> Option<Self> {
        let ConvGeometry { channels_in, kernel, stride, epilogue, .. } = *geometry;
        if !epilogue.pool || geometry.output()[3] > WIDEST {
            return None;
        }
        let fits = kernel <= COPIED && stride == 1 && geometry.patch() <= LARGEST_PATCH && !needs_input;
        match kernel * channels_in >= SHORTEST_RUN {
            true => Some(Self::InPlace),
            false => fits.then_some(Self::Copied),
        }
    }

    /// Values of all patches of an image.
    pub(super) fn values(self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::InPlace => geometry.padded_plane() * geometry.channels_in,
            Self::Copied => geometry.conv_plane() * Self::slot(geometry) + COPIED,
        }
    }

    /// Values of scratch memory that [`read`](Self::read) needs.
    pub(super) fn scratch(self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::InPlace => 0,
            Self::Copied => Layout::input(geometry, 1).size(),
        }
    }

    /// Brings the patches of an image to their places.
    #[inline(always)]
    pub(super) fn read(self, geometry: &ConvGeometry, image: &[f32], scratch: &mut [f32], patches: &mut [f32]) {
        match self {
            Self::InPlace => pad_to_nhwc(geometry, image, patches),
            Self::Copied => copy_patches(geometry, image, scratch, patches),
        }
    }

    /// Values of the sums for the weights.
    pub(super) fn sums(self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::InPlace => geometry.weights(),
            Self::Copied => geometry.channels_out * Self::slot(geometry),
        }
    }

    /// The gradient of the weights from such sums.
    pub(super) fn weights(self, geometry: &ConvGeometry, sums: &[f32]) -> Vec<f32> {
        match self {
            Self::InPlace => channels_first(geometry, sums),
            Self::Copied => {
                sums.chunks_exact(Self::slot(geometry)).flat_map(|sums| &sums[..geometry.patch()]).copied().collect()
            }
        }
    }

    /// Values from one copied patch to the next: whole vectors.
    fn slot(geometry: &ConvGeometry) -> usize {
        geometry.patch().next_multiple_of(16)
    }

    /// How a patch lies.
    fn shape(self, geometry: &ConvGeometry) -> Shape {
        let ConvGeometry { channels_in, kernel, stride, .. } = *geometry;
        match self {
            Self::InPlace => {
                let row = geometry.padded()[1] * channels_in;
                Shape { down: row * stride, right: channels_in * stride, runs: kernel, run: kernel * channels_in, row }
            }
            Self::Copied => {
                let slot = Self::slot(geometry);
                Shape { down: geometry.conv_output()[1] * slot, right: slot, runs: 1, run: slot, row: 0 }
            }
        }
    }
}

/// Values that are copied at once: a row of a patch and what is written over by the next.
const COPIED: usize = 8;

/// Copies the patch of each place into a slot of its own; `padded` is scratch memory for the image with its zeros.
#[inline(always)]
fn copy_patches(geometry: &ConvGeometry, image: &[f32], padded: &mut [f32], patches: &mut [f32]) {
    let ConvGeometry { channels_in, kernel, .. } = *geometry;
    let (layout, [height, width]) = (Layout::input(geometry, 1), geometry.conv_output());
    padded.fill(0.0);
    layout.put(0, image, padded);
    let slot = Patches::slot(geometry);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let mut to = (y * width + x) * slot;
        for channel in 0..channels_in {
            let from = channel * layout.channel() + y * layout.row() + x;
            for ky in 0..kernel {
                let from: &[f32; COPIED] =
                    padded[from + ky * layout.row()..].first_chunk().expect("zeros after the last");
                *patches[to..].first_chunk_mut().expect("room after the last") = *from;
                to += kernel;
            }
        }
    }
}

/// Weights `[out, in, k, k]` to `[out, k, k, in]`.
pub(super) fn channels_last(geometry: &ConvGeometry, weight: &[f32]) -> Vec<f32> {
    reorder(geometry, weight, |first, last| (last, first))
}

/// Weights `[out, k, k, in]` to `[out, in, k, k]`.
fn channels_first(geometry: &ConvGeometry, weight: &[f32]) -> Vec<f32> {
    reorder(geometry, weight, |first, last| (first, last))
}

/// Copies weights; `places(index with channels first, index with channels last)` is `(to, from)`.
fn reorder(geometry: &ConvGeometry, weight: &[f32], places: impl Fn(usize, usize) -> (usize, usize)) -> Vec<f32> {
    let (taps, channels) = (geometry.kernel * geometry.kernel, geometry.channels_in);
    let mut reordered = vec![0.0; weight.len()];
    for (to, from) in reordered.chunks_exact_mut(taps * channels).zip(weight.chunks_exact(taps * channels)) {
        for tap in 0..taps {
            for channel in 0..channels {
                let (target, source) = places(channel * taps + tap, tap * channels + channel);
                to[target] = from[source];
            }
        }
    }
    reordered
}

/// One image's part of the gradients.
pub(super) struct Image<'a> {
    /// Its patches; empty if nobody asks for `weight_sums`.
    pub(super) patches: &'a [f32],
    /// The weights, channels last.
    pub(super) weight: &'a [f32],
    /// Sums of the weights' gradients, as the patches lie; empty if nobody asks.
    pub(super) weight_sums: &'a mut [f32],
    /// Sums of the biases' gradients; empty if nobody asks.
    pub(super) bias_sums: &'a mut [f32],
    /// Sums of the input's gradient, channels last; empty if nobody asks.
    pub(super) input_sums: &'a mut [f32],
}

/// How the patch of a place lies: from one place to the next `down` and `right`; `runs` of `run` values, `row` apart.
struct Shape {
    down: usize,
    right: usize,
    runs: usize,
    run: usize,
    row: usize,
}

/// Adds what image number `number` contributes to the sums in `image`; `indices` and `gradient` are those of the pooled
/// output of all images.
pub(super) fn backward(
    geometry: &ConvGeometry,
    patches: Patches,
    (indices, gradient): (&[PoolIndex], &[f32]),
    number: usize,
    image: Image,
) {
    let [_, channels, height, width] = geometry.output();
    let size = channels * height * width;
    let (indices, gradient) = (&indices[number * size..][..size], &gradient[number * size..][..size]);
    pulp::Arch::new().dispatch(Pass {
        shape: patches.shape(geometry),
        size: [height, width],
        indices,
        gradient,
        image,
    });
}

struct Pass<'a> {
    shape: Shape,
    /// Of a plane of the pooled output.
    size: [usize; 2],
    indices: &'a [PoolIndex],
    gradient: &'a [f32],
    image: Image<'a>,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shape, size: [height, width], indices, gradient, image } = self;
        let Image { patches, weight, weight_sums, bias_sums, input_sums } = image;
        let mut maxima = [(0, 0.0); WIDEST];
        let places = [0, shape.right, shape.down, shape.down + shape.right];
        // As many rows of windows as the nearest cache holds, and all channels of them.
        let rows = (NEAREST / (2 * shape.down)).min(WIDEST / width).clamp(1, height);
        let planes = gradient.chunks_exact(height * width).zip(indices.chunks_exact(height * width));
        for first in (0..height).step_by(rows) {
            let some = first * width..height.min(first + rows) * width;
            for (channel, (gradient, indices)) in planes.clone().enumerate() {
                let (mut count, mut sum) = (0, 0.0);
                let lines = gradient[some.clone()].chunks_exact(width).zip(indices[some.clone()].chunks_exact(width));
                for (y, (gradient, indices)) in lines.enumerate() {
                    let mut window = 2 * (first + y) * shape.down;
                    for (gradient, index) in gradient.iter().zip(indices) {
                        let is_active = *index < INACTIVE;
                        maxima[count] = (window + places[usize::from(*index & 3)], *gradient);
                        count += usize::from(is_active);
                        sum += if is_active { *gradient } else { 0.0 };
                        window += 2 * shape.right;
                    }
                }
                let maxima = &maxima[..count];
                for run in 0..shape.runs {
                    let weights = (channel * shape.runs + run) * shape.run;
                    if !weight_sums.is_empty() {
                        let sums = &mut weight_sums[weights..][..shape.run];
                        gather(simd, maxima, &patches[run * shape.row..], sums);
                    }
                    if !input_sums.is_empty() {
                        let weight = &weight[weights..][..shape.run];
                        scatter(simd, maxima, weight, &mut input_sums[run * shape.row..]);
                    }
                }
                if let Some(of_channel) = bias_sums.get_mut(channel) {
                    *of_channel += sum;
                }
            }
        }
    }
}

/// Vectors of a run that stay in registers while all maxima are visited.
const TILE: usize = 6;

/// `sums += gradient * values[start..]` for each of the maxima.
#[inline(always)]
fn gather<S: Simd>(simd: S, maxima: &[(usize, f32)], values: &[f32], sums: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(sums);
    let mut at = 0;
    for part in vectors.chunks_mut(TILE) {
        let values = &values[at..];
        match part {
            [a] => gather_tile::<S, 1>(simd, maxima, values, [a]),
            [a, b] => gather_tile::<S, 2>(simd, maxima, values, [a, b]),
            [a, b, c] => gather_tile::<S, 3>(simd, maxima, values, [a, b, c]),
            [a, b, c, d] => gather_tile::<S, 4>(simd, maxima, values, [a, b, c, d]),
            [a, b, c, d, e] => gather_tile::<S, 5>(simd, maxima, values, [a, b, c, d, e]),
            [a, b, c, d, e, f] => gather_tile::<S, TILE>(simd, maxima, values, [a, b, c, d, e, f]),
            _ => {}
        }
        at += part.len() * S::F32_LANES;
    }
    for (start, gradient) in maxima {
        add_scaled(rest, *gradient, &values[start + at..]);
    }
}

#[inline(always)]
fn gather_tile<S: Simd, const V: usize>(simd: S, maxima: &[(usize, f32)], values: &[f32], sums: [&mut S::f32s; V]) {
    let mut tile = [simd.splat_f32s(0.0); V];
    for (start, gradient) in maxima {
        let gradient = simd.splat_f32s(*gradient);
        let values = S::as_simd_f32s(&values[*start..][..V * S::F32_LANES]).0;
        for (sum, value) in tile.iter_mut().zip(values) {
            *sum = simd.mul_add_e_f32s(gradient, *value, *sum);
        }
    }
    for (sum, value) in sums.into_iter().zip(tile) {
        *sum = simd.add_f32s(*sum, value);
    }
}

/// `sums[start..] += gradient * weight` for each of the maxima.
#[inline(always)]
fn scatter<S: Simd>(simd: S, maxima: &[(usize, f32)], weight: &[f32], sums: &mut [f32]) {
    let (vectors, rest) = S::as_simd_f32s(weight);
    let mut at = 0;
    for part in vectors.chunks(TILE) {
        let sums = &mut sums[at..];
        match part.len() {
            1 => scatter_tile::<S, 1>(simd, maxima, part, sums),
            2 => scatter_tile::<S, 2>(simd, maxima, part, sums),
            3 => scatter_tile::<S, 3>(simd, maxima, part, sums),
            4 => scatter_tile::<S, 4>(simd, maxima, part, sums),
            5 => scatter_tile::<S, 5>(simd, maxima, part, sums),
            _ => scatter_tile::<S, TILE>(simd, maxima, part, sums),
        }
        at += part.len() * S::F32_LANES;
    }
    for (start, gradient) in maxima {
        add_scaled(&mut sums[start + at..], *gradient, rest);
    }
}

#[inline(always)]
fn scatter_tile<S: Simd, const V: usize>(simd: S, maxima: &[(usize, f32)], weight: &[S::f32s], sums: &mut [f32]) {
    let weight: &[S::f32s; V] = weight.first_chunk().expect("as many as the tile has");
    let weight = *weight;
    for (start, gradient) in maxima {
        let gradient = simd.splat_f32s(*gradient);
        let sums = S::as_mut_simd_f32s(&mut sums[*start..][..V * S::F32_LANES]).0;
        for (sum, weight) in sums.iter_mut().zip(weight) {
            *sum = simd.mul_add_e_f32s(gradient, weight, *sum);
        }
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f32], scale: f32, values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += scale * value;
    }
}

/// An image `[channels, height, width]` to channels last with its padding.
#[inline(always)]
fn pad_to_nhwc(geometry: &ConvGeometry, image: &[f32], padded: &mut [f32]) {
    if geometry.padding > 0 {
        padded.fill(0.0);
    }
    let (channels, plane) = (geometry.channels_in, geometry.height * geometry.width);
    for (nchw, nhwc, length) in lines(geometry) {
        let padded = &mut padded[nhwc..][..length * channels];
        for first in (0..channels).step_by(SIDE) {
            let from = &image[first * plane + nchw..];
            match channels - first {
                SIDE.. => squares_to_last(from, plane, length, &mut padded[first..], channels),
                rest => {
                    for channel in 0..rest {
                        let to = padded[first + channel..].iter_mut().step_by(channels);
                        to.zip(&from[channel * plane..][..length]).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// The inside of a padded image with channels last to `[channels, height, width]`.
#[inline(always)]
pub(super) fn crop_to_nchw(geometry: &ConvGeometry, padded: &[f32], image: &mut [f32]) {
    let (channels, plane) = (geometry.channels_in, geometry.height * geometry.width);
    for (nchw, nhwc, length) in lines(geometry) {
        let padded = &padded[nhwc..][..length * channels];
        for first in (0..channels).step_by(SIDE) {
            let to = &mut image[first * plane + nchw..];
            match channels - first {
                SIDE.. => squares_to_first(&padded[first..], channels, length, to, plane),
                rest => {
                    for channel in 0..rest {
                        let from = padded[first + channel..].iter().step_by(channels);
                        to[channel * plane..][..length].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// Neighbouring values of a channel: where they begin in the image, where in the padded one with channels last, and how many they
/// are: rows, or the whole plane without padding.
#[inline(always)]
fn lines(geometry: &ConvGeometry) -> impl Iterator<Item = (usize, usize, usize)> {
    let ConvGeometry { channels_in, height, width, padding, .. } = *geometry;
    let (count, length) = if padding == 0 { (1, height * width) } else { (height, width) };
    let row = width + 2 * padding;
    (0..count).map(move |y| (y * width, ((y + padding) * row + padding) * channels_in, length))
}

/// The side of the squares in which channels and places are exchanged: the compiler turns them into shuffles.
const SIDE: usize = 8;

/// `to[n * channels + c] = from[c * plane + n]` for [`SIDE`] channels and `length` places.
#[inline(always)]
fn squares_to_last(from: &[f32], plane: usize, length: usize, to: &mut [f32], channels: usize) {
    let whole = length / SIDE * SIDE;
    for n in (0..whole).step_by(SIDE) {
        let mut square = [[0.0; SIDE]; SIDE];
        for (c, row) in square.iter_mut().enumerate() {
            *row = *from[c * plane + n..].first_chunk().expect("a side of the square");
        }
        for i in 0..SIDE {
            let to: &mut [f32; SIDE] = to[(n + i) * channels..].first_chunk_mut().expect("a side of the square");
            for (to, row) in to.iter_mut().zip(&square) {
                *to = row[i];
            }
        }
    }
    for n in whole..length {
        for (c, to) in to[n * channels..][..SIDE].iter_mut().enumerate() {
            *to = from[c * plane + n];
        }
    }
}

/// `to[c * plane + n] = from[n * channels + c]` for [`SIDE`] channels and `length` places.
#[inline(always)]
fn squares_to_first(from: &[f32], channels: usize, length: usize, to: &mut [f32], plane: usize) {
    let whole = length / SIDE * SIDE;
    for n in (0..whole).step_by(SIDE) {
        let mut square = [[0.0; SIDE]; SIDE];
        for (i, row) in square.iter_mut().enumerate() {
            *row = *from[(n + i) * channels..].first_chunk().expect("a side of the square");
        }
        for c in 0..SIDE {
            let to: &mut [f32; SIDE] = to[c * plane + n..].first_chunk_mut().expect("a side of the square");
            for (to, row) in to.iter_mut().zip(&square) {
                *to = row[c];
            }
        }
    }
    for n in whole..length {
        for c in 0..SIDE {
            to[c * plane + n] = from[n * channels + c];
        }
    }
}
