//! The backward pass of a convolution under a max-pool, from the non-zero gradients alone.
//!
//! At most one value in four of `dz` is not 0: the maximum of each window, and none of a window where ReLU is inactive. So
//! instead of two dense matrix products, each maximum at `(o, y, x)` with gradient `g` adds `g * patch` to `dW[o]` and
//! `g * W[o]` to its patch of `dx`. With channels last (NHWC), a patch is `k` runs of `k * channels` neighbouring values;
//! the image is copied to that order with its padding, and `dx` back from it.

use super::geometry::ConvGeometry;
use super::pool::{INACTIVE, PoolIndex};

/// With fewer values in a run, matrix products are faster.
const SHORTEST_RUN: usize = 32;

/// Whether it is faster than matrix products.
pub(super) fn is_worth_it(geometry: &ConvGeometry) -> bool {
    geometry.epilogue.pool && geometry.kernel * geometry.channels_in >= SHORTEST_RUN && geometry.output()[3] <= WIDEST
}

/// Most windows in a row.
const WIDEST: usize = 128;

/// Values of one padded image, channels last.
pub(super) fn padded(geometry: &ConvGeometry) -> usize {
    let [height, width] = padded_size(geometry);
    height * width * geometry.channels_in
}

fn padded_size(geometry: &ConvGeometry) -> [usize; 2] {
    [geometry.height, geometry.width].map(|size| size + 2 * geometry.padding)
}

/// Weights `[out, in, k, k]` to `[out, k, k, in]`.
pub(super) fn channels_last(geometry: &ConvGeometry, weight: &[f32]) -> Vec<f32> {
    reorder(geometry, weight, |first, last| (last, first))
}

/// Weights `[out, k, k, in]` to `[out, in, k, k]`.
pub(super) fn channels_first(geometry: &ConvGeometry, weight: &[f32]) -> Vec<f32> {
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

/// One image's part of the gradients, all with channels last.
pub(super) struct Image<'a> {
    /// The input `[padded height, padded width, channels]`.
    pub(super) input: &'a [f32],
    /// The weights `[out, k, k, in]`.
    pub(super) weight: &'a [f32],
    /// Sums of the weights' gradients; empty if nobody asks.
    pub(super) weight_sums: &'a mut [f32],
    /// Sums of the biases' gradients; empty if nobody asks.
    pub(super) bias_sums: &'a mut [f32],
    /// Sums of the input's gradient; empty if nobody asks.
    pub(super) input_sums: &'a mut [f32],
}

/// Adds what image number `number` contributes to the sums in `image`; `indices` and `gradient` are those of the pooled
/// output of all images.
#[inline(always)]
pub(super) fn backward(geometry: &ConvGeometry, indices: &[PoolIndex], gradient: &[f32], number: usize, image: Image) {
    let Image { input, weight, weight_sums, bias_sums, input_sums } = image;
    let [_, channels, height, width] = geometry.output();
    let row = padded_size(geometry)[1] * geometry.channels_in;
    let run = geometry.kernel * geometry.channels_in;
    let mut maxima = [(0, 0.0); WIDEST];
    // Rows outside, channels inside: the few rows of the image that a row of windows sees stay in the nearest cache.
    for (y, channel) in (0..height).flat_map(|y| (0..channels).map(move |channel| (y, channel))) {
        let first = ((number * channels + channel) * height + y) * width;
        let windows = gradient[first..first + width].iter().zip(&indices[first..first + width]);
        let mut count = 0;
        for (x, (gradient, index)) in windows.enumerate() {
            let place = usize::from(*index);
            let [at_y, at_x] = [2 * y + place / 2, 2 * x + place % 2].map(|at| at * geometry.stride);
            maxima[count] = (at_y * row + at_x * geometry.channels_in, *gradient);
            count += usize::from(*index < INACTIVE);
        }
        let maxima = &maxima[..count];
        let weights = channel * run * geometry.kernel;
        for ky in 0..geometry.kernel {
            let span = weights + ky * run..weights + (ky + 1) * run;
            if !weight_sums.is_empty() {
                let sums = &mut weight_sums[span.clone()];
                for (start, gradient) in maxima {
                    add_scaled(sums, *gradient, &input[start + ky * row..][..run]);
                }
            }
            if !input_sums.is_empty() {
                let weight = &weight[span];
                for (start, gradient) in maxima {
                    add_scaled(&mut input_sums[start + ky * row..][..run], *gradient, weight);
                }
            }
        }
        if let Some(sum) = bias_sums.get_mut(channel) {
            *sum += maxima.iter().map(|(_, gradient)| gradient).sum::<f32>();
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
pub(super) fn pad_to_nhwc(geometry: &ConvGeometry, image: &[f32], padded: &mut [f32]) {
    if geometry.padding > 0 {
        padded.fill(0.0);
    }
    visit(geometry, |nchw, nhwc| padded[nhwc] = image[nchw]);
}

/// The inside of a padded image with channels last to `[channels, height, width]`.
#[inline(always)]
pub(super) fn crop_to_nchw(geometry: &ConvGeometry, padded: &[f32], image: &mut [f32]) {
    visit(geometry, |nchw, nhwc| image[nchw] = padded[nhwc]);
}

/// Calls `pair(index in the image, index in the padded image with channels last)` for each value.
#[inline(always)]
fn visit(geometry: &ConvGeometry, mut pair: impl FnMut(usize, usize)) {
    let ConvGeometry { channels_in, height, width, padding, .. } = *geometry;
    let padded_width = width + 2 * padding;
    for y in 0..height {
        for channel in 0..channels_in {
            let nchw = (channel * height + y) * width;
            let nhwc = ((y + padding) * padded_width + padding) * channels_in + channel;
            for x in 0..width {
                pair(nchw + x, nhwc + x * channels_in);
            }
        }
    }
}
