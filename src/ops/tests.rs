//! Every kernel against its stock twin on random shapes, and its gradients against finite differences in `f64`.

use burn::nn::BatchNormConfig;
use burn::tensor::{Device, Int, Tensor, TensorData};
use proptest::prelude::*;
use rand::SeedableRng as _;

use super::kernels::pool::Finish;
use super::kernels::{conv, dropout, linear, loss, norm};
use super::*;

/// Values in -1..1 that depend on `seed` only.
fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Multiples of 1/64 in -1..1: sums of their products are exact in `f32` in any order, so that a kernel and its twin meet
/// the same ties in a max-pool and the same side of a ReLU.
fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values: Vec<f32> =
        random(shape.iter().product(), seed).into_iter().map(|value| (value * 64.0).round() / 64.0).collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex().autodiff(), DType::F32)).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= 2e-4 * (1.0 + expected.abs()), "{what}[{i}]: {actual} is not {expected}");
    }
}

/// Checks that both functions of `inputs` have the same value and, for a random cotangent, the same gradients.
fn assert_same<const D: usize>(
    inputs: &[Vec<usize>],
    kernel: impl Fn(&[Tensor<1>]) -> Tensor<D>,
    stock: impl Fn(&[Tensor<1>]) -> Tensor<D>,
) {
    let run = |function: &dyn Fn(&[Tensor<1>]) -> Tensor<D>| {
        let inputs: Vec<_> =
            inputs.iter().zip(1..).map(|(shape, seed)| tensor([shape.iter().product()], seed)).collect();
        let output = function(&inputs);
        let cotangent = tensor(output.dims(), 99).detach();
        let gradients = (output.clone() * cotangent).sum().backward();
        let gradients = inputs.iter().map(|input| values(input.grad(&gradients).expect("a gradient")));
        (values(output), gradients.collect::<Vec<_>>())
    };
    let ((actual, actual_gradients), (expected, expected_gradients)) = (run(&kernel), run(&stock));
    assert_close(&actual, &expected, "output");
    for (i, (actual, expected)) in actual_gradients.iter().zip(&expected_gradients).enumerate() {
        assert_close(actual, expected, &format!("gradient {i}"));
    }
}

