//! Gradients against finite differences, in `f64`, of what each kernel's formula says.

use super::super::geometry::ConvGeometry;
use super::super::pool::Epilogue;
use super::super::{conv, linear, loss, norm};
use super::{assert_close, random};

/// What follows a convolution or a norm, plane by plane, in `f64`.
fn epilogue_by_formula(epilogue: Epilogue, [height, width]: [usize; 2], mut values: Vec<f64>) -> Vec<f64> {
    if epilogue.relu {
        values.iter_mut().for_each(|value| *value = value.max(0.0));
    }
    if !epilogue.pool {
        return values;
    }
    let corners = (0..height / 2).flat_map(|y| (0..width / 2).map(move |x| 2 * y * width + 2 * x));
    let window = |plane: &[f64], at: usize| {
        [at, at + 1, at + width, at + width + 1].into_iter().map(|i| plane[i]).fold(f64::NEG_INFINITY, f64::max)
    };
    let planes = values.chunks(height * width);
    planes.flat_map(|plane| corners.clone().map(|at| window(plane, at)).collect::<Vec<_>>()).collect()
}

/// The convolution as its formula says it, in `f64`.
fn convolution_by_formula(geometry: &ConvGeometry, input: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let ConvGeometry { batch, channels_in, height, width, channels_out, kernel, stride, padding, .. } = *geometry;
    let [output_height, output_width] = geometry.conv_output();
    let mut output = Vec::new();
    for (n, o) in (0..batch).flat_map(|n| (0..channels_out).map(move |o| (n, o))) {
        for (y, x) in (0..output_height).flat_map(|y| (0..output_width).map(move |x| (y, x))) {
            let mut sum = bias[o];
            for (c, tap) in (0..channels_in).flat_map(|c| (0..kernel * kernel).map(move |tap| (c, tap))) {
                let (iy, ix) = (y * stride + tap / kernel, x * stride + tap % kernel);
                if (padding..height + padding).contains(&iy) && (padding..width + padding).contains(&ix) {
                    let pixel = input[((n * channels_in + c) * height + iy - padding) * width + ix - padding];
                    sum += weight[(o * channels_in + c) * kernel * kernel + tap] * pixel;
                }
            }
            output.push(sum);
        }
    }
    epilogue_by_formula(geometry.epilogue, geometry.conv_output(), output)
}

