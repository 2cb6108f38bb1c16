//! The backward pass of a convolution under a max-pool, from the non-zero gradients alone.
//!
//! At most one value in four of `dz` is not 0: the maximum of each window, and none of a window where ReLU is inactive. So
//! instead of two dense matrix products, each maximum at `(o, y, x)` with gradient `g` adds `g * patch` to `dW[o]` and
//! `g * W[o]` to its patch of `dx`. With channels last (NHWC), a patch is `k` runs of `k * channels` neighbouring values;
//! the image is copied to that order with its padding, and `dx` back from it. Of a first layer, whose runs are short and whose
//! `dx` nobody needs, the image stays as it is, and each row of a patch is a run.
//!
//! While the maxima of a channel are visited, the sums of `dW`, or the weights for `dx`, stay in registers.

use pulp::{Simd, WithSimd};

use super::geometry::ConvGeometry;
use super::padded::Layout;
use super::pool::{INACTIVE, PoolIndex};
use super::simd::MOST_LANES;
use super::transpose::transpose;

/// With fewer values in a run, matrix products are faster.
const SHORTEST_RUN: usize = 32;

/// The most rows that the patches of a first layer may have, channels counted, and the most values in a row.
const MOST_ROWS: usize = TILE;
const LONGEST_ROW: usize = 8;

/// Most windows in a row.
const WIDEST: usize = 128;

/// Values of the images that some rows of windows see, so that they stay in the nearest cache.
const NEAREST: usize = 6 << 10;

/// Where the patches of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patches {
    /// In the image with its padding, channels last: `kernel` runs each.
    Last,
    /// In the image with its padding, channels first: a run for each channel and row.
    First,
}

impl Patches {
    /// How to visit the maxima; none if matrix products are faster.
    pub(super) fn of(geometry: &ConvGeometry, needs_input: bool) -> Option<Self> {
        let ConvGeometry { channels_in, kernel, stride, epilogue, .. } = *geometry;
        if !epilogue.pool || geometry.output()[3] > WIDEST || kernel > MOST_ROWS {
            return None;
        }
        let fits = stride == 1 && kernel <= LONGEST_ROW && channels_in * kernel <= MOST_ROWS;
        match kernel * channels_in >= SHORTEST_RUN {
            true => Some(Self::Last),
            false => (fits && !needs_input).then_some(Self::First),
        }
    }

    /// Values of an image.
    pub(super) fn values(self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::Last => geometry.padded_plane() * geometry.channels_in,
            Self::First => Layout::input(geometry, 1).size(),
        }
    }

    /// Brings an image to where its patches are looked for.
    #[inline(always)]
    pub(super) fn read(self, geometry: &ConvGeometry, image: &[f32], patches: &mut [f32]) {
        match self {
            Self::Last => pad_to_nhwc(geometry, image, patches),
            Self::First => {
                patches.fill(0.0);
                Layout::input(geometry, 1).put(0, image, patches);
            }
        }
    }

    /// Values of the sums for the weights.
    pub(super) fn sums(self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::Last => geometry.weights(),
            Self::First => geometry.channels_out * geometry.channels_in * geometry.kernel * ROW,
        }
    }

    /// The gradient of the weights from such sums.
    pub(super) fn weights(self, geometry: &ConvGeometry, sums: &[f32]) -> Vec<f32> {
        match self {
            Self::Last => channels_first(geometry, sums),
            Self::First => sums.chunks_exact(ROW).flat_map(|row| &row[..geometry.kernel]).copied().collect(),
        }
    }

    /// How a patch lies.
    fn shape(self, geometry: &ConvGeometry) -> Shape {
        let ConvGeometry { channels_in, kernel, stride, .. } = *geometry;
        let mut runs = [0; MOST_ROWS];
        match self {
            Self::Last => {
                let row = geometry.padded()[1] * channels_in;
                runs.iter_mut().enumerate().for_each(|(y, run)| *run = y * row);
                Shape {
                    down: row * stride,
                    right: channels_in * stride,
                    runs,
                    count: kernel,
                    run: kernel * channels_in,
                }
            }
            Self::First => {
                let layout = Layout::input(geometry, 1);
                for (index, run) in runs.iter_mut().enumerate() {
                    *run = index / kernel * layout.channel() + index % kernel * layout.row();
                }
                Shape { down: layout.row(), right: 1, runs, count: channels_in * kernel, run: kernel }
            }
        }
    }
}

