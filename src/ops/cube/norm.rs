//! Batch norm with the ReLU and the max-pool behind it, in two kernels: forward, with the statistics, and back. A cube has a
//! channel of the batch to itself, whose values its threads share among them.

use burn::cubecl;
use cubecl::prelude::*;

use super::kernels::add_up;
use crate::ops::options::NormOptions;

/// What is normalised and what follows it, without the number of images: constants of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NormGeometry {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) relu: bool,
    /// Side of the window of the pool, 1 without one.
    pub(super) window: usize,
    pub(super) height_out: usize,
    pub(super) width_out: usize,
}

impl NormGeometry {
    /// Of images `[batch, channels, height, width]`.
    pub(super) fn new([_, channels, height, width]: [usize; 4], NormOptions { relu, pool }: NormOptions) -> Self {
        let window = if pool { 2 } else { 1 };
        Self { channels, height, width, relu, window, height_out: height / window, width_out: width / window }
    }

    /// The shape of the output of so many images.
    pub(super) fn output(&self, images: usize) -> [usize; 4] {
        [images, self.channels, self.height_out, self.width_out]
    }
}

/// What normalises a channel.
#[derive(CubeType, Clone, Copy)]
struct Scale {
    mean: f32,
    /// 1 / the standard deviation.
    inverse: f32,
    gamma: f32,
    beta: f32,
}

/// Numbers of a [`Scale`] in an array of them.
pub(super) const OF_A_SCALE: usize = 4;

#[cube]
impl Scale {
    fn read(scales: &[f32], channel: usize) -> Scale {
        let first = channel * OF_A_SCALE;
        Scale { mean: scales[first], inverse: scales[first + 1], gamma: scales[first + 2], beta: scales[first + 3] }
    }

    fn standardised(&self, value: f32) -> f32 {
        (value - self.mean) * self.inverse
    }

    fn normalised(&self, value: f32) -> f32 {
        self.standardised(value) * self.gamma + self.beta
    }
}

/// `output`, `[batch, channels, height', width']`, the mean and the biased variance of each channel, and its [`Scale`].
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "they are a kernel's")]
pub(super) fn normalise(
    input: &[f32],
    gamma: &[f32],
    beta: &[f32],
    output: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
    scales: &mut [f32],
    epsilon: f32,
    images: usize,
    #[comptime] g: NormGeometry,
    #[comptime] threads: usize,
) {
    let unit = UNIT_POS_X as usize;
    let channel = CUBE_POS_X as usize;
    let count = images * comptime!(g.height * g.width);
    let mut sum = f32::new(0.0);
    let mut index = unit;
    while index < count {
        sum += input[input_at(index, channel, g)];
        index += threads;
    }
    let center = add_up(sum, threads) / f32::cast_from(count as u32);
    let mut squares = f32::new(0.0);
    let mut index = unit;
    while index < count {
        let distance = input[input_at(index, channel, g)] - center;
        squares += distance * distance;
        index += threads;
    }
    let spread = add_up(squares, threads) / f32::cast_from(count as u32);
    let inverse = f32::new(1.0) / (spread + epsilon).sqrt();
    let scale = Scale { mean: center, inverse, gamma: gamma[channel], beta: beta[channel] };
    if unit == 0 {
        mean[channel] = center;
        variance[channel] = spread;
        let first = channel * OF_A_SCALE;
        scales[first] = center;
        scales[first + 1] = inverse;
        scales[first + 2] = scale.gamma;
        scales[first + 3] = scale.beta;
    }
    let outputs = images * comptime!(g.height_out * g.width_out);
    let mut index = unit;
    while index < outputs {
        let first = window_at(index, channel, g);
        let place = largest(input, first, &scale, g);
        let mut value = scale.normalised(input[first + within(place, g)]);
        if comptime!(g.relu) {
            // A NaN passes, so that a broken run shows.
            if value <= 0.0 {
                value = f32::new(0.0);
            }
        }
        output[output_at(index, channel, g)] = value;
        index += threads;
    }
}

