//! The kernels themselves, in CubeCL's subset of Rust, which is compiled for whatever the device is. Every tensor is an array
//! of `f32` in row-major order; the sizes of a layer are constants of its kernel.

use burn::cubecl;
use cubecl::prelude::*;

use super::geometry::Geometry;

/// What stands for the place of a window's maximum where ReLU stops the gradient. Places are 0 1 / 2 3.
pub(super) const INACTIVE: f32 = -1.0;

/// Convolution, bias, ReLU and max-pool: a thread for each value of `output`, `[batch, out, height', width']`. `places` says
/// where in its window the maximum was, the first of equals.
#[cube(launch)]
pub(super) fn convolve(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    places: &mut [f32],
    #[comptime] g: Geometry,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let x = ABSOLUTE_POS % g.width_out;
    let rest = ABSOLUTE_POS / g.width_out;
    let y = rest % g.height_out;
    let rest = rest / g.height_out;
    let channel = rest % g.channels_out;
    let image = rest / g.channels_out;
    let size = comptime!(g.window * g.window);
    let taps = comptime!(g.kernel * g.kernel);
    // The outputs of a window have most of their inputs in common: each is read once.
    let span = comptime!(g.kernel + (g.window - 1) * g.stride);
    let mut sums = Array::<f32>::new(size);
    #[unroll]
    for index in 0..size {
        sums[index] = bias[channel];
    }
    let mut factors = Array::<f32>::new(taps);
    let (top, left) = (y * comptime!(g.window * g.stride), x * comptime!(g.window * g.stride));
    for input_channel in 0..g.channels_in {
        let plane = (image * g.channels_in + input_channel) * g.height;
        let filter = (channel * g.channels_in + input_channel) * taps;
        #[unroll]
        for tap in 0..taps {
            factors[tap] = weight[filter + tap];
        }
        #[unroll]
        for down in 0..span {
            #[unroll]
            for right in 0..span {
                let (row, column) = (top + down, left + right);
                let mut value = f32::new(0.0);
                if comptime!(g.padding == 0) {
                    value = input[(plane + row) * g.width + column];
                } else if row >= g.padding
                    && row < comptime!(g.height + g.padding)
                    && column >= g.padding
                    && column < comptime!(g.width + g.padding)
                {
                    value = input[(plane + row - g.padding) * g.width + column - g.padding];
                }
                #[unroll]
                for index in 0..size {
                    if comptime!(g.reaches(index, down, right)) {
                        sums[index] += value * factors[comptime!(g.tap(index, down, right))];
                    }
                }
            }
        }
    }
    let mut best = sums[0];
    let mut place = f32::new(0.0);
    #[unroll]
    for index in 1..size {
        if sums[index] > best {
            best = sums[index];
            place = f32::cast_from(comptime!(index as u32));
        }
    }
    if comptime!(g.relu) {
        // A NaN passes, so that a broken run shows.
        if best <= 0.0 {
            best = f32::new(0.0);
            place = f32::new(INACTIVE);
        }
    }
    output[ABSOLUTE_POS] = best;
    if comptime!(g.has_places()) {
        places[ABSOLUTE_POS] = place;
    }
}