/// The derivative of `function` by each value, by central differences.
fn finite_differences(at: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f32> {
    let step = 1e-6;
    let along = |i: usize| {
        let [mut above, mut below] = [at.to_vec(), at.to_vec()];
        above[i] += step;
        below[i] -= step;
        ((function(&above) - function(&below)) / (2.0 * step)) as f32
    };
    (0..at.len()).map(along).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn convolution_gradients_are_the_finite_differences() {
    // Input, output channels and kernel; stride, padding, ReLU, pool. Small planes, few channels, many of either, sizes that
    // a stride does not divide, and taps that see nothing but zeros: every way to compute a convolution.
    let small = ([2, 2, 5, 4], [3, 3]);
    let cases = [
        (small, (1, 0, false, false)),
        (small, (2, 1, true, false)),
        (small, (1, 2, true, false)),
        (small, (1, 1, false, true)),
        (small, (1, 2, true, true)),
        (small, (3, 2, true, false)),
        (([3, 1, 1, 1], [2, 3]), (1, 1, true, false)),
        (([1, 2, 1, 7], [9, 3]), (1, 1, false, false)),
        (([2, 1, 9, 6], [11, 5]), (2, 2, true, false)),
        (([2, 1, 8, 7], [5, 4]), (3, 1, false, false)),
        (([2, 3, 6, 6], [2, 2]), (2, 0, true, true)),
        (([1, 2, 4, 4], [40, 3]), (1, 1, true, false)),
        (([2, 3, 5, 5], [4, 1]), (2, 0, true, false)),
        (([9, 1, 3, 18], [1, 3]), (1, 1, true, false)),
    ];
    for ((shape, [channels_out, kernel]), (stride, padding, relu, pool)) in cases {
        let epilogue = Epilogue { relu, pool };
        let weight_shape = [channels_out, shape[1], kernel, kernel];
        let geometry = ConvGeometry::new(shape, weight_shape, stride, padding, epilogue);
        let (input, weight) = (random(shape.iter().product(), 1), random(weight_shape.iter().product(), 2));
        let bias = random(channels_out, 3);
        let conv::Forward { output, indices } = conv::forward(&geometry, &input, &weight, &bias);
        let cotangent = random(output.len(), 4);
        let saved = conv::Saved { input: &input, weight: &weight, output: &output, indices: &indices };
        let needs = conv::NeedsGradient { input: true, parameters: true };
        let gradients = conv::backward(&geometry, saved, &cotangent, needs);
        let [input, weight, bias, cotangent] = [&input, &weight, &bias, &cotangent].map(|values| wide(values));
        let total = |input: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
            let output = convolution_by_formula(&geometry, input, weight, bias);
            output.iter().zip(&cotangent).map(|(value, weight)| value * weight).sum()
        };
        assert_close(&gradients.input, &finite_differences(&input, |input| total(input, &weight, &bias)), "input");
        assert_close(&gradients.weight, &finite_differences(&weight, |weight| total(&input, weight, &bias)), "weight");
        assert_close(&gradients.bias, &finite_differences(&bias, |bias| total(&input, &weight, bias)), "bias");
    }
}

#[test]
fn cross_entropy_gradients_are_the_finite_differences() {
    let (logits, targets, smoothing) = (random(12, 5), [3, 0, 1], 0.1);
    let result = loss::cross_entropy(&logits, 4, &targets, smoothing);
    let by_formula = |logits: &[f64]| -> f64 {
        let row = |(row, target): (&[f64], &usize)| -> f64 {
            let log_total = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            let target_probability =
                |k: usize| f64::from(smoothing) / 4.0 + f64::from(1.0 - smoothing) * f64::from(k == *target);
            row.iter().enumerate().map(|(k, logit)| target_probability(k) * (log_total - logit)).sum()
        };
        logits.chunks(4).zip(&targets).map(row).sum::<f64>() / 3.0
    };
    assert_close(&[result.loss], &[by_formula(&wide(&logits)) as f32], "loss");
    assert_close(&result.gradient, &finite_differences(&wide(&logits), by_formula), "gradient");
}

#[test]
fn fully_connected_gradients_are_the_finite_differences() {
    for relu in [false, true] {
        let geometry = linear::Geometry::new([3, 5], [5, 4], relu);
        let (input, weight, bias, cotangent) = (random(15, 1), random(20, 2), random(4, 3), random(12, 4));
        let output = linear::forward(&geometry, &input, &weight, &bias);
        let linear::PreActivation { gradient: dz, bias: bias_gradient } =
            linear::pre_activation_gradient(&geometry, &output, &cotangent);
        let gradients = [
            linear::input_gradient(&geometry, &weight, &dz),
            linear::weight_gradient(&geometry, &input, &dz),
            bias_gradient,
        ];
        let [input, weight, bias, cotangent] = [&input, &weight, &bias, &cotangent].map(|values| wide(values));
        let total = |input: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
            let value = |i: usize| {
                let (row, column) = (i / 4, i % 4);
                let sum = (0..5).map(|k| input[row * 5 + k] * weight[k * 4 + column]).sum::<f64>() + bias[column];
                if relu { sum.max(0.0) } else { sum }
            };
            (0..12).map(|i| value(i) * cotangent[i]).sum()
        };
        assert_close(&gradients[0], &finite_differences(&input, |input| total(input, &weight, &bias)), "input");
        assert_close(&gradients[1], &finite_differences(&weight, |weight| total(&input, weight, &bias)), "weight");
        assert_close(&gradients[2], &finite_differences(&bias, |bias| total(&input, &weight, bias)), "bias");
    }
}

/// Batch norm as its formula says it, in `f64`, before what follows.
fn norm_by_formula(epsilon: f64, plane: usize, input: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let mut output = input.to_vec();
    for c in 0..gamma.len() {
        let of_channel = |i: &usize| i / plane % gamma.len() == c;
        let x = (0..input.len()).filter(of_channel).map(|i| input[i]).collect::<Vec<_>>();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        for i in (0..input.len()).filter(of_channel) {
            output[i] = gamma[c] * (input[i] - mean) / (variance + epsilon).sqrt() + beta[c];
        }
    }
    output
}

#[test]
fn gradients_of_a_batch_norm_with_a_shortcut_are_the_finite_differences() {
    // Planes of one pixel, of an odd size, and larger than the running sums of a plane are many.
    for (relu, [batch, height, width]) in [(false, [3, 4, 3]), (true, [3, 4, 3]), (true, [7, 1, 1]), (true, [2, 7, 9])]
    {
        let (epsilon, values) = (1e-3, batch * 2 * height * width);
        let geometry = norm::Geometry::new([batch, 2, height, width], epsilon, Epilogue { relu, pool: false });
        let (input, shortcut, gamma, beta) = (random(values, 6), random(values, 5), random(2, 7), random(2, 8));
        let forward = norm::batch::forward_sum(&geometry, &input, &shortcut, &gamma, &beta);
        let cotangent = random(values, 9);
        let saved = norm::batch::Saved {
            input: &input,
            gamma: &gamma,
            beta: &beta,
            mean: &forward.mean,
            variance: &forward.variance,
            output: &forward.output,
            indices: &[],
        };
        let (gradients, by_shortcut) = norm::batch::backward_sum(&geometry, saved, &cotangent);
        let [input, shortcut, gamma, beta, cotangent] =
            [&input, &shortcut, &gamma, &beta, &cotangent].map(|values| wide(values));
        let total = |input: &[f64], shortcut: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
            let normalised = norm_by_formula(epsilon, height * width, input, gamma, beta);
            let sums = normalised.iter().zip(shortcut).map(|(y, shortcut)| y + shortcut);
            sums.map(|y| if relu { y.max(0.0) } else { y }).zip(&cotangent).map(|(y, dy)| y * dy).sum()
        };
        let along_input = finite_differences(&input, |input| total(input, &shortcut, &gamma, &beta));
        let along_shortcut = finite_differences(&shortcut, |shortcut| total(&input, shortcut, &gamma, &beta));
        let along_gamma = finite_differences(&gamma, |gamma| total(&input, &shortcut, gamma, &beta));
        let along_beta = finite_differences(&beta, |beta| total(&input, &shortcut, &gamma, beta));
        assert_close(&gradients.input, &along_input, "input");
        assert_close(&by_shortcut, &along_shortcut, "shortcut");
        assert_close(&gradients.gamma, &along_gamma, "gamma");
        assert_close(&gradients.beta, &along_beta, "beta");
    }
}

