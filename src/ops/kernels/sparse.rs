//! The way back through a convolution under a max-pool.
//!
//! Only one value in four of `dz` is not 0: the winner of each window, and none of a window that ReLU blocks. So instead
//! of two dense matrix products, each winner at `(o, y, x)` with gradient `g` adds `g * patch` to `dW[o]` and `g * W[o]`
//! to its patch of `dx`. With channels last, `[height, width, channels]`, a patch is `k` runs of `k * channels`
//! neighbouring values; the image is copied to that order with its padding, and `dx` back from it.

use super::conv::{Geometry, Saved};
use super::pool::BLOCKED;

/// Fewer values than this in a run are not worth it.
const SHORTEST_RUN: usize = 32;

/// Whether this way is the faster one.
pub fn is_worth_it(geometry: &Geometry) -> bool {
    geometry.finish.pool && geometry.kernel * geometry.channels_in >= SHORTEST_RUN && geometry.finished()[1] <= WIDEST
}

/// Most winners in a row.
const WIDEST: usize = 128;

/// Values of one padded image, channels last.
pub fn padded(geometry: &Geometry) -> usize {
    let [height, width] = padded_size(geometry);
    height * width * geometry.channels_in
}

fn padded_size(geometry: &Geometry) -> [usize; 2] {
    [geometry.height, geometry.width].map(|size| size + 2 * geometry.padding)
}

/// Weights `[out, in, k, k]` to `[out, k, k, in]`.
pub fn channels_last(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    reorder(geometry, weight, |first, last| (last, first))
}

/// Weights `[out, k, k, in]` to `[out, in, k, k]`.
pub fn channels_first(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    reorder(geometry, weight, |first, last| (first, last))
}

/// Copies weights; `places(index with channels first, index with channels last)` is `(to, from)`.
fn reorder(geometry: &Geometry, weight: &[f32], places: impl Fn(usize, usize) -> (usize, usize)) -> Vec<f32> {
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
pub struct Image<'a> {
    /// The input `[padded height, padded width, channels]`.
    pub input: &'a [f32],
    /// The weights `[out, k, k, in]`.
    pub weight: &'a [f32],
    /// Sums of the weights' gradients; empty if nobody asks.
    pub weight_sums: &'a mut [f32],
    /// Sums of the biases' gradients; empty if nobody asks.
    pub bias_sums: &'a mut [f32],
    /// Sums of the input's gradient; empty if nobody asks.
    pub input_sums: &'a mut [f32],
}

/// Adds what image number `index` contributes to the sums in `image`; `gradient` is that of the pooled output of all.
#[inline(always)]
pub fn back(geometry: &Geometry, saved: Saved, gradient: &[f32], index: usize, image: Image) {
    let Image { input, weight, weight_sums, bias_sums, input_sums } = image;
    let ([height, width], channels) = (geometry.finished(), geometry.channels_out);
    let row = padded_size(geometry)[1] * geometry.channels_in;
    let run = geometry.kernel * geometry.channels_in;
    let mut winners = [(0, 0.0); WIDEST];
    // Rows outside, channels inside: the few rows of the image that a row of windows sees stay in the nearest cache.
    for (y, channel) in (0..height).flat_map(|y| (0..channels).map(move |channel| (y, channel))) {
        let first = ((index * channels + channel) * height + y) * width;
        let windows = gradient[first..first + width].iter().zip(&saved.winners[first..first + width]);
        let mut count = 0;
        for (x, (gradient, winner)) in windows.enumerate() {
            let place = usize::from(*winner);
            let [at_y, at_x] = [2 * y + place / 2, 2 * x + place % 2].map(|at| at * geometry.stride);
            winners[count] = (at_y * row + at_x * geometry.channels_in, *gradient);
            count += usize::from(*winner != BLOCKED);
        }
        let winners = &winners[..count];
        let weights = channel * run * geometry.kernel;
        for ky in 0..geometry.kernel {
            let span = weights + ky * run..weights + (ky + 1) * run;
            if !weight_sums.is_empty() {
                let sums = &mut weight_sums[span.clone()];
                for (start, gradient) in winners {
                    add_scaled(sums, *gradient, &input[start + ky * row..][..run]);
                }
            }
            if !input_sums.is_empty() {
                let weight = &weight[span];
                for (start, gradient) in winners {
                    add_scaled(&mut input_sums[start + ky * row..][..run], *gradient, weight);
                }
            }
        }
        if let Some(sum) = bias_sums.get_mut(channel) {
            *sum += winners.iter().map(|(_, gradient)| gradient).sum::<f32>();
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
pub fn spread(geometry: &Geometry, image: &[f32], padded: &mut [f32]) {
    if geometry.padding > 0 {
        padded.fill(0.0);
    }
    visit(geometry, |plain, spread| padded[spread] = image[plain]);
}

/// The inside of a padded image with channels last to `[channels, height, width]`.
#[inline(always)]
pub fn gather(geometry: &Geometry, padded: &[f32], image: &mut [f32]) {
    visit(geometry, |plain, spread| image[plain] = padded[spread]);
}

/// Calls `pair(index in the plain image, index in the padded one with channels last)` for each value.
#[inline(always)]
fn visit(geometry: &Geometry, mut pair: impl FnMut(usize, usize)) {
    let Geometry { channels_in, height, width, padding, .. } = *geometry;
    let padded_width = width + 2 * padding;
    for y in 0..height {
        for channel in 0..channels_in {
            let plain = (channel * height + y) * width;
            let spread = ((y + padding) * padded_width + padding) * channels_in + channel;
            for x in 0..width {
                pair(plain + x, spread + x * channels_in);
            }
        }
    }
}
