//! Batch norm with what follows it: the sum with a shortcut, ReLU, 2x2 max-pool.
//!
//! Per channel over batch, height and width (Ioffe and Szegedy, 2015):
//! `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with the biased variance.
//!
//! Both directions read the images twice, in their order: once for the sums over the batch, block of images by block, and
//! once to compute with them. Blocks depend on the sizes alone, and their sums are added in their order.

use super::super::fill::{filled, filled_pair, with_scratch};
use super::super::pool::{PoolIndex, relu_backward};
use super::super::reduce::{sum, sum_of};
use super::super::simd::{BLOCK, vectorised};
use super::super::size::assert_length;
use super::{Active, Geometry, Gradients, Line, Plane, normalise_image, pool_image};

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

/// The lines of all channels.
fn lines(geometry: &Geometry, gamma: &[f32], beta: &[f32], mean: &[f32], variance: &[f32]) -> Vec<Line> {
    let line = |c: usize| {
        let slope = gamma[c] / (variance[c] + geometry.epsilon as f32).sqrt();
        Line { slope, offset: beta[c] - mean[c] * slope }
    };
    (0..geometry.channels).map(line).collect()
}

/// Normalises `input` by its own statistics.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn forward(geometry: &Geometry, input: &[f32], gamma: &[f32], beta: &[f32]) -> Forward {
    normalise(geometry, input, None, gamma, beta)
}

/// [`forward`], with `shortcut`, an array like `input`, added before ReLU: the end of a residual block.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it, or a pool follows.
pub fn forward_sum(geometry: &Geometry, input: &[f32], shortcut: &[f32], gamma: &[f32], beta: &[f32]) -> Forward {
    assert_sum_fits(geometry, shortcut);
    normalise(geometry, input, Some(shortcut), gamma, beta)
}

fn assert_sum_fits(geometry: &Geometry, shortcut: &[f32]) {
    assert!(!geometry.epilogue.pool, "batch norm: a pool does not fit after the sum with a shortcut");
    assert_length("batch norm's shortcut", shortcut, geometry.values());
}

fn normalise(geometry: &Geometry, input: &[f32], shortcut: Option<&[f32]>, gamma: &[f32], beta: &[f32]) -> Forward {
    assert_length("batch norm's input", input, geometry.values());
    assert_length("batch norm's gamma", gamma, geometry.channels);
    assert_length("batch norm's beta", beta, geometry.channels);
    let (mean, variance) = statistics(geometry, input);
    let lines = lines(geometry, gamma, beta, &mean, &variance);
    let (image, size) = (geometry.image(), geometry.channels * geometry.output_plane());
    let total = geometry.batch * size;
    let of = |i: usize| i * image..(i + 1) * image;
    let (output, indices) = if geometry.epilogue.pool {
        filled_pair([total, size], [total, size], |i, output, indices| {
            with_scratch([geometry.plane()], |[scaled]| {
                vectorised(
                    #[inline(always)]
                    || pool_image(geometry, &input[of(i)], &lines, scaled, (output, indices)),
                );
            });
        })
    } else {
        let output = filled(total, size, |i, output| {
            vectorised(
                #[inline(always)]
                || {
                    let shortcut = shortcut.map(|shortcut| &shortcut[of(i)]);
                    normalise_image(geometry, &input[of(i)], shortcut, &lines, output);
                },
            );
        });
        (output, Vec::new())
    };
    Forward { output, indices, mean, variance }
}

/// Mean and sum of squared deviations from it, of `count` values.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of the values of both (Chan, Golub and LeVeque, 1979); one of them must not be empty.
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        let count = self.count + other.count;
        let difference = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + difference * (other.count / count),
            squares: self.squares + other.squares + difference * difference * (self.count * other.count / count),
        }
    }

    /// Those of a plane, read twice while it is in the nearest cache.
    #[inline(always)]
    fn of(plane: &[f32]) -> Self {
        let mean = sum(plane) / plane.len() as f32;
        let squares = sum_of(plane, |x| (x - mean) * (x - mean));
        Self { count: plane.len() as f64, mean: f64::from(mean), squares: f64::from(squares) }
    }
}

/// Images whose sums are computed together: enough that starting a task does not count, and not so few that the blocks' sums
/// would be many.
fn block(geometry: &Geometry) -> usize {
    BLOCK.div_ceil(geometry.image()).max(geometry.batch.div_ceil(64))
}

