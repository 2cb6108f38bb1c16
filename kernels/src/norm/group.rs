//! Group norm with what follows it: ReLU, 2x2 max-pool.
//!
//! Per image and group of neighbouring channels (Wu and He, 2018): `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`,
//! with the group's mean and biased variance, and gamma and beta of the channel.
//!
//! An image needs nothing of the others, so that it is read from memory once in each direction: the statistics are computed
//! anew in the backward pass, from values that it needs anyway.

use super::super::fill::{filled, filled_pair, with_scratch};
use super::super::pool::PoolIndex;
use super::super::reduce::{sum, sum_of};
use super::super::simd::vectorised;
use super::super::size::assert_length;
use super::{Active, Geometry, Gradients, Line, Plane, normalise_image, pool_image};

/// Groups of channels, as many as divide them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Groups(usize);

impl Groups {
    /// So many groups for images of these sizes.
    ///
    /// # Panics
    /// If they do not divide the channels.
    #[track_caller]
    pub fn new(groups: usize, geometry: &Geometry) -> Self {
        assert_divides(groups, geometry.channels);
        Self(groups)
    }
}

/// # Panics
/// If so many groups are none, or do not divide the channels.
#[track_caller]
pub(in super::super) fn assert_divides(groups: usize, channels: usize) {
    let fits = groups > 0 && channels.is_multiple_of(groups);
    assert!(fits, "group norm: {groups} groups do not fit the input's {channels} channels, which they must divide");
}

/// What a forward pass leaves.
pub struct Forward {
    /// The output `[batch, channels, height, width]`.
    pub output: Vec<f32>,
    /// Which value of its window each output is; empty without a pool.
    pub indices: Vec<PoolIndex>,
}

/// Mean, and 1 over the standard deviation, of one group's values.
#[derive(Clone, Copy)]
struct Standing {
    mean: f32,
    inverse: f32,
}

impl Standing {
    #[inline(always)]
    fn of(group: &[f32], epsilon: f64) -> Self {
        let length = group.len() as f32;
        let mean = sum(group) / length;
        let variance = sum_of(group, |value| (value - mean) * (value - mean)) / length;
        Self { mean, inverse: 1.0 / (variance + epsilon as f32).sqrt() }
    }

    /// The line of a channel of the group.
    #[inline(always)]
    fn line(self, gamma: f32, beta: f32) -> Line {
        let slope = gamma * self.inverse;
        Line { slope, offset: beta - self.mean * slope }
    }
}

/// Sizes and parameters: what both directions work with.
#[derive(Clone, Copy)]
struct Norm<'a> {
    geometry: &'a Geometry,
    groups: usize,
    gamma: &'a [f32],
    beta: &'a [f32],
}

impl<'a> Norm<'a> {
    fn new(geometry: &'a Geometry, groups: Groups, input: &[f32], gamma: &'a [f32], beta: &'a [f32]) -> Self {
        let Groups(groups) = Groups::new(groups.0, geometry);
        assert_length("group norm's input", input, geometry.values());
        assert_length("group norm's gamma", gamma, geometry.channels);
        assert_length("group norm's beta", beta, geometry.channels);
        Self { geometry, groups, gamma, beta }
    }

    /// Channels of a group.
    fn of_each(&self) -> usize {
        self.geometry.channels / self.groups
    }

    /// The line of each channel of an image.
    #[inline(always)]
    fn lines(&self, image: &[f32]) -> Vec<Line> {
        let of_each = self.of_each();
        let mut lines = Vec::with_capacity(self.geometry.channels);
        for (group, values) in image.chunks_exact(of_each * self.geometry.plane()).enumerate() {
            let standing = Standing::of(values, self.geometry.epsilon);
            lines.extend((group * of_each..(group + 1) * of_each).map(|channel| self.line(channel, standing)));
        }
        lines
    }

    fn line(&self, channel: usize, standing: Standing) -> Line {
        standing.line(self.gamma[channel], self.beta[channel])
    }
}

/// Normalises each group of channels of each image of `input`.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn forward(geometry: &Geometry, groups: Groups, input: &[f32], gamma: &[f32], beta: &[f32]) -> Forward {
    let norm = Norm::new(geometry, groups, input, gamma, beta);
    let size = geometry.channels * geometry.output_plane();
    let total = geometry.batch * size;
    let image = |i: usize| &input[i * geometry.image()..][..geometry.image()];
    if geometry.epilogue.pool {
        let (output, indices) = filled_pair([total, size], [total, size], |i, output, indices| {
            with_scratch([geometry.plane()], |[scaled]| {
                vectorised(
                    #[inline(always)]
                    || pool_image(geometry, image(i), &norm.lines(image(i)), scaled, (output, indices)),
                );
            });
        });
        return Forward { output, indices };
    }
    let output = filled(total, size, |i, output| {
        vectorised(
            #[inline(always)]
            || normalise_image(geometry, image(i), None, &norm.lines(image(i)), output),
        );
    });
    Forward { output, indices: Vec::new() }
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
    /// The indices of the maxima, empty without a pool.
    pub indices: &'a [PoolIndex],
}

