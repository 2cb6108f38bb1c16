//! The same operations composed from Burn's own: for devices without kernels, and as the reference in tests.

use burn::module::Param;
use burn::nn::{BatchNorm, GroupNorm};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Int, Tensor, TensorData, activation, module};

use super::kernels::dropout as mask;
use super::options::{AdamStep, Conv2dOptions, NormOptions, Normalised, SgdStep};

/// See [`super::conv2d`].
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Tensor<4> {
    let geometry = ConvOptions::new([options.stride; 2], [options.padding; 2], [1, 1], 1);
    epilogue(module::conv2d(input, weight, bias, geometry), options.relu, options.pool)
}

/// See [`super::linear`].
pub fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, relu: bool) -> Tensor<2> {
    let output = module::linear(input, weight, bias);
    if relu { activation::relu(output) } else { output }
}

/// See [`super::batch_norm_train`].
pub fn batch_norm_train(
    input: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    options: NormOptions,
) -> Normalised {
    let result = module::batch_norm_train(input, gamma, beta, epsilon);
    let output = epilogue(result.output, options.relu, options.pool);
    Normalised { output, mean: result.mean, variance: result.variance }
}

/// See [`super::sum_relu`].
pub fn sum_relu(left: Tensor<4>, right: Tensor<4>) -> Tensor<4> {
    activation::relu(left + right)
}

/// See [`super::batch_norm`].
pub fn batch_norm(norm: &BatchNorm, input: Tensor<4>, options: NormOptions) -> Tensor<4> {
    epilogue(norm.forward(input), options.relu, options.pool)
}

/// See [`super::group_norm`].
pub fn group_norm(norm: &GroupNorm, input: Tensor<4>, options: NormOptions) -> Tensor<4> {
    let channels = norm.num_channels;
    let of_group = |values: Tensor<4>| mean_of_groups(values, norm.num_groups);
    let per_channel = |values: &Param<Tensor<1>>| values.val().reshape([1, channels, 1, 1]);
    let centred = input.clone() - of_group(input); // [batch, channels, height, width]
    let deviation = of_group(centred.clone() * centred.clone()).add_scalar(norm.epsilon).sqrt(); // [batch, channels, 1, 1]
    let output = match &norm.gamma {
        None => centred / deviation,
        Some(gamma) => centred * (per_channel(gamma) / deviation),
    };
    let output = match &norm.beta {
        None => output,
        Some(beta) => output + per_channel(beta),
    };
    epilogue(output, options.relu, options.pool)
}

/// The mean over the channels of each group and over height and width, once for each channel: `[batch, channels, 1, 1]`. As sums and
/// convolutions with constant weights: groups as a dimension of their own would be simpler, but the exporter to ONNX does
/// not follow a batch of any size through that, and knows no mean.
fn mean_of_groups(values: Tensor<4>, groups: usize) -> Tensor<4> {
    let [_, channels, height, width] = values.dims();
    let options = (&values.device(), values.dtype());
    let constant =
        |value: f32, shape: [usize; 4]| Tensor::<4>::from_data(TensorData::new(vec![value; channels], shape), options);
    let of_each = channels / groups;
    let mean = constant(1.0 / (of_each * height * width) as f32, [groups, of_each, 1, 1]);
    let spread = constant(1.0, [channels, 1, 1, 1]);
    let geometry = || ConvOptions::new([1, 1], [0, 0], [1, 1], groups);
    let sums = values.sum_dim(3).sum_dim(2); // [batch, channels, 1, 1]
    module::conv2d(module::conv2d(sums, mean, None, geometry()), spread, None, geometry())
}

/// See [`super::cross_entropy`].
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let log_probabilities = activation::log_softmax(logits, 1);
    let hit = log_probabilities.clone().gather(1, targets.reshape([batch, 1])).mean();
    if smoothing == 0.0 {
        return hit.neg();
    }
    let all = log_probabilities.sum().div_scalar((batch * classes) as f32);
    (hit.mul_scalar(1.0 - smoothing) + all.mul_scalar(smoothing)).neg()
}

