//! Batch norm in training mode with what follows it: ReLU, 2x2 max-pool; forward and backward.
//!
//! Per channel over batch, height and width (Ioffe and Szegedy, 2015):
//! `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with the biased variance.

use rayon::prelude::*;

use super::fill::{filled, filled_pair};
use super::pool::{Epilogue, PoolIndex, add_bias, max_pool, max_pool_backward, relu_backward};
use super::reduce::{centred_dot, sum, sum_of};
use super::simd::vectorised;
use super::size::{assert_length, product};

/// The sizes of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    epsilon: f64,
    epilogue: Epilogue,
}

impl Geometry {
    /// A batch norm of `input` `[batch, channels, height, width]`; `epsilon` is added to the variance.
    ///
    /// # Panics
    /// If a size is 0, the output has no value, or the input would be larger than memory can be.
    #[track_caller]
    pub fn new(input: [usize; 4], epsilon: f64, epilogue: Epilogue) -> Self {
        let [batch, channels, height, width] = input;
        assert!(!input.contains(&0), "batch norm: the input's sizes must be at least 1, got {input:?}");
        epilogue.assert_fits([height, width]);
        product(&input);
        Self { batch, channels, height, width, epsilon, epilogue }
    }

    /// The shape of what comes out, `[batch, channels, height, width]`.
    pub fn output(&self) -> [usize; 4] {
        let [height, width] = self.epilogue.output([self.height, self.width]);
        [self.batch, self.channels, height, width]
    }

    fn plane(&self) -> usize {
        self.height * self.width
    }

    fn output_plane(&self) -> usize {
        self.output()[2..].iter().product()
    }

    /// Values of the input.
    fn values(&self) -> usize {
        self.batch * self.channels * self.plane()
    }
}

/// What a forward pass leaves.
pub struct Forward {
    /// The output `[batch, channels, height, width]`.
    pub output: Vec<f32>,
    /// Which value of its window each output is; empty without a pool.
    pub indices: Vec<PoolIndex>,
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
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn forward(geometry: &Geometry, input: &[f32], gamma: &[f32], beta: &[f32]) -> Forward {
    assert_length("batch norm's input", input, geometry.values());
    assert_length("batch norm's gamma", gamma, geometry.channels);
    assert_length("batch norm's beta", beta, geometry.channels);
    let (mean, variance) = statistics(geometry, input);
    let scales = scales(geometry, gamma, &variance);
    let (plane, size) = (geometry.plane(), geometry.channels * geometry.output_plane());
    let total = geometry.batch * size;
    let image = |i: usize| &input[i * geometry.channels * plane..][..geometry.channels * plane];
    let offset = |c: usize| beta[c] - mean[c] * scales[c];
    let (output, indices) = if geometry.epilogue.pool {
        filled_pair([total, size], [total, size], |i, output, indices| {
            vectorised(
                #[inline(always)]
                || pool_image(geometry, image(i), |c| (scales[c], offset(c)), output, indices),
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
                        add_bias(output, offset(c), geometry.epilogue.relu);
                    }
                },
            );
        });
        (output, Vec::new())
    };
    Forward { output, indices, mean, variance }
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
    indices: &mut [PoolIndex],
) {
    let (plane, size) = (geometry.plane(), geometry.output_plane());
    let mut scaled = vec![0.0; plane];
    for (c, image) in image.chunks_exact(plane).enumerate() {
        let (slope, offset) = line(c);
        scale(image, slope, &mut scaled);
        let range = c * size..(c + 1) * size;
        max_pool(
            &scaled,
            [geometry.width; 2],
            offset,
            geometry.epilogue.relu,
            &mut output[range.clone()],
            &mut indices[range],
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
    /// The indices of the maxima, empty without a pool.
    pub indices: &'a [PoolIndex],
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
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn backward(geometry: &Geometry, saved: Saved, gradient: &[f32]) -> Gradients {
    assert_saved(geometry, saved, gradient);
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
                    epilogue_backward(geometry, saved, gradient, index, output);
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

fn assert_saved(geometry: &Geometry, saved: Saved, gradient: &[f32]) {
    let size = geometry.batch * geometry.channels * geometry.output_plane();
    let Epilogue { relu, pool } = geometry.epilogue;
    assert_length("batch norm's input", saved.input, geometry.values());
    assert_length("batch norm's gamma", saved.gamma, geometry.channels);
    assert_length("batch norm's mean", saved.mean, geometry.channels);
    assert_length("batch norm's variance", saved.variance, geometry.channels);
    if relu && !pool {
        assert_length("batch norm's output", saved.output, size);
    }
    assert_length("batch norm's pool indices", saved.indices, if pool { size } else { 0 });
    assert_length("batch norm's gradient", gradient, size);
}

/// The sums of `dy` and of `dy * (x - mean)` over one channel.
#[inline(always)]
fn channel_sums(geometry: &Geometry, saved: Saved, gradient: &[f32], channel: usize) -> (f32, f32) {
    let plane = geometry.plane();
    let (mut plain, mut weighted) = (0.0, 0.0);
    let mut dy = vec![0.0; plane];
    for image in 0..geometry.batch {
        let index = image * geometry.channels + channel;
        epilogue_backward(geometry, saved, gradient, index, &mut dy);
        plain += f64::from(sum(&dy));
        weighted += f64::from(centred_dot(&dy, &saved.input[index * plane..][..plane], saved.mean[channel]));
    }
    (plain as f32, weighted as f32)
}

/// The gradient of the norm's output in one plane, before the epilogue, from that of the output.
#[inline(always)]
fn epilogue_backward(geometry: &Geometry, saved: Saved, gradient: &[f32], index: usize, dy: &mut [f32]) {
    let size = geometry.output_plane();
    let range = index * size..(index + 1) * size;
    match geometry.epilogue {
        Epilogue { pool: true, .. } => {
            max_pool_backward(&gradient[range.clone()], &saved.indices[range], geometry.width, dy)
        }
        Epilogue { relu: true, .. } => relu_backward(&gradient[range.clone()], &saved.output[range], dy),
        _ => dy.copy_from_slice(&gradient[range]),
    }
}