/// The gradients of input, gamma and beta.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "they are a kernel's")]
pub(super) fn normalise_back(
    gradient: &[f32],
    input: &[f32],
    scales: &[f32],
    to_input: &mut [f32],
    to_gamma: &mut [f32],
    to_beta: &mut [f32],
    images: usize,
    #[comptime] g: NormGeometry,
    #[comptime] threads: usize,
) {
    let unit = UNIT_POS_X as usize;
    let channel = CUBE_POS_X as usize;
    let scale = Scale::read(scales, channel);
    let mut slopes = f32::new(0.0);
    let mut offsets = f32::new(0.0);
    let outputs = images * comptime!(g.height_out * g.width_out);
    let mut index = unit;
    while index < outputs {
        let first = window_at(index, channel, g);
        let value = input[first + within(largest(input, first, &scale, g), g)];
        let passed = passed(gradient[output_at(index, channel, g)], value, &scale, g);
        offsets += passed;
        slopes += passed * scale.standardised(value);
        index += threads;
    }
    let offsets = add_up(offsets, threads);
    let slopes = add_up(slopes, threads);
    if unit == 0 {
        to_gamma[channel] = slopes;
        to_beta[channel] = offsets;
    }
    let plane = comptime!(g.height * g.width);
    let count = images * plane;
    let share = f32::new(1.0) / f32::cast_from(count as u32);
    let mut index = unit;
    while index < count {
        let at = input_at(index, channel, g);
        let value = input[at];
        let (row, column) = (index % plane / g.width, index % plane % g.width);
        let mut own = f32::new(0.0);
        // An odd last row or column is in no window.
        if row < comptime!(g.height_out * g.window) && column < comptime!(g.width_out * g.window) {
            let inside = row / g.window * g.width_out + column / g.window;
            let window = index / plane * comptime!(g.height_out * g.width_out) + inside;
            let first = window_at(window, channel, g);
            if first + within(largest(input, first, &scale, g), g) == at {
                own = passed(gradient[output_at(window, channel, g)], value, &scale, g);
            }
        }
        let common = (offsets + scale.standardised(value) * slopes) * share;
        to_input[at] = scale.gamma * scale.inverse * (own - common);
        index += threads;
    }
}

/// What of the gradient of an output reaches the value that it was made of.
#[cube]
fn passed(gradient: f32, value: f32, scale: &Scale, #[comptime] g: NormGeometry) -> f32 {
    let mut passed = gradient;
    if comptime!(g.relu) {
        // Where the forward pass gave 0.
        if scale.normalised(value) <= 0.0 {
            passed = f32::new(0.0);
        }
    }
    passed
}

/// Where the `index`-th input of a channel is.
#[cube]
fn input_at(index: usize, channel: usize, #[comptime] g: NormGeometry) -> usize {
    let plane = comptime!(g.height * g.width);
    (index / plane * g.channels + channel) * plane + index % plane
}

/// Where the `index`-th output of a channel is.
#[cube]
fn output_at(index: usize, channel: usize, #[comptime] g: NormGeometry) -> usize {
    let plane = comptime!(g.height_out * g.width_out);
    (index / plane * g.channels + channel) * plane + index % plane
}

/// Where the first input of the `index`-th output of a channel is.
#[cube]
fn window_at(index: usize, channel: usize, #[comptime] g: NormGeometry) -> usize {
    let plane = comptime!(g.height_out * g.width_out);
    let (row, column) = (index % plane / g.width_out * g.window, index % plane % g.width_out * g.window);
    ((index / plane * g.channels + channel) * g.height + row) * g.width + column
}

/// How far a place of a window is behind its first.
#[cube]
fn within(place: usize, #[comptime] g: NormGeometry) -> usize {
    place / g.window * g.width + place % g.window
}

/// Which of the inputs of a window is the largest once it is normalised, the first of equals.
#[cube]
fn largest(input: &[f32], first: usize, scale: &Scale, #[comptime] g: NormGeometry) -> usize {
    let mut place = 0usize.runtime();
    let mut best = scale.normalised(input[first]);
    for other in 1..comptime!(g.window * g.window) {
        let value = scale.normalised(input[first + within(other, g)]);
        if value > best {
            best = value;
            place = other;
        }
    }
    place
}