/// Mean and biased variance of each channel.
fn statistics(geometry: &Geometry, input: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (plane, channels, block) = (geometry.plane(), geometry.channels, block(geometry));
    let blocks = geometry.batch.div_ceil(block);
    let images = |i: usize| &input[i * block * geometry.image()..input.len().min((i + 1) * block * geometry.image())];
    let partial = filled(blocks * channels, channels, |i, moments: &mut [Moments]| {
        vectorised(
            #[inline(always)]
            || {
                for image in images(i).chunks_exact(geometry.image()) {
                    for (moments, plane) in moments.iter_mut().zip(image.chunks_exact(plane)) {
                        *moments = moments.and(Moments::of(plane));
                    }
                }
            },
        );
    });
    let mut total = vec![Moments::default(); channels];
    for moments in partial.chunks_exact(channels) {
        total.iter_mut().zip(moments).for_each(|(total, moments)| *total = total.and(*moments));
    }
    total.iter().map(|total| (total.mean as f32, (total.squares / total.count) as f32)).unzip()
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The input.
    pub input: &'a [f32],
    /// The scale.
    pub gamma: &'a [f32],
    /// The shift.
    pub beta: &'a [f32],
    /// The mean of each channel.
    pub mean: &'a [f32],
    /// The biased variance of each channel.
    pub variance: &'a [f32],
    /// The output, read after a sum with a shortcut and ReLU only; empty otherwise.
    pub output: &'a [f32],
    /// The indices of the maxima, empty without a pool.
    pub indices: &'a [PoolIndex],
}

/// The gradients of [`forward`] from the `gradient` of its output. With `n` values per channel and
/// `h = (x - mean) / sqrt(variance + epsilon)`: `dbeta = sum dy`, `dgamma = sum dy h`,
/// `dx = gamma / sqrt(variance + epsilon) * (dy - dbeta / n - h dgamma / n)`.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn backward(geometry: &Geometry, saved: Saved, gradient: &[f32]) -> Gradients {
    assert_saved(geometry, Saved { output: &[], ..saved }, gradient);
    let pass = Backward::new(geometry, Saved { output: &[], ..saved }, gradient);
    let (gamma, beta) = pass.sums();
    let input =
        filled(geometry.values(), geometry.image(), |image, dx| pass.input_gradient(image, &gamma, &beta, dx, None));
    Gradients { input, gamma, beta }
}

/// The gradients of [`forward_sum`], and that of the shortcut.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it, or a pool follows.
pub fn backward_sum(geometry: &Geometry, saved: Saved, gradient: &[f32]) -> (Gradients, Vec<f32>) {
    assert_saved(geometry, saved, gradient);
    assert_sum_fits(geometry, gradient);
    if geometry.epilogue.relu {
        assert_length("batch norm's output", saved.output, geometry.values());
    }
    let pass = Backward::new(geometry, saved, gradient);
    let (gamma, beta) = pass.sums();
    let (values, image) = (geometry.values(), geometry.image());
    let (input, shortcut) = filled_pair([values, image], [values, image], |i, dx, shortcut: &mut [f32]| {
        pass.input_gradient(i, &gamma, &beta, dx, Some(shortcut));
    });
    (Gradients { input, gamma, beta }, shortcut)
}

fn assert_saved(geometry: &Geometry, saved: Saved, gradient: &[f32]) {
    let size = geometry.batch * geometry.channels * geometry.output_plane();
    assert_length("batch norm's input", saved.input, geometry.values());
    assert_length("batch norm's gamma", saved.gamma, geometry.channels);
    assert_length("batch norm's beta", saved.beta, geometry.channels);
    assert_length("batch norm's mean", saved.mean, geometry.channels);
    assert_length("batch norm's variance", saved.variance, geometry.channels);
    assert_length("batch norm's pool indices", saved.indices, if geometry.epilogue.pool { size } else { 0 });
    assert_length("batch norm's gradient", gradient, size);
}

/// A backward pass of which all slices have been checked.
struct Backward<'a> {
    geometry: &'a Geometry,
    saved: Saved<'a>,
    gradient: &'a [f32],
    lines: Vec<Line>,
}

impl<'a> Backward<'a> {
    fn new(geometry: &'a Geometry, saved: Saved<'a>, gradient: &'a [f32]) -> Self {
        let lines = lines(geometry, saved.gamma, saved.beta, saved.mean, saved.variance);
        Self { geometry, saved, gradient, lines }
    }

    fn inverse(&self, channel: usize) -> f32 {
        1.0 / (self.saved.variance[channel] + self.geometry.epsilon as f32).sqrt()
    }

