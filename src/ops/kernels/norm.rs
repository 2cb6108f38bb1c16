//! Batch norm in training mode with what follows it: ReLU, 2x2 max-pool; forward and backward.
//!
//! Per channel over batch, height and width (Ioffe and Szegedy, 2015):
//! `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with the biased variance.

use rayon::prelude::*;

use super::fill::{filled, filled_pair};
use super::pool::{Finish, Winner, max_pool, shift, unpool};
use super::vectorised;

/// The sizes of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// What follows.
    pub finish: Finish,
}

impl Geometry {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Height and width of what comes out.
    pub fn finished(&self) -> [usize; 2] {
        self.finish.size([self.height, self.width])
    }

    fn finished_plane(&self) -> usize {
        self.finished().iter().product()
    }
}

/// What a forward pass leaves.
pub struct Forward {
    /// The output `[batch, channels, height, width]`.
    pub output: Vec<f32>,
    /// Which value of its window each output is; empty without a pool.
    pub winners: Vec<Winner>,
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The biased variance of each channel.
    pub variance: Vec<f32>,
}

/// `gamma / sqrt(variance + epsilon)` of each channel.
fn scales(geometry: &Geometry, gamma: &[f32], variance: &[f32]) -> Vec<f32> {
    let scale = |(gamma, variance): (&f32, &f32)| gamma / (variance + geometry.epsilon as f32).sqrt();
    gamma.iter().zip(variance).map(scale).collect()
}

/// Normalises `input` by its own statistics.
pub fn forward(geometry: &Geometry, input: &[f32], gamma: &[f32], beta: &[f32]) -> Forward {
    let (mean, variance) = statistics(geometry, input);
    let scales = scales(geometry, gamma, &variance);
    let (plane, size) = (geometry.plane(), geometry.channels * geometry.finished_plane());
    let total = geometry.batch * size;
    let image = |i: usize| &input[i * geometry.channels * plane..][..geometry.channels * plane];
    let offset = |c: usize| beta[c] - mean[c] * scales[c];
    let (output, winners) = if geometry.finish.pool {
        filled_pair([total, size], [total, size], |i, output, winners| {
            vectorised(
                #[inline(always)]
                || pool_image(geometry, image(i), |c| (scales[c], offset(c)), output, winners),
            );
        })
    } else {
        let output = filled(total, size, |i, output| {
            vectorised(
                #[inline(always)]
                || {
                    let planes = image(i).chunks_exact(plane).zip(output.chunks_exact_mut(plane));
                    for (c, (plane, output)) in planes.enumerate() {
                        scale(plane, scales[c], output);
                        shift(output, offset(c), geometry.finish.relu);
                    }
                },
            );
        });
        (output, Vec::new())
    };
    Forward { output, winners, mean, variance }
}

#[inline(always)]
fn scale(plane: &[f32], scale: f32, output: &mut [f32]) {
    for (output, value) in output.iter_mut().zip(plane) {
        *output = value * scale;
    }
}

#[inline(always)]
fn pool_image(
    geometry: &Geometry,
    image: &[f32],
    line: impl Fn(usize) -> (f32, f32),
    output: &mut [f32],
    winners: &mut [Winner],
) {
    let (plane, size) = (geometry.plane(), geometry.finished_plane());
    let mut scaled = vec![0.0; plane];
    for (c, image) in image.chunks_exact(plane).enumerate() {
        let (slope, offset) = line(c);
        scale(image, slope, &mut scaled);
        let range = c * size..(c + 1) * size;
        max_pool(
            &scaled,
            geometry.width,
            offset,
            geometry.finish.relu,
            &mut output[range.clone()],
            &mut winners[range],
        );
    }
}

/// Mean and biased variance of each channel, in two passes: each plane is summed by eight running sums, planes in `f64`.
fn statistics(geometry: &Geometry, input: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (plane, channels) = (geometry.plane(), geometry.channels);
    let count = (geometry.batch * plane) as f64;
    (0..channels)
        .into_par_iter()
        .map(|c| {
            let planes = || input.chunks_exact(plane).skip(c).step_by(channels);
            vectorised(
                #[inline(always)]
                || {
                    let mean = planes().map(|plane| f64::from(sum(plane))).sum::<f64>() / count;
                    let squares =
                        planes().map(|plane| f64::from(sum_of(plane, |x| (x - mean as f32) * (x - mean as f32))));
                    (mean as f32, (squares.sum::<f64>() / count) as f32)
                },
            )
        })
        .unzip()
}