/// The gradients of weight and bias: a cube of `threads` threads for each pair of an output and an input channel, whose threads
/// share the outputs of the batch among them. What each of them has summed is added up in the order of the threads.
#[cube(launch)]
pub(super) fn parameter_gradients(
    input: &[f32],
    gradient: &[f32],
    places: &[f32],
    weight: &mut [f32],
    bias: &mut [f32],
    images: usize,
    #[comptime] g: Geometry,
    #[comptime] threads: usize,
) {
    let taps = comptime!(g.kernel * g.kernel);
    let unit = UNIT_POS_X as usize;
    let input_channel = CUBE_POS_X as usize;
    let channel = CUBE_POS_Y as usize;
    let mut sums = Array::<f32>::new(comptime!(taps + 1));
    #[unroll]
    for tap in 0..comptime!(taps + 1) {
        sums[tap] = f32::new(0.0);
    }
    let plane = comptime!(g.height_out * g.width_out);
    let count = images * plane;
    let mut index = unit;
    while index < count {
        let image = index / plane;
        let within = index % plane;
        let at = (image * g.channels_out + channel) * plane + within;
        let mut place = f32::new(0.0);
        if comptime!(g.has_places()) {
            place = places[at];
        }
        if place >= 0.0 {
            let value = gradient[at];
            let place = u32::cast_from(place) as usize;
            let top = (within / g.width_out * g.window + place / 2) * g.stride;
            let left = (within % g.width_out * g.window + place % 2) * g.stride;
            let first = (image * g.channels_in + input_channel) * g.height;
            #[unroll]
            for tap_y in 0..g.kernel {
                #[unroll]
                for tap_x in 0..g.kernel {
                    let (row, column) = (top + tap_y, left + tap_x);
                    let tap = comptime!(tap_y * g.kernel + tap_x);
                    if comptime!(g.padding == 0) {
                        sums[tap] += value * input[(first + row) * g.width + column];
                    } else if row >= g.padding
                        && row < comptime!(g.height + g.padding)
                        && column >= g.padding
                        && column < comptime!(g.width + g.padding)
                    {
                        sums[tap] += value * input[(first + row - g.padding) * g.width + column - g.padding];
                    }
                }
            }
            sums[taps] += value;
        }
        index += threads;
    }
    let mut shared = Shared::new_slice(comptime!((taps + 1) * threads));
    #[unroll]
    for tap in 0..comptime!(taps + 1) {
        shared[unit * comptime!(taps + 1) + tap] = sums[tap];
    }
    sync_cube();
    let mut tap = unit;
    while tap <= taps {
        let mut total = f32::new(0.0);
        for thread in 0..threads {
            total += shared[thread * comptime!(taps + 1) + tap];
        }
        if tap < taps {
            weight[(channel * g.channels_in + input_channel) * taps + tap] = total;
        } else if input_channel == 0 {
            bias[channel] = total;
        }
        tap += threads;
    }
}

/// The gradient of the input: a thread for each of its values, `[batch, in, height, width]`.
#[cube(launch)]
pub(super) fn input_gradient(
    gradient: &[f32],
    places: &[f32],
    weight: &[f32],
    input: &mut [f32],
    #[comptime] g: Geometry,
) {
    if ABSOLUTE_POS >= input.len() {
        terminate!();
    }
    let column = ABSOLUTE_POS % g.width + g.padding;
    let rest = ABSOLUTE_POS / g.width;
    let row = rest % g.height + g.padding;
    let rest = rest / g.height;
    let input_channel = rest % g.channels_in;
    let image = rest / g.channels_in;
    let plane = comptime!(g.height_out * g.width_out);
    let taps = comptime!(g.kernel * g.kernel);
    let mut sum = f32::new(0.0);
    // The windows that have an output which this value goes into.
    let step = comptime!(g.stride * g.window);
    let span = comptime!(g.kernel + (g.window - 1) * g.stride);
    let mut window_y = first_window(row, span, step);
    while window_y < g.height_out && window_y * step <= row {
        let mut window_x = first_window(column, span, step);
        while window_x < g.width_out && window_x * step <= column {
            let (down, right) = (row - window_y * step, column - window_x * step);
            for channel in 0..g.channels_out {
                let at = (image * g.channels_out + channel) * plane + window_y * g.width_out + window_x;
                let mut place = f32::new(0.0);
                if comptime!(g.has_places()) {
                    place = places[at];
                }
                if place >= 0.0 {
                    let place = u32::cast_from(place) as usize;
                    // Where the output that is left of the window has its filter.
                    let (above, before) = (place / 2 * g.stride, place % 2 * g.stride);
                    if down >= above && down - above < g.kernel && right >= before && right - before < g.kernel {
                        let filter = (channel * g.channels_in + input_channel) * taps;
                        sum += gradient[at] * weight[filter + (down - above) * g.kernel + right - before];
                    }
                }
            }
            window_x += 1;
        }
        window_y += 1;
    }
    input[ABSOLUTE_POS] = sum;
}

/// The first of the windows, each `step` behind the last, that reach `place` with their `span`.
#[cube]
fn first_window(place: usize, #[comptime] span: usize, #[comptime] step: usize) -> usize {
    let mut window = 0usize.runtime();
    if place + 1 > span {
        window = (place + 1 - span).div_ceil(step);
    }
    window
}

/// The sum of what the threads of a cube have found, in the order of the threads: each of them is told.
#[cube]
pub(super) fn add_up(found: f32, #[comptime] threads: usize) -> f32 {
    let mut shared = Shared::new_slice(threads);
    shared[UNIT_POS_X as usize] = found;
    sync_cube();
    let mut total = f32::new(0.0);
    for thread in 0..threads {
        total += shared[thread];
    }
    total
}