/// As [`super::cross_entropy`], where the loss of each image is multiplied by the one of `weights` that belongs to its target,
/// before the mean over the batch is taken. Composed of Burn's own operations: they are few, on few numbers.
pub fn weighted_cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    smoothing: f32,
    weights: &[f32],
) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let weights =
        Tensor::<1>::from_data(TensorData::new(weights.to_vec(), [weights.len()]), (&logits.device(), logits.dtype()));
    let weights = weights.select(0, targets.clone()).reshape([batch, 1]); // [batch, 1]
    let log_probabilities = activation::log_softmax(logits, 1);
    let hit = log_probabilities.clone().gather(1, targets.reshape([batch, 1])); // [batch, 1]
    let loss = match smoothing {
        0.0 => hit,
        smoothing => {
            let all = log_probabilities.sum_dim(1).div_scalar(classes as f32);
            hit.mul_scalar(1.0 - smoothing) + all.mul_scalar(smoothing)
        }
    };
    (loss * weights).mean().neg()
}

/// See [`super::dropout`].
pub fn dropout<const D: usize>(input: Tensor<D>, probability: f64, seed: u64) -> Tensor<D> {
    let ones = vec![1.0; input.dims().iter().product()];
    let mask = TensorData::new(mask::dropout(&ones, probability, seed), input.dims());
    let mask = Tensor::from_data(mask, (&input.device(), input.dtype()));
    input * mask
}

/// See [`super::adam`].
pub fn adam<const D: usize>(
    step: AdamStep,
    gradient: Tensor<D>,
    parameter: Tensor<D>,
    [first, second]: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let constants = step.constants();
    let gradient = match constants.penalty {
        0.0 => gradient,
        penalty => gradient + parameter.clone().mul_scalar(penalty),
    };
    let first = first.mul_scalar(constants.beta_1) + gradient.clone().mul_scalar(1.0 - constants.beta_1);
    let second = second.mul_scalar(constants.beta_2) + gradient.square().mul_scalar(1.0 - constants.beta_2);
    let step = first.clone().mul_scalar(constants.rate) / second.clone().sqrt().add_scalar(constants.epsilon);
    let parameter = match constants.keep {
        1.0 => parameter,
        keep => parameter.mul_scalar(keep),
    };
    (parameter - step, [first, second])
}

/// The parts one after another, each filled up with zeros to a multiple of `alignment`.
pub fn joined(parts: Vec<Tensor<1>>, alignment: usize) -> Tensor<1> {
    let filled = |part: Tensor<1>| {
        let missing = part.dims()[0].next_multiple_of(alignment) - part.dims()[0];
        let zeros = (missing > 0).then(|| Tensor::zeros([missing], (&part.device(), part.dtype())));
        std::iter::once(part).chain(zeros)
    };
    Tensor::cat(parts.into_iter().flat_map(filled).collect(), 0)
}

/// How many rows of `logits` `[batch, classes]` are largest at their target: `[1]`.
pub fn right_answers(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    logits.argmax(1).flatten::<1>(0, 1).equal(targets).float().sum()
}

/// See [`super::tally`].
pub fn tally(logits: Tensor<2>, targets: Tensor<1, Int>, loss: Tensor<1>, before: Tensor<1>) -> Tensor<1> {
    let images = targets.dims()[0];
    before + Tensor::cat(vec![loss.mul_scalar(images as f32), right_answers(logits, targets)], 0)
}

/// See [`super::sgd`].
pub fn sgd<const D: usize>(
    step: SgdStep,
    gradient: Tensor<D>,
    parameter: Tensor<D>,
    velocity: Tensor<D>,
) -> (Tensor<D>, Tensor<D>) {
    let constants = step.constants();
    let gradient = match constants.penalty {
        0.0 => gradient,
        penalty => gradient + parameter.clone().mul_scalar(penalty),
    };
    let velocity = velocity.mul_scalar(constants.momentum) + gradient.clone();
    let direction = match constants.nesterov {
        true => gradient + velocity.clone().mul_scalar(constants.momentum),
        false => velocity.clone(),
    };
    (parameter - direction.mul_scalar(constants.rate), velocity)
}

fn epilogue(output: Tensor<4>, relu: bool, pool: bool) -> Tensor<4> {
    let output = if relu { activation::relu(output) } else { output };
    if pool { module::max_pool2d(output, MaxPoolOptions::new([2, 2])) } else { output }
}