fn assert_conv(input: [usize; 4], [channels_out, kernel]: [usize; 2], options: Conv2dOptions) {
    let weight = [channels_out, input[1], kernel, kernel];
    assert_same(
        &[input.to_vec(), weight.to_vec(), vec![channels_out]],
        |x| conv2d(x[0].clone().reshape(input), x[1].clone().reshape(weight), Some(x[2].clone()), options),
        |x| stock::conv2d(x[0].clone().reshape(input), x[1].clone().reshape(weight), Some(x[2].clone()), options),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolution_is_the_stock_one(
        batch in 1usize..20, channels in 1usize..20, size in (2usize..14, 2usize..20), out in 1usize..20,
        kernel in 1usize..6, stride in 1usize..4, padding in 0usize..3, relu: bool, pool: bool,
    ) {
        let output = |size: usize| (size + 2 * padding).checked_sub(kernel).map_or(0, |left| left / stride + 1);
        let least = if pool { 2 } else { 1 };
        prop_assume!(output(size.0) >= least && output(size.1) >= least && padding < kernel);
        assert_conv([batch, channels, size.0, size.1], [out, kernel], Conv2dOptions { stride, padding, relu, pool });
    }

    #[test]
    fn fully_connected_is_the_stock_one(batch in 1usize..40, inputs in 1usize..80, outputs in 1usize..70, relu: bool) {
        let (input, weight) = ([batch, inputs], [inputs, outputs]);
        assert_same(
            &[input.to_vec(), weight.to_vec(), vec![outputs]],
            |x| linear(x[0].clone().reshape(input), x[1].clone().reshape(weight), Some(x[2].clone()), relu),
            |x| stock::linear(x[0].clone().reshape(input), x[1].clone().reshape(weight), Some(x[2].clone()), relu),
        );
    }

    #[test]
    fn batch_norm_is_the_stock_one(
        batch in 2usize..9, channels in 1usize..7, height in 2usize..9, width in 2usize..9, relu: bool, pool: bool,
    ) {
        let (shape, options) = ([batch, channels, height, width], NormOptions { relu, pool });
        let run = |x: &[Tensor<1>]| [x[1].clone(), x[2].clone()];
        assert_same(
            &[shape.to_vec(), vec![channels], vec![channels]],
            |x| {
                let [gamma, beta] = run(x);
                batch_norm_train(x[0].clone().reshape(shape), gamma, beta, 1e-5, options).output
            },
            |x| {
                let [gamma, beta] = run(x);
                stock::batch_norm_train(x[0].clone().reshape(shape), gamma, beta, 1e-5, options).output
            },
        );
    }

    #[test]
    fn cross_entropy_is_the_stock_one(batch in 1usize..40, classes in 2usize..12, smoothing in 0.0f32..0.3) {
        let targets = (0..batch).map(|i| (i * 7 % classes) as i64).collect::<Vec<_>>();
        let targets = || Tensor::<1, Int>::from_data(TensorData::from(&targets[..]), &Device::flex());
        let shape = [batch, classes];
        assert_same(
            &[shape.to_vec()],
            |x| cross_entropy(x[0].clone().mul_scalar(20.0).reshape(shape), targets(), smoothing),
            |x| stock::cross_entropy(x[0].clone().mul_scalar(20.0).reshape(shape), targets(), smoothing),
        );
    }
}

#[test]
fn convolution_takes_views_constants_and_no_bias() {
    let options = Conv2dOptions { stride: 1, padding: 1, relu: true, pool: false };
    let run = |function: fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, Conv2dOptions) -> Tensor<4>| {
        let (view, weight) = (tensor([3, 8, 6, 2], 1).detach().permute([0, 3, 1, 2]), tensor([4, 2, 3, 3], 2));
        let output = function(view, weight.clone(), None, options);
        let gradient = weight.grad(&output.clone().sum().backward()).expect("a gradient");
        (values(output), values(gradient))
    };
    let ((actual, actual_gradient), (expected, expected_gradient)) = (run(conv2d), run(stock::conv2d));
    assert_close(&actual, &expected, "output");
    assert_close(&actual_gradient, &expected_gradient, "gradient");
}

#[test]
fn convolution_is_pointwise_with_1x1_kernels() {
    for pool in [false, true] {
        assert_conv([3, 5, 4, 6], [7, 1], Conv2dOptions { stride: 1, padding: 0, relu: true, pool });
    }
    assert_conv([1, 1, 2, 2], [1, 1], Conv2dOptions { stride: 1, padding: 0, relu: false, pool: true });
}

/// The convolution as its formula says it, in `f64`.
fn convolution_by_formula(geometry: &conv::Geometry, input: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let conv::Geometry { batch, channels_in, height, width, channels_out, kernel, stride, padding, .. } = *geometry;
    let [output_height, output_width] = geometry.output();
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
            output.push(if geometry.finish.relu { sum.max(0.0) } else { sum });
        }
    }
    output
}

