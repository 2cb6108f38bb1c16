//! Every kernel against the same operation composed from Burn's own.

use burn::module::{Param, ParamId};
use burn::nn::{BatchNormConfig, GroupNormConfig};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Int, Tensor, TensorData, activation, module};
use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;

/// Values in -1..1 that depend on `seed` only.
fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| rng.random_range(-1.0..1.0)).collect()
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= 2e-4 * (1.0 + expected.abs()), "{what}[{i}]: {actual} is not {expected}");
    }
}

/// Multiples of 1/64 in -1..1: sums of their products are exact in `f32` in any order, so that a kernel and its reference meet
/// the same ties in a max-pool and the same side of a ReLU.
fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values: Vec<f32> =
        random(shape.iter().product(), seed).into_iter().map(|value| (value * 64.0).round() / 64.0).collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex().autodiff(), DType::F32)).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
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
    fn batch_norm_with_a_shortcut_is_the_stock_one(
        batch in 2usize..9, channels in 1usize..7, height in 1usize..9, width in 1usize..9,
    ) {
        let shape = [batch, channels, height, width];
        // A channel of two or three values may have next to no variance, which magnifies any difference.
        prop_assume!(batch * height * width > 3);
        let image = |x: &Tensor<1>| x.clone().reshape(shape);
        let size = shape.to_vec();
        assert_same(
            &[size.clone(), size, vec![channels], vec![channels]],
            |x| batch_norm_sum_train(image(&x[0]), image(&x[1]), x[2].clone(), x[3].clone(), 1e-2).output,
            |x| {
                let bare = NormOptions { relu: false, pool: false };
                let normed = stock::batch_norm_train(image(&x[0]), x[2].clone(), x[3].clone(), 1e-2, bare);
                stock::sum_relu(normed.output, image(&x[1]))
            },
        );
    }

    #[test]
    fn the_sum_of_a_residual_block_is_the_stock_one(
        batch in 1usize..5, channels in 1usize..40, height in 1usize..20, width in 1usize..20,
    ) {
        let shape = [batch, channels, height, width];
        let (left, right) = (tensor(shape, 1).inner(), tensor(shape, 2).inner());
        let expected = values(stock::sum_relu(left.clone(), right.clone()));
        prop_assert_eq!(values(sum_relu(left, right)), expected);
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

    #[test]
    fn a_weight_counts_an_image_as_often(batch in 1usize..40, classes in 2usize..12, smoothing in 0.0f32..0.3) {
        let targets = (0..batch).map(|i| (i * 7 % classes) as i64).collect::<Vec<_>>();
        let targets = || Tensor::<1, Int>::from_data(TensorData::from(&targets[..]), &Device::flex());
        let shape = [batch, classes];
        let logits = |x: &[Tensor<1>]| x[0].clone().mul_scalar(20.0).reshape(shape);
        assert_same(
            &[shape.to_vec()],
            |x| weighted_cross_entropy(logits(x), targets(), smoothing, &vec![1.0; classes]),
            |x| cross_entropy(logits(x), targets(), smoothing),
        );
        // Each image alone, weighted by hand.
        let weights: Vec<f32> = (0..classes).map(|class| 0.5 + class as f32).collect();
        let each = |x: &[Tensor<1>]| {
            let rows = (0..batch).map(|row| {
                let logits = logits(x).slice([row..row + 1, 0..classes]);
                stock::cross_entropy(logits, targets().narrow(0, row, 1), smoothing)
                    .mul_scalar(weights[row * 7 % classes])
            });
            Tensor::cat(rows.collect(), 0).mean()
        };
        assert_same(&[shape.to_vec()], |x| weighted_cross_entropy(logits(x), targets(), smoothing, &weights), each);
    }

    // Up to 39,601 values: one block of the kernels, or several.
    #[test]
    fn updates_are_the_stock_ones(rows in 1usize..200, columns in 1usize..200) {
        let plain = |seed: u64| tensor([rows, columns], seed).inner();
        // The penalty is a power of 2, so that a gradient it cancels is 0 in either order of the sum: Adam steps by the
        // sign of whatever is left.
        for decay in [Decay::Penalty(0.0), Decay::Penalty(0.125), Decay::Decoupled(0.1)] {
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
fn group_norm_is_burns() {
    for (groups, [batch, channels, height, width]) in [(1, [2, 3, 4, 5]), (2, [3, 6, 7, 4]), (4, [1, 4, 3, 3])] {
        let shape = [batch, channels, height, width];
        let norm = |x: &[Tensor<1>]| {
            let param = |value: &Tensor<1>| Some(Param::initialized(ParamId::new(), value.clone()));
            let norm = GroupNormConfig::new(groups, channels).init(&Device::flex().autodiff());
            GroupNorm { gamma: param(&x[1]), beta: param(&x[2]), ..norm }
        };
        let image = |x: &[Tensor<1>]| x[0].clone().reshape(shape).add_scalar(0.7);
        let both: [fn(&GroupNorm, Tensor<4>, NormOptions) -> Tensor<4>; 2] = [group_norm, stock::group_norm];
        let options = [(false, false), (true, false), (false, true), (true, true)];
        for (ours, (relu, pool)) in both.into_iter().flat_map(|ours| options.map(|options| (ours, options))) {
            assert_same(
                &[shape.to_vec(), vec![channels], vec![channels]],
                |x| ours(&norm(x), image(x), NormOptions { relu, pool }),
                |x| {
                    let output = norm(x).forward(image(x));
                    let output = if relu { activation::relu(output) } else { output };
                    if pool { module::max_pool2d(output, MaxPoolOptions::new([2, 2])) } else { output }
                },
            );
        }
    }
}

#[test]
fn dropout_drops_with_its_probability_and_the_same_values_in_the_backward_pass() {
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
fn an_update_leaves_a_shared_parameter_alone() {
    let parameter = tensor([3], 1).inner();
    let before = values(parameter.clone());
    let step = SgdStep { learning_rate: 0.1, momentum: 0.0, nesterov: false, penalty: 0.0 };
    let (moved, _) = sgd(step, parameter.ones_like(), parameter.clone(), parameter.zeros_like());
    assert_eq!(values(parameter), before);
    assert_ne!(values(moved), before);
}

#[test]
fn layers_take_their_weights_in_the_precision_of_their_input_and_norms_theirs_in_f32() {
    let image = || tensor([3, 4, 6, 6], 1);
    let (weight, bias) = (tensor([5, 4, 3, 3], 2), tensor([5], 3));
    let options = Conv2dOptions { stride: 1, padding: 1, relu: true, pool: true };
    let norm = BatchNormConfig::new(5).init(&Device::flex().autodiff());
    let run = |precision: DType| {
        let images = conv2d(image().cast(precision), weight.clone(), Some(bias.clone()), options);
        assert_eq!(images.dtype(), precision);
        let images = batch_norm(&norm, images, NormOptions { relu: true, pool: false });
        assert_eq!(images.dtype(), precision);
        let output = linear(images.flatten(1, 3), tensor([45, 2], 4), None, false);
        assert_eq!(output.dtype(), precision);
        let gradients = output.clone().cast(DType::F32).sum().backward();
        let gradient = weight.grad(&gradients).expect("a gradient");
        assert_eq!(gradient.dtype(), DType::F32);
        (values(output.cast(DType::F32)), values(gradient))
    };
    let ((output, gradient), (rounded, rounded_gradient)) = (run(DType::F32), run(DType::BF16));
    for (exact, rounded) in [(output, rounded), (gradient, rounded_gradient)] {
        let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
        let difference: Vec<f32> = exact.iter().zip(&rounded).map(|(exact, rounded)| exact - rounded).collect();
        let share = norm(&difference) / norm(&exact);
        assert!(share > 0.0 && share < 0.05, "{share}");
    }
}