/// The mean cross-entropy of `logits`, `[batch, classes]`, and their gradient: one cube, whose threads share the rows among them.
#[cube(launch)]
pub(super) fn cross_entropy(
    logits: &[f32],
    targets: &[i32],
    loss: &mut [f32],
    gradient: &mut [f32],
    smoothing: f32,
    #[comptime] classes: usize,
    #[comptime] threads: usize,
) {
    let unit = UNIT_POS_X as usize;
    let rows = targets.len();
    let rest = smoothing / f32::cast_from(comptime!(classes as u32));
    let hit = f32::new(1.0) - smoothing;
    let scale = f32::new(1.0) / f32::cast_from(rows as u32);
    let mut losses = f32::new(0.0);
    let mut row = unit;
    while row < rows {
        let first = row * classes;
        let target = u32::cast_from(targets[row]) as usize;
        let mut largest = logits[first];
        for class in 1..classes {
            largest = largest.max(logits[first + class]);
        }
        let mut total = f32::new(0.0);
        let mut sum = f32::new(0.0);
        for class in 0..classes {
            let value = logits[first + class] - largest;
            total += value.exp();
            sum += value;
        }
        losses += total.ln() - (hit * (logits[first + target] - largest) + rest * sum);
        for class in 0..classes {
            let mut value = (logits[first + class] - largest).exp() / total - rest;
            if class == target {
                value -= hit;
            }
            gradient[first + class] = value * scale;
        }
        row += threads;
    }
    let total = add_up(losses, threads);
    if unit == 0 {
        loss[0] = total * scale;
    }
}

/// Adds a step to the sums of a run's figures: the loss of all its images, and the right answers among them. One cube.
#[cube(launch)]
pub(super) fn tally(
    logits: &[f32],
    targets: &[i32],
    loss: &[f32],
    before: &[f32],
    sums: &mut [f32],
    #[comptime] classes: usize,
    #[comptime] threads: usize,
) {
    let unit = UNIT_POS_X as usize;
    let rows = targets.len();
    let mut right = f32::new(0.0);
    let mut row = unit;
    while row < rows {
        let first = row * classes;
        let mut best = logits[first];
        let mut answer = 0usize.runtime();
        for class in 1..classes {
            let value = logits[first + class];
            if value > best {
                best = value;
                answer = class;
            }
        }
        if answer == u32::cast_from(targets[row]) as usize {
            right += f32::new(1.0);
        }
        row += threads;
    }
    let total = add_up(right, threads);
    if unit == 0 {
        sums[0] = before[0] + loss[0] * f32::cast_from(rows as u32);
        sums[1] = before[1] + total;
    }
}

/// Adam on up to four parameters of one array, of which the second begins at `start_1`, a thread for each value. What is
/// between the last value of a parameter and the next parameter has no gradient and stays 0.
#[cube(launch)]
#[allow(clippy::too_many_arguments, reason = "they are a kernel's")]
pub(super) fn adam(
    gradient_0: &[f32],
    gradient_1: &[f32],
    gradient_2: &[f32],
    gradient_3: &[f32],
    parameters: &[f32],
    first: &[f32],
    second: &[f32],
    new_parameters: &mut [f32],
    new_first: &mut [f32],
    new_second: &mut [f32],
    start_1: usize,
    start_2: usize,
    start_3: usize,
    constants: AdamConstants,
) {
    if ABSOLUTE_POS >= parameters.len() {
        terminate!();
    }
    let index = ABSOLUTE_POS;
    let mut gradient = f32::new(0.0);
    if index < start_1 {
        if index < gradient_0.len() {
            gradient = gradient_0[index];
        }
    } else if index < start_2 {
        if index - start_1 < gradient_1.len() {
            gradient = gradient_1[index - start_1];
        }
    } else if index < start_3 {
        if index - start_2 < gradient_2.len() {
            gradient = gradient_2[index - start_2];
        }
    } else if index - start_3 < gradient_3.len() {
        gradient = gradient_3[index - start_3];
    }
    let parameter = parameters[index];
    let gradient = gradient + parameter * constants.penalty;
    let mean = first[index] * constants.beta_1 + gradient * (f32::new(1.0) - constants.beta_1);
    let square = second[index] * constants.beta_2 + gradient * gradient * (f32::new(1.0) - constants.beta_2);
    new_first[index] = mean;
    new_second[index] = square;
    new_parameters[index] = parameter * constants.keep - mean * constants.rate / (square.sqrt() + constants.epsilon);
}

/// What [`adam`] computes with; see `kiln_kernels::update::Adam`.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct AdamConstants {
    pub(super) beta_1: f32,
    pub(super) beta_2: f32,
    pub(super) rate: f32,
    pub(super) epsilon: f32,
    pub(super) penalty: f32,
    pub(super) keep: f32,
}