    /// The values of a plane of the input, counted over all images.
    #[inline(always)]
    fn input(&self, index: usize) -> &'a [f32] {
        let plane = self.geometry.plane();
        &self.saved.input[index * plane..][..plane]
    }

    /// The gradient of a plane of the output and, with a pool, its indices.
    #[inline(always)]
    fn output_gradient(&self, index: usize) -> (&'a [f32], &'a [PoolIndex]) {
        let size = self.geometry.output_plane();
        let indices = if self.geometry.epilogue.pool { &self.saved.indices[index * size..][..size] } else { &[] };
        (&self.gradient[index * size..][..size], indices)
    }

    /// Without a pool: which values of a plane have the gradient of their output.
    #[inline(always)]
    fn active(&self, index: usize) -> Active<'a> {
        let plane = self.geometry.plane();
        match self.geometry.epilogue.relu {
            false => Active::All,
            true if self.saved.output.is_empty() => Active::Line(self.lines[index % self.geometry.channels]),
            true => Active::Output(&self.saved.output[index * plane..][..plane]),
        }
    }

    /// The gradients of gamma and beta.
    fn sums(&self) -> (Vec<f32>, Vec<f32>) {
        let Geometry { batch, channels, .. } = *self.geometry;
        let block = block(self.geometry);
        let partial = filled(batch.div_ceil(block) * channels, channels, |i, sums: &mut [[f64; 2]]| {
            with_scratch([self.geometry.scratch()], |[scratch]| {
                vectorised(
                    #[inline(always)]
                    || {
                        for image in i * block..batch.min((i + 1) * block) {
                            for (channel, [plain, weighted]) in sums.iter_mut().enumerate() {
                                let plane = self.plane(image * channels + channel);
                                let sums = plane.sums(self.saved.mean[channel], scratch);
                                *plain += f64::from(sums[0]);
                                *weighted += f64::from(sums[1]);
                            }
                        }
                    },
                );
            });
        });
        let total = |channel: usize| {
            let add = |[plain, weighted]: [f64; 2], part: &[[f64; 2]]| {
                [plain + part[channel][0], weighted + part[channel][1]]
            };
            let [plain, weighted] = partial.chunks_exact(channels).fold([0.0; 2], add);
            (weighted as f32 * self.inverse(channel), plain as f32)
        };
        (0..channels).map(total).unzip()
    }

    /// A plane, counted over all images.
    #[inline(always)]
    fn plane(&self, index: usize) -> Plane<'a> {
        let (gradient, indices) = self.output_gradient(index);
        Plane { x: self.input(index), gradient, indices, active: self.active(index), width: self.geometry.width }
    }

    /// The gradient of an image of the input, `dx`, and of the `shortcut` if there is one.
    fn input_gradient(&self, image: usize, gamma: &[f32], beta: &[f32], dx: &mut [f32], shortcut: Option<&mut [f32]>) {
        let Geometry { channels, .. } = *self.geometry;
        let plane = self.geometry.plane();
        let n = (self.geometry.batch * plane) as f32;
        let mut shortcuts = shortcut.map(|shortcut| shortcut.chunks_exact_mut(plane));
        vectorised(
            #[inline(always)]
            || {
                for (channel, dx) in dx.chunks_exact_mut(plane).enumerate() {
                    let index = image * channels + channel;
                    let inverse = self.inverse(channel);
                    let (slope, scale) = (gamma[channel] * inverse / n, self.saved.gamma[channel] * inverse);
                    let (mean, base) = (self.saved.mean[channel], beta[channel] / n);
                    let through = |dy: f32, x: f32| scale * (dy - base - (x - mean) * slope);
                    if let Some(shortcut) = shortcuts.as_mut().and_then(Iterator::next) {
                        let (x, (gradient, _)) = (self.input(index), self.output_gradient(index));
                        self.masked(index, gradient, x, shortcut);
                        for ((dx, dy), x) in dx.iter_mut().zip(shortcut.iter()).zip(x) {
                            *dx = through(*dy, *x);
                        }
                    } else {
                        self.plane(index).input_gradient(through, dx);
                    }
                }
            },
        );
    }

    /// Writes `dy`, what ReLU leaves of a plane's gradient.
    #[inline(always)]
    fn masked(&self, index: usize, gradient: &[f32], x: &[f32], dy: &mut [f32]) {
        match self.active(index) {
            Active::All => dy.copy_from_slice(gradient),
            Active::Line(line) => {
                for ((dy, gradient), x) in dy.iter_mut().zip(gradient).zip(x) {
                    *dy = if line.at(*x) > 0.0 { *gradient } else { 0.0 };
                }
            }
            Active::Output(output) => relu_backward(gradient, output, dy),
        }
    }
}