/// The gradients of [`forward`] from the `gradient` of its output. With `n` values in a group,
/// `h = (x - mean) / sqrt(variance + epsilon)` and the sums over the group,
/// `dx = (gamma dy - sum(gamma dy) / n - h sum(gamma dy h) / n) / sqrt(variance + epsilon)`; over a channel of all images,
/// `dbeta = sum dy` and `dgamma = sum dy h`.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn backward(geometry: &Geometry, groups: Groups, saved: Saved, gradient: &[f32]) -> Gradients {
    let norm = Norm::new(geometry, groups, saved.input, saved.gamma, saved.beta);
    let (channels, size) = (geometry.channels, geometry.output_plane());
    let outputs = geometry.batch * channels * size;
    assert_length("group norm's pool indices", saved.indices, if geometry.epilogue.pool { outputs } else { 0 });
    assert_length("group norm's gradient", gradient, outputs);
    let (input, sums) = filled_pair(
        [geometry.values(), geometry.image()],
        [geometry.batch * channels, channels],
        |image, dx, sums: &mut [[f32; 2]]| {
            with_scratch([geometry.scratch()], |[scratch]| {
                vectorised(
                    #[inline(always)]
                    || norm.backward_image(saved, gradient, image, scratch, (dx, sums)),
                );
            });
        },
    );
    let mut total = vec![[0.0_f64; 2]; channels];
    for image in sums.chunks_exact(channels) {
        for ([gamma, beta], [of_gamma, of_beta]) in total.iter_mut().zip(image) {
            *gamma += f64::from(*of_gamma);
            *beta += f64::from(*of_beta);
        }
    }
    let (gamma, beta) = total.iter().map(|[gamma, beta]| (*gamma as f32, *beta as f32)).unzip();
    Gradients { input, gamma, beta }
}

impl Norm<'_> {
    /// The gradient of an image of the input, and what the image adds to those of gamma and beta.
    #[inline(always)]
    fn backward_image(
        &self,
        saved: Saved,
        gradient: &[f32],
        image: usize,
        scratch: &mut [f32],
        (dx, sums): (&mut [f32], &mut [[f32; 2]]),
    ) {
        let geometry = self.geometry;
        let (plane, size, of_each) = (geometry.plane(), geometry.output_plane(), self.of_each());
        let x = &saved.input[image * geometry.image()..][..geometry.image()];
        let of_channel = |channel: usize, standing: Standing| {
            let first = (image * geometry.channels + channel) * size;
            let line = self.line(channel, standing);
            Plane {
                x: &x[channel * plane..][..plane],
                gradient: &gradient[first..][..size],
                indices: if geometry.epilogue.pool { &saved.indices[first..][..size] } else { &[] },
                active: if geometry.epilogue.relu { Active::Line(line) } else { Active::All },
                width: geometry.width,
            }
        };
        let groups = x.chunks_exact(of_each * plane).zip(dx.chunks_exact_mut(of_each * plane));
        for (group, ((x, dx), sums)) in groups.zip(sums.chunks_exact_mut(of_each)).enumerate() {
            let standing = Standing::of(x, geometry.epsilon);
            let Standing { mean, inverse } = standing;
            let channels = || group * of_each..(group + 1) * of_each;
            let (mut base, mut slope) = (0.0, 0.0);
            for (channel, sums) in channels().zip(&mut *sums) {
                let [plain, weighted] = of_channel(channel, standing).sums(mean, scratch);
                *sums = [weighted * inverse, plain];
                base += self.gamma[channel] * plain;
                slope += self.gamma[channel] * weighted;
            }
            let n = x.len() as f32;
            let (base, slope) = (base / n * inverse, slope / n * inverse * inverse * inverse);
            for (channel, dx) in channels().zip(dx.chunks_exact_mut(plane)) {
                let scale = self.gamma[channel] * inverse;
                let through = |dy: f32, x: f32| scale * dy - base - (x - mean) * slope;
                of_channel(channel, standing).input_gradient(through, dx);
            }
        }
    }
}