/// Values from the sums of one row of a patch to the next, with channels first: whole vectors.
const ROW: usize = 16;

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

/// How the patch of a place lies.
struct Shape {
    /// Values from one place to the next.
    down: usize,
    right: usize,
    /// Where the first `count` runs begin, from the place on, and how many values each has.
    runs: [usize; MOST_ROWS],
    count: usize,
    run: usize,
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
    let shape = patches.shape(geometry);
    // Runs whose last vector would be half empty if it were long.
    let are_short = (1..=MOST_LANES / 2).contains(&(shape.run % MOST_LANES));
    let pass = Pass { patches, shape, size: [height, width], indices, gradient, image };
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new().filter(|_| are_short) {
        return Simd::vectorize(simd, pass);
    }
    pulp::Arch::new().dispatch(pass);
}

struct Pass<'a> {
    patches: Patches,
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
        let Self { patches: how, shape, size: [height, width], indices, gradient, image } = self;
        let Image { patches, weight, weight_sums, bias_sums, input_sums } = image;
        let mut maxima = [(0, 0.0); WIDEST];
        let places = [0, shape.right, shape.down, shape.down + shape.right];
        // As many rows of windows as the nearest cache holds, and all channels of them.
        let rows = (NEAREST / (2 * shape.down)).min(WIDEST / width).clamp(1, height);
        let planes = gradient.chunks_exact(height * width).zip(indices.chunks_exact(height * width));
        for first in (0..height).step_by(rows) {
            let some = first * width..height.min(first + rows) * width;
            for (channel, (gradient, indices)) in planes.clone().enumerate() {
                let (gradient, indices) = (&gradient[some.clone()], &indices[some.clone()]);
                let mut count = 0;
                let lines = gradient.chunks_exact(width).zip(indices.chunks_exact(width));
                for (y, (gradient, indices)) in lines.enumerate() {
                    let mut window = 2 * (first + y) * shape.down;
                    for (gradient, index) in gradient.iter().zip(indices) {
                        // No branch: whether ReLU is active is as good as random.
                        maxima[count] = (window + places[usize::from(*index & 3)], *gradient);
                        count += usize::from(*index < INACTIVE);
                        window += 2 * shape.right;
                    }
                }
                let maxima = &maxima[..count];
                if how == Patches::First {
                    let sums = &mut weight_sums[channel * shape.count * ROW..][..shape.count * ROW];
                    gather_rows(simd, maxima, patches, &shape, sums);
                } else {
                    for (run, start) in shape.runs[..shape.count].iter().enumerate() {
                        let weights = (channel * shape.count + run) * shape.run;
                        if !weight_sums.is_empty() {
                            let sums = &mut weight_sums[weights..][..shape.run];
                            gather(simd, maxima, &patches[*start..], sums);
                        }
                        if !input_sums.is_empty() {
                            let weight = &weight[weights..][..shape.run];
                            scatter(simd, maxima, weight, &mut input_sums[*start..]);
                        }
                    }
                }
                if let Some(of_channel) = bias_sums.get_mut(channel) {
                    *of_channel += active_sum(gradient, indices);
                }
            }
        }
    }
}