/// The slope of `function` along each value, by central differences.
fn slopes(at: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f32> {
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
fn convolution_gradients_are_the_slopes() {
    for (stride, padding, relu) in [(1, 0, false), (2, 1, true), (1, 2, true)] {
        let finish = Finish { relu, pool: false };
        let geometry = conv::Geometry {
            batch: 2,
            channels_in: 2,
            height: 5,
            width: 4,
            channels_out: 3,
            kernel: 3,
            stride,
            padding,
            finish,
        };
        let (input, weight, bias) = (random(80, 1), random(54, 2), random(3, 3));
        let output = conv::forward(&geometry, &input, &weight, &bias).output;
        let cotangent = random(output.len(), 4);
        let saved = conv::Saved { input: &input, weight: &weight, output: &output, winners: &[] };
        let wanted = conv::Wanted { input: true, parameters: true };
        let gradients = conv::backward(&geometry, saved, &cotangent, wanted);
        let [input, weight, bias, cotangent] = [&input, &weight, &bias, &cotangent].map(|values| wide(values));
        let total = |input: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
            let output = convolution_by_formula(&geometry, input, weight, bias);
            output.iter().zip(&cotangent).map(|(value, weight)| value * weight).sum()
        };
        assert_close(&gradients.input, &slopes(&input, |input| total(input, &weight, &bias)), "input");
        assert_close(&gradients.weight, &slopes(&weight, |weight| total(&input, weight, &bias)), "weight");
        assert_close(&gradients.bias, &slopes(&bias, |bias| total(&input, &weight, bias)), "bias");
    }
}

#[test]
fn cross_entropy_gradients_are_the_slopes() {
    let (logits, targets, smoothing) = (random(12, 5), [3, 0, 1], 0.1);
    let result = loss::cross_entropy(&logits, 4, &targets, smoothing);
    let by_formula = |logits: &[f64]| -> f64 {
        let row = |(row, target): (&[f64], &usize)| -> f64 {
            let log_total = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            let share = |k: usize| f64::from(smoothing) / 4.0 + f64::from(1.0 - smoothing) * f64::from(k == *target);
            row.iter().enumerate().map(|(k, logit)| share(k) * (log_total - logit)).sum()
        };
        logits.chunks(4).zip(&targets).map(row).sum::<f64>() / 3.0
    };
    assert_close(&[result.loss], &[by_formula(&wide(&logits)) as f32], "loss");
    assert_close(&result.gradient, &slopes(&wide(&logits), by_formula), "gradient");
}

#[test]
fn batch_norm_gradients_are_the_slopes() {
    let finish = Finish { relu: false, pool: false };
    let geometry = norm::Geometry { batch: 3, channels: 2, height: 2, width: 3, epsilon: 1e-3, finish };
    let (input, gamma, beta, cotangent) = (random(36, 6), random(2, 7), random(2, 8), random(36, 9));
    let forward = norm::forward(&geometry, &input, &gamma, &beta);
    let saved = norm::Saved {
        input: &input,
        gamma: &gamma,
        mean: &forward.mean,
        variance: &forward.variance,
        output: &[],
        winners: &[],
    };
    let gradients = norm::backward(&geometry, saved, &cotangent);
    let (cotangent, epsilon) = (wide(&cotangent), geometry.epsilon);
    let total = |input: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
        let channel = |c: usize| -> f64 {
            let of = |values: &[f64]| -> Vec<f64> { (0..36).filter(|i| i / 6 % 2 == c).map(|i| values[i]).collect() };
            let (x, dy) = (of(input), of(&cotangent));
            let mean = x.iter().sum::<f64>() / 18.0;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 18.0;
            let value = |x: &f64| gamma[c] * (x - mean) / (variance + epsilon).sqrt() + beta[c];
            x.iter().zip(&dy).map(|(x, dy)| value(x) * dy).sum()
        };
        channel(0) + channel(1)
    };
    let (input, gamma, beta) = (wide(&input), wide(&gamma), wide(&beta));
    assert_close(&gradients.input, &slopes(&input, |input| total(input, &gamma, &beta)), "input");
    assert_close(&gradients.gamma, &slopes(&gamma, |gamma| total(&input, gamma, &beta)), "gamma");
    assert_close(&gradients.beta, &slopes(&beta, |beta| total(&input, &gamma, beta)), "beta");
}

#[test]
fn batch_norm_moves_the_running_statistics_as_the_stock_one() {
    let device = Device::flex().autodiff();
    let options = NormOptions { relu: true, pool: false };
    let input = tensor([4, 3, 5, 5], 1).add_scalar(0.7);
    let (ours, theirs) = (BatchNormConfig::new(3).init(&device), BatchNormConfig::new(3).init(&device));
    for _ in 0..2 {
        let actual = batch_norm(&ours, input.clone(), options);
        assert_close(&values(actual), &values(stock::batch_norm(&theirs, input.clone(), options)), "output");
    }
    let running = |norm: &BatchNorm| [norm.running_mean.value_sync(), norm.running_var.value_sync()].map(values);
    for (actual, expected) in running(&ours).iter().zip(&running(&theirs)) {
        assert_close(actual, expected, "running statistics");
    }
}