/// The sum of a slice.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    sum_of(values, |value| value)
}

/// The sum of `term` over a slice, in 32 running sums that vector registers hold.
#[inline(always)]
fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; 32];
    let parts = values.chunks_exact(32);
    let rest = parts.remainder();
    for part in parts {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += term(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += term(*value);
    }
    sums.iter().sum()
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The input.
    pub input: &'a [f32],
    /// The scale.
    pub gamma: &'a [f32],
    /// The mean of each channel.
    pub mean: &'a [f32],
    /// The biased variance of each channel.
    pub variance: &'a [f32],
    /// The output, read after a ReLU without a pool only.
    pub output: &'a [f32],
    /// The winners, empty without a pool.
    pub winners: &'a [Winner],
}

/// The gradients, each in the shape of what it belongs to.
pub struct Gradients {
    /// Of the input.
    pub input: Vec<f32>,
    /// Of the scale.
    pub gamma: Vec<f32>,
    /// Of the shift.
    pub beta: Vec<f32>,
}

/// The gradients of [`forward`] from the `gradient` of its output. With `n` values per channel and
/// `h = (x - mean) / sqrt(variance + epsilon)`: `dbeta = sum dy`, `dgamma = sum dy h`,
/// `dx = gamma / sqrt(variance + epsilon) * (dy - dbeta / n - h dgamma / n)`.
pub fn backward(geometry: &Geometry, saved: Saved, gradient: &[f32]) -> Gradients {
    let (plane, channels) = (geometry.plane(), geometry.channels);
    let inverse = |c: usize| 1.0 / (saved.variance[c] + geometry.epsilon as f32).sqrt();
    let inputs = |index: usize| &saved.input[index * plane..][..plane];
    let (beta, gamma): (Vec<f32>, Vec<f32>) = (0..channels)
        .into_par_iter()
        .map(|c| {
            let (dbeta, dgamma) = vectorised(
                #[inline(always)]
                || channel_sums(geometry, saved, gradient, c),
            );
            (dbeta, dgamma * inverse(c))
        })
        .unzip();
    let n = (geometry.batch * plane) as f32;
    let input = filled(saved.input.len(), channels * plane, |image, output| {
        vectorised(
            #[inline(always)]
            || {
                for (c, output) in output.chunks_exact_mut(plane).enumerate() {
                    let index = image * channels + c;
                    unfinish(geometry, saved, gradient, index, output);
                    let (slope, scale) = (gamma[c] * inverse(c) / n, saved.gamma[c] * inverse(c));
                    let (mean, base) = (saved.mean[c], beta[c] / n);
                    for (value, x) in output.iter_mut().zip(inputs(index)) {
                        *value = scale * (*value - base - (x - mean) * slope);
                    }
                }
            },
        );
    });
    Gradients { input, gamma, beta }
}

/// The sums of `dy` and of `dy * (x - mean)` over one channel.
#[inline(always)]
fn channel_sums(geometry: &Geometry, saved: Saved, gradient: &[f32], channel: usize) -> (f32, f32) {
    let plane = geometry.plane();
    let (mut plain, mut weighted) = (0.0, 0.0);
    let mut dy = vec![0.0; plane];
    for image in 0..geometry.batch {
        let index = image * geometry.channels + channel;
        unfinish(geometry, saved, gradient, index, &mut dy);
        plain += f64::from(sum(&dy));
        weighted += f64::from(dot(&dy, &saved.input[index * plane..][..plane], saved.mean[channel]));
    }
    (plain as f32, weighted as f32)
}

/// The gradient of the norm's output in one plane from that of the finished output.
#[inline(always)]
fn unfinish(geometry: &Geometry, saved: Saved, gradient: &[f32], index: usize, dy: &mut [f32]) {
    let size = geometry.finished_plane();
    let range = index * size..(index + 1) * size;
    match geometry.finish {
        Finish { pool: true, .. } => unpool(&gradient[range.clone()], &saved.winners[range], geometry.width, dy),
        Finish { relu: true, .. } => super::pool::unrelu(&gradient[range.clone()], &saved.output[range], dy),
        _ => dy.copy_from_slice(&gradient[range]),
    }
}

/// `sum of left * (right - mean)`.
#[inline(always)]
fn dot(left: &[f32], right: &[f32], mean: f32) -> f32 {
    let mut sums = [0.0; 32];
    for (left, right) in left.chunks(32).zip(right.chunks(32)) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * (right - mean);
        }
    }
    sums.iter().sum()
}