/// The sum of the gradients where ReLU is active.
#[inline(always)]
fn active_sum(gradient: &[f32], indices: &[PoolIndex]) -> f32 {
    const LANES: usize = 8;
    let active = |gradient: f32, index: PoolIndex| if index < INACTIVE { gradient } else { 0.0 };
    let ((gradient, rest), (indices, rest_indices)) = (gradient.as_chunks::<LANES>(), indices.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (gradient, indices) in gradient.iter().zip(indices) {
        for (sum, (gradient, index)) in lanes.iter_mut().zip(gradient.iter().zip(indices)) {
            *sum += active(*gradient, *index);
        }
    }
    let rest: f32 = rest.iter().zip(rest_indices).map(|(gradient, index)| active(*gradient, *index)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Vectors of a run that stay in registers while all maxima are visited.
const TILE: usize = 12;

/// Calls a function compiled for `1..=TILE` vectors.
macro_rules! of_length {
    ($function:ident::<$simd:ident>($length:expr) $arguments:tt) => {
        match $length {
            1 => $function::<$simd, 1> $arguments,
            2 => $function::<$simd, 2> $arguments,
            3 => $function::<$simd, 3> $arguments,
            4 => $function::<$simd, 4> $arguments,
            5 => $function::<$simd, 5> $arguments,
            6 => $function::<$simd, 6> $arguments,
            7 => $function::<$simd, 7> $arguments,
            8 => $function::<$simd, 8> $arguments,
            9 => $function::<$simd, 9> $arguments,
            10 => $function::<$simd, 10> $arguments,
            11 => $function::<$simd, 11> $arguments,
            _ => $function::<$simd, TILE> $arguments,
        }
    };
}

/// `sums += gradient * values[start..]` for each of the maxima.
#[inline(always)]
fn gather<S: Simd>(simd: S, maxima: &[(usize, f32)], values: &[f32], sums: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(sums);
    let mut at = 0;
    for part in vectors.chunks_mut(TILE) {
        let values = &values[at..];
        of_length!(gather_tile::<S>(part.len())(simd, maxima, values, part));
        at += part.len() * S::F32_LANES;
    }
    if !rest.is_empty() {
        for (start, gradient) in maxima {
            add_scaled(rest, *gradient, &values[start + at..]);
        }
    }
}

#[inline(always)]
fn gather_tile<S: Simd, const V: usize>(simd: S, maxima: &[(usize, f32)], values: &[f32], sums: &mut [S::f32s]) {
    let mut tile = [simd.splat_f32s(0.0); V];
    for (start, gradient) in maxima {
        let gradient = simd.splat_f32s(*gradient);
        let values = S::as_simd_f32s(&values[*start..][..V * S::F32_LANES]).0;
        for (sum, value) in tile.iter_mut().zip(values) {
            *sum = simd.mul_add_e_f32s(gradient, *value, *sum);
        }
    }
    for (sum, value) in sums.iter_mut().zip(tile) {
        *sum = simd.add_f32s(*sum, value);
    }
}

/// `sums[run] += gradient * values[start + run..]` for each of the maxima and all runs of a patch, of at most a row's values
/// each; the sums of each are in whole vectors.
#[inline(always)]
fn gather_rows<S: Simd>(simd: S, maxima: &[(usize, f32)], values: &[f32], shape: &Shape, sums: &mut [f32]) {
    let runs = shape.runs[..shape.count].chunks(TILE).zip(sums.chunks_mut(TILE * ROW));
    for (runs, sums) in runs {
        for at in (0..shape.run).step_by(S::F32_LANES) {
            let (values, sums) = (&values[at..], &mut sums[at..]);
            of_length!(gather_rows_tile::<S>(runs.len())(simd, maxima, values, runs, sums));
        }
    }
}

#[inline(always)]
fn gather_rows_tile<S: Simd, const V: usize>(
    simd: S,
    maxima: &[(usize, f32)],
    values: &[f32],
    runs: &[usize],
    sums: &mut [f32],
) {
    let runs: [usize; V] = *runs.first_chunk().expect("as many as the tile has");
    let mut tile = [simd.splat_f32s(0.0); V];
    for (start, gradient) in maxima {
        let gradient = simd.splat_f32s(*gradient);
        for (sum, run) in tile.iter_mut().zip(runs) {
            let value = S::as_simd_f32s(&values[start + run..][..S::F32_LANES]).0[0];
            *sum = simd.mul_add_e_f32s(gradient, value, *sum);
        }
    }
    for (sums, value) in sums.chunks_mut(ROW).zip(tile) {
        let sum = &mut S::as_mut_simd_f32s(&mut sums[..S::F32_LANES]).0[0];
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
        of_length!(scatter_tile::<S>(part.len())(simd, maxima, part, sums));
        at += part.len() * S::F32_LANES;
    }
    if !rest.is_empty() {
        for (start, gradient) in maxima {
            add_scaled(&mut sums[start + at..], *gradient, rest);
        }
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
        transpose(&image[nchw..], plane, [channels, length], &mut padded[nhwc..], channels);
    }
}

/// The inside of a padded image with channels last to `[channels, height, width]`.
#[inline(always)]
pub(super) fn crop_to_nchw(geometry: &ConvGeometry, padded: &[f32], image: &mut [f32]) {
    let (channels, plane) = (geometry.channels_in, geometry.height * geometry.width);
    for (nchw, nhwc, length) in lines(geometry) {
        transpose(&padded[nhwc..], channels, [length, channels], &mut image[nchw..], plane);
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