#[test]
fn dropout_drops_its_share_and_the_same_values_on_the_way_back() {
    let input = Tensor::<2>::ones([300, 200], (&Device::flex().autodiff(), DType::F32)).require_grad();
    let output = dropout(input.clone(), 0.25, 7);
    let gradient = values(input.grad(&output.clone().sum().backward()).expect("gradient"));
    let output = values(output);
    assert_eq!(output, gradient);
    let dropped = output.iter().filter(|value| **value == 0.0).count() as f64 / output.len() as f64;
    assert!((dropped - 0.25).abs() < 0.01, "{dropped}");
    assert!(output.iter().all(|value| *value == 0.0 || (*value - 4.0 / 3.0).abs() < 1e-6));
    assert_eq!(output, values(stock::dropout(input.clone(), 0.25, 7)));
    assert_ne!(output, values(dropout(input, 0.25, 8)));
}

#[test]
fn updates_are_the_stock_ones() {
    let plain = |seed: u64| tensor([5, 7], seed).inner();
    for decay in [Decay::Penalty(0.0), Decay::Penalty(0.1), Decay::Decoupled(0.1)] {
        let step = |time| AdamStep { learning_rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, decay, time };
        let mut ours = (plain(1), [plain(2).mul_scalar(0.0), plain(2).mul_scalar(0.0)]);
        let mut theirs = ours.clone();
        for time in 1..4 {
            ours = adam(step(time), plain(time as u64 + 5), ours.0, ours.1);
            theirs = stock::adam(step(time), plain(time as u64 + 5), theirs.0, theirs.1);
            assert_close(&values(ours.0.clone()), &values(theirs.0.clone()), "parameter");
            assert_close(&values(ours.1[1].clone()), &values(theirs.1[1].clone()), "second moment");
        }
    }
    for nesterov in [false, true] {
        let step = SgdStep { learning_rate: 0.1, momentum: 0.9, nesterov, penalty: 0.01 };
        let mut ours = (plain(1), plain(2).mul_scalar(0.0));
        let mut theirs = ours.clone();
        for seed in 3..6 {
            ours = sgd(step, plain(seed), ours.0, ours.1);
            theirs = stock::sgd(step, plain(seed), theirs.0, theirs.1);
            assert_close(&values(ours.0.clone()), &values(theirs.0.clone()), "parameter");
            assert_close(&values(ours.1.clone()), &values(theirs.1.clone()), "velocity");
        }
    }
}

#[test]
fn an_update_leaves_a_shared_parameter_alone() {
    let parameter = tensor([3], 1).inner();
    let before = values(parameter.clone());
    let step = SgdStep { learning_rate: 0.1, momentum: 0.0, nesterov: false, penalty: 0.0 };
    let (moved, _) = sgd(step, parameter.ones_like(), parameter.clone(), parameter.zeros_like());
    assert_eq!(values(parameter), before);
    assert_ne!(values(moved), before);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let finish = Finish { relu: true, pool: true };
            let sizes = [37, 3, 14, 13];
            let [batch, channels_in, height, width] = sizes;
            let (channels_out, kernel, stride, padding) = (24, 3, 1, 1);
            let geometry =
                conv::Geometry { batch, channels_in, height, width, channels_out, kernel, stride, padding, finish };
            let (input, weight, bias) = (random(sizes.iter().product(), 1), random(24 * 27, 2), random(24, 3));
            let forward = conv::forward(&geometry, &input, &weight, &bias);
            let saved =
                conv::Saved { input: &input, weight: &weight, output: &forward.output, winners: &forward.winners };
            let wanted = conv::Wanted { input: true, parameters: true };
            let gradients = conv::backward(&geometry, saved, &forward.output, wanted);
            let layer = linear::Geometry { batch: 100, inputs: 1500, outputs: 130, relu: false };
            let (x, w) = (random(150_000, 4), random(195_000, 5));
            let y = linear::forward(&layer, &x, &w, &random(130, 6));
            let back = [linear::input_gradient(&layer, &w, &y), linear::weight_gradient(&layer, &x, &y)].concat();
            let dropped = dropout::dropout(&x, 0.5, 9);
            [forward.output, gradients.input, gradients.weight, gradients.bias, y, back, dropped].concat()
        })
    };
    let one = on(1);
    for threads in [2, 3, 7] {
        assert!(one == on(threads), "{threads} threads");
    }
}