#[test]
fn batch_norm_gradients_are_the_finite_differences() {
    for (relu, pool) in [(false, false), (true, false), (false, true), (true, true)] {
        let epilogue = Epilogue { relu, pool };
        let epsilon = 1e-3;
        let geometry = norm::Geometry::new([3, 2, 4, 3], epsilon, epilogue);
        let (input, gamma, beta) = (random(72, 6), random(2, 7), random(2, 8));
        let forward = norm::batch::forward(&geometry, &input, &gamma, &beta);
        let cotangent = random(forward.output.len(), 9);
        let saved = norm::batch::Saved {
            input: &input,
            gamma: &gamma,
            beta: &beta,
            mean: &forward.mean,
            variance: &forward.variance,
            output: &[],
            indices: &forward.indices,
        };
        let gradients = norm::batch::backward(&geometry, saved, &cotangent);
        let cotangent = wide(&cotangent);
        let total = |input: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
            let output = norm_by_formula(epsilon, 12, input, gamma, beta);
            epilogue_by_formula(epilogue, [4, 3], output).iter().zip(&cotangent).map(|(y, dy)| y * dy).sum()
        };
        let (input, gamma, beta) = (wide(&input), wide(&gamma), wide(&beta));
        assert_close(&gradients.input, &finite_differences(&input, |input| total(input, &gamma, &beta)), "input");
        assert_close(&gradients.gamma, &finite_differences(&gamma, |gamma| total(&input, gamma, &beta)), "gamma");
        assert_close(&gradients.beta, &finite_differences(&beta, |beta| total(&input, &gamma, beta)), "beta");
    }
}

/// Group norm as its formula says it, in `f64`, before what follows.
fn group_norm_by_formula(groups: usize, epsilon: f64, image: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let (group, plane) = (image.len() / groups, image.len() / gamma.len());
    let standing = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        (mean, (variance + epsilon).sqrt())
    };
    let standings = image.chunks(group).map(standing).collect::<Vec<_>>();
    let value = |(i, x): (usize, &f64)| {
        let (mean, deviation) = standings[i / group];
        gamma[i / plane] * (x - mean) / deviation + beta[i / plane]
    };
    image.iter().enumerate().map(value).collect()
}

#[test]
fn group_norm_gradients_are_the_finite_differences() {
    let epilogues = [(false, false), (true, false), (false, true), (true, true)];
    // The last is one group of planes of an odd size with more values than running sums.
    for (channels, groups, size) in [(4, 2, [4, 3]), (3, 3, [2, 3]), (3, 1, [5, 7])] {
        for (relu, pool) in epilogues {
            let (epilogue, epsilon) = (Epilogue { relu, pool }, 1e-3);
            let geometry = norm::Geometry::new([2, channels, size[0], size[1]], epsilon, epilogue);
            let of_groups = norm::group::Groups::new(groups, &geometry);
            let (input, gamma, beta) = (random(geometry.values(), 6), random(channels, 7), random(channels, 8));
            let forward = norm::group::forward(&geometry, of_groups, &input, &gamma, &beta);
            let cotangent = random(forward.output.len(), 9);
            let saved = norm::group::Saved { input: &input, gamma: &gamma, beta: &beta, indices: &forward.indices };
            let gradients = norm::group::backward(&geometry, of_groups, saved, &cotangent);
            let output = |input: &[f64], gamma: &[f64], beta: &[f64]| {
                let images = input.chunks(input.len() / 2);
                let output = images.flat_map(|image| group_norm_by_formula(groups, epsilon, image, gamma, beta));
                epilogue_by_formula(epilogue, size, output.collect())
            };
            let cotangent = wide(&cotangent);
            let total = |input: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
                output(input, gamma, beta).iter().zip(&cotangent).map(|(y, dy)| y * dy).sum()
            };
            let (input, gamma, beta) = (wide(&input), wide(&gamma), wide(&beta));
            let expected = output(&input, &gamma, &beta).iter().map(|value| *value as f32).collect::<Vec<_>>();
            assert_close(&forward.output, &expected, "output");
            assert_close(&gradients.input, &finite_differences(&input, |input| total(input, &gamma, &beta)), "input");
            assert_close(&gradients.gamma, &finite_differences(&gamma, |gamma| total(&input, gamma, &beta)), "gamma");
            assert_close(&gradients.beta, &finite_differences(&beta, |beta| total(&input, &gamma, beta)), "beta");
        }
    }
}
