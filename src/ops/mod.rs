//! The operations under the networks, the loss and the optimizers.
//!
//! On the CPU backends they run kernels of our own ([`kernels`]), plugged into Burn by its backend extension, with
//! hand-written gradients; on GPUs some of them run kernels in CubeCL ([`cube`]), so that a device is asked for little. Everything
//! else, and what is not `f32`, is put together from Burn's [`stock`] operations. `KILN_STOCK_OPS=1` in the environment turns the
//! kernels off. With kernels on the CPU, results do not depend on the number of threads.
//!
//! Files import one way: `autodiff` -> `extension` -> `host`; this file -> `extension`, `cube`, `stock`; all -> `options`,
//! `profile` -> `kernels`. `transfer` is how training's values get to a device and back, `launches` counts what it is asked for.

mod autodiff;
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")), path = "no_cube.rs")]
mod cube;
mod extension;
mod host;
pub(crate) mod launches;
mod options;
pub(crate) mod profile;
mod stock;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;

use std::sync::LazyLock;

use burn::backend::Dispatch;
use burn::module::RunningState;
use burn::nn::{BatchNorm, GroupNorm};
use burn::tensor::{DType, Device, Int, Tensor};

use extension::{Kernels as _, Updates as _};
pub(crate) use kernels::compiled::{Compiled, Compiler, ConvLayer, GroupNormLayer};
use kiln_kernels as kernels;
pub(crate) use kiln_kernels::bytes;
pub use options::{AdamStep, Conv2dOptions, Decay, GroupNormOptions, NormOptions, Normalised, SgdStep};
pub use stock::weighted_cross_entropy;
pub(crate) use stock::{joined, right_answers};

static STOCK_ONLY: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("KILN_STOCK_OPS").is_some_and(|value| value == "1"));

/// Which operations compute in this process: `kiln`, its kernels, or `stock`, Burn's. The two differ in the last
/// bits.
pub(crate) fn in_use() -> &'static str {
    if *STOCK_ONLY { "stock" } else { "kiln" }
}

/// What computes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Implementation {
    Kernels,
    Stock,
}

impl Implementation {
    /// The fastest way to compute with this tensor.
    fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        let has_kernels = !*STOCK_ONLY && tensor.dtype() == DType::F32 && is_host(&tensor.device());
        if has_kernels { Self::Kernels } else { Self::Stock }
    }
}

/// The scalar products of each row of `a` with each row of `b`, all of this `length`: `[rows of a, rows of b]`. On the CPU.
pub(crate) fn products_of_rows(a: &[f32], b: &[f32], length: usize) -> Vec<f32> {
    let (rows, others) = (a.len() / length, b.len() / length);
    let geometry = kernels::linear::Geometry::new([rows, others], [others, length], false);
    kernels::linear::input_gradient(&geometry, b, a)
}

/// Whether networks on this device can be [compiled](Compiler) for inference.
pub(crate) fn can_compile(device: &Device) -> bool {
    !*STOCK_ONLY && is_host(device)
}

/// Whether tensors of this device are arrays in this process' memory.
fn is_host(device: &Device) -> bool {
    #[cfg(feature = "ndarray")]
    #[allow(deprecated, reason = "kiln offers the backend as long as Burn does")]
    if *device == Device::ndarray() {
        return true;
    }
    *device == Device::flex()
}

/// Whether this device waits for requests more than it computes, so that they are to be few: any GPU.
pub(crate) fn counts_requests(device: &Device) -> bool {
    !*STOCK_ONLY && cube::is_cube(device)
}

/// The kernels that [`cube`] has for this tensor.
fn cube_kernels<const D: usize>(tensor: &Tensor<D>) -> Option<cube::Kernels> {
    let can_be = !*STOCK_ONLY && tensor.dtype() == DType::F32;
    can_be.then(|| cube::Kernels::of(&tensor.device())).flatten()
}

/// The bias of layers without one.
fn zeros<const D: usize>(length: usize, like: &Tensor<D>) -> Tensor<1> {
    Tensor::zeros([length], (&like.device(), DType::F32))
}

/// Convolves `input` `[batch, in, height, width]` with `weight` `[out, in, k, k]`, adds `bias` `[out]`, then ReLU and
/// max-pool as asked: `[batch, out, height', width']`. It computes in the precision of `input`.
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Tensor<4> {
    let precision = input.dtype();
    let (weight, bias) = (weight.cast(precision), bias.map(|bias| bias.cast(precision)));
    match Implementation::of(&input) {
        Implementation::Stock => match cube_kernels(&input) {
            Some(kernels) if kernels.convolves(&input, &weight, options) => {
                let bias = bias.unwrap_or_else(|| zeros(weight.dims()[0], &input));
                kernels.conv2d(input, weight, bias, options)
            }
            _ => stock::conv2d(input, weight, bias, options),
        },
        Implementation::Kernels => {
            let bias = bias.unwrap_or_else(|| zeros(weight.dims()[0], &input)).into_dispatch();
            let output = Dispatch::kiln_conv2d(input.into_dispatch(), weight.into_dispatch(), bias, options);
            Tensor::from_dispatch(output)
        }
    }
}

/// `input` `[batch, in]` times `weight` `[in, out]`, plus `bias` `[out]`, then ReLU if asked: `[batch, out]`. It computes in the
/// precision of `input`.
pub fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, relu: bool) -> Tensor<2> {
    let precision = input.dtype();
    let (weight, bias) = (weight.cast(precision), bias.map(|bias| bias.cast(precision)));
    match Implementation::of(&input) {
        Implementation::Stock => stock::linear(input, weight, bias, relu),
        Implementation::Kernels => {
            let bias = bias.unwrap_or_else(|| zeros(weight.dims()[1], &input)).into_dispatch();
            Tensor::from_dispatch(Dispatch::kiln_linear(input.into_dispatch(), weight.into_dispatch(), bias, relu))
        }
    }
}

/// Batch norm of `input` `[batch, channels, height, width]` by its own statistics, times `gamma`, plus `beta`, both
/// `[channels]`, then ReLU and max-pool as asked.
pub fn batch_norm_train(
    input: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    options: NormOptions,
) -> Normalised {
    match Implementation::of(&input) {
        Implementation::Stock => match cube_kernels(&input) {
            Some(kernels) if kernels.normalises(&input) => {
                kernels.batch_norm_train(input, gamma, beta, epsilon, options)
            }
            _ => stock::batch_norm_train(input, gamma, beta, epsilon, options),
        },
        Implementation::Kernels => {
            let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
            let (output, mean, variance) = Dispatch::kiln_batch_norm(input, gamma, beta, epsilon, options);
            let (mean, variance) = (Tensor::from_dispatch(mean), Tensor::from_dispatch(variance));
            Normalised { output: Tensor::from_dispatch(output), mean, variance }
        }
    }
}

/// The same, plus `shortcut`, a tensor like `input`, then ReLU: the end of a residual block.
pub fn batch_norm_sum_train(
    input: Tensor<4>,
    shortcut: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Normalised {
    match Implementation::of(&input) {
        Implementation::Stock => {
            let bare = NormOptions { relu: false, pool: false };
            let result = batch_norm_train(input, gamma, beta, epsilon, bare);
            Normalised { output: sum_relu(result.output, shortcut), ..result }
        }
        Implementation::Kernels => {
            let tensors =
                [input.into_dispatch(), shortcut.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
            let [input, shortcut, gamma, beta] = tensors;
            let options = NormOptions { relu: true, pool: false };
            let (output, mean, variance) =
                Dispatch::kiln_batch_norm_sum(input, shortcut, gamma, beta, epsilon, options);
            let (mean, variance) = (Tensor::from_dispatch(mean), Tensor::from_dispatch(variance));
            Normalised { output: Tensor::from_dispatch(output), mean, variance }
        }
    }
}

/// `left + right`, then ReLU; both of one shape.
pub fn sum_relu(left: Tensor<4>, right: Tensor<4>) -> Tensor<4> {
    let has_kernel = Implementation::of(&left) == Implementation::Kernels && !left.device().is_autodiff();
    match has_kernel && !right.device().is_autodiff() {
        false => stock::sum_relu(left, right),
        true => Tensor::from_dispatch(Dispatch::kiln_sum_relu(left.into_dispatch(), right.into_dispatch())),
    }
}

/// [`BatchNorm::forward`], then ReLU and max-pool as asked: by the batch's own statistics, which move the running ones,
/// on a training device in training mode; else by the running ones. Statistics are taken in `f32`, whatever the input has.
pub fn batch_norm(norm: &BatchNorm, input: Tensor<4>, options: NormOptions) -> Tensor<4> {
    if input.dtype() != DType::F32 {
        let precision = input.dtype();
        return batch_norm(norm, input.cast(DType::F32), options).cast(precision);
    }
    if !has_training_kernel(norm, &input) {
        return stock::batch_norm(norm, input, options);
    }
    let result = batch_norm_train(input, norm.gamma.val(), norm.beta.val(), norm.epsilon, options);
    follow(norm, result)
}

/// [`BatchNorm::forward`] like [`batch_norm`], plus `shortcut`, then ReLU.
pub fn batch_norm_sum(norm: &BatchNorm, input: Tensor<4>, shortcut: Tensor<4>) -> Tensor<4> {
    if input.dtype() != DType::F32 {
        let precision = input.dtype();
        return batch_norm_sum(norm, input.cast(DType::F32), shortcut.cast(DType::F32)).cast(precision);
    }
    if !has_training_kernel(norm, &input) {
        return sum_relu(stock::batch_norm(norm, input, NormOptions { relu: false, pool: false }), shortcut);
    }
    follow(norm, batch_norm_sum_train(input, shortcut, norm.gamma.val(), norm.beta.val(), norm.epsilon))
}

/// As [`GroupNorm::forward`], then ReLU and max-pool as asked, the same in training and after; in `f32` like a batch norm.
pub fn group_norm(norm: &GroupNorm, input: Tensor<4>, options: NormOptions) -> Tensor<4> {
    if input.dtype() != DType::F32 {
        let precision = input.dtype();
        return group_norm(norm, input.cast(DType::F32), options).cast(precision);
    }
    let (Implementation::Kernels, Some(gamma), Some(beta)) = (Implementation::of(&input), &norm.gamma, &norm.beta)
    else {
        return stock::group_norm(norm, input, options);
    };
    let [input, gamma, beta] = [input.into_dispatch(), gamma.val().into_dispatch(), beta.val().into_dispatch()];
    let groups = GroupNormOptions { count: norm.num_groups, epsilon: norm.epsilon };
    Tensor::from_dispatch(Dispatch::kiln_group_norm(input, gamma, beta, groups, options))
}

/// Whether this norm trains, by a kernel.
fn has_training_kernel(norm: &BatchNorm, input: &Tensor<4>) -> bool {
    let has_kernel = Implementation::of(input) == Implementation::Kernels
        || cube_kernels(input).is_some_and(|kernels| kernels.normalises(input));
    has_kernel && input.device().is_autodiff() && norm.training.is_enabled()
}

/// Moves the running statistics of `norm` towards those of the batch: the output.
fn follow(norm: &BatchNorm, result: Normalised) -> Tensor<4> {
    let device = result.output.device();
    let update = |running: &RunningState<Tensor<1>>, batch: Tensor<1>| {
        let value = running.value_sync().to_device(&device).mul_scalar(1.0 - norm.momentum);
        running.update((value + batch.detach().mul_scalar(norm.momentum)).detach());
    };
    update(&norm.running_mean, result.mean);
    update(&norm.running_var, result.variance);
    result.output
}

/// The mean over the batch of the cross-entropy between softmax of `logits` `[batch, classes]` and `targets` `[batch]`, of
/// which `smoothing` is spread evenly over all classes: shape `[1]`, natural logarithm.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    match Implementation::of(&logits) {
        Implementation::Stock => match cube_kernels(&logits) {
            Some(kernels) => kernels.cross_entropy(logits, targets, smoothing),
            None => stock::cross_entropy(logits, targets, smoothing),
        },
        Implementation::Kernels => {
            let loss = Dispatch::kiln_cross_entropy(logits.into_dispatch(), targets.into_dispatch(), smoothing);
            Tensor::from_dispatch(loss)
        }
    }
}

/// Zeroes each value with this probability, as `seed` and its index pick, and multiplies the others by
/// `1 / (1 - probability)`; the same values on every device.
pub fn dropout<const D: usize>(input: Tensor<D>, probability: f64, seed: u64) -> Tensor<D> {
    match Implementation::of(&input) {
        Implementation::Stock => stock::dropout(input, probability, seed),
        Implementation::Kernels => {
            Tensor::from_dispatch(Dispatch::kiln_dropout(input.into_dispatch(), probability, seed))
        }
    }
}

/// Parameter and moments after one update with `gradient`; moments start at 0, without a gradient graph.
pub fn adam<const D: usize>(
    step: AdamStep,
    gradient: Tensor<D>,
    parameter: Tensor<D>,
    moments: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    match Implementation::of(&parameter) {
        Implementation::Stock => stock::adam(step, gradient, parameter, moments),
        Implementation::Kernels => {
            let [first, second] = moments.map(Tensor::into_dispatch);
            let (gradient, parameter) = (gradient.into_dispatch(), parameter.into_dispatch());
            let (parameter, first, second) = Dispatch::kiln_adam(gradient, parameter, first, second, step.constants());
            (Tensor::from_dispatch(parameter), [Tensor::from_dispatch(first), Tensor::from_dispatch(second)])
        }
    }
}

/// The most parameters that [`adam_of_parts`] updates at once.
const PARTS: usize = 4;

/// How many parameters like this one [`adam_of_parts`] updates at once: as many as its device binds to a kernel.
pub(crate) fn parts_of_an_update(parameter: &Tensor<1>) -> usize {
    cube_kernels(parameter).map_or(PARTS, cube::Kernels::parts)
}

/// [`adam`] on up to [`parts_of_an_update`] parameters at once: arrays of parts, where the part of each gradient begins at the
/// next multiple of `alignment` behind the one before.
pub(crate) fn adam_of_parts(
    step: AdamStep,
    gradients: &[Tensor<1>],
    parameters: Tensor<1>,
    moments: [Tensor<1>; 2],
    alignment: usize,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    match cube_kernels(&parameters) {
        Some(kernels) => kernels.adam(step, gradients, parameters, moments, alignment),
        None => adam(step, joined(gradients.to_vec(), alignment), parameters, moments),
    }
}

/// `before`, the sum of the losses and the number of right answers of images so far, with those of a batch: `[2]`. `loss` `[1]`
/// is the mean of the batch; without `before` it is the first.
pub(crate) fn tally(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    loss: Tensor<1>,
    before: Option<Tensor<1>>,
) -> Tensor<1> {
    let before = before.unwrap_or_else(|| zeros(2, &logits));
    match cube_kernels(&logits) {
        Some(kernels) => kernels.tally(logits, targets, loss, before),
        None => stock::tally(logits, targets, loss, before),
    }
}

/// Parameter and velocity after one step along `gradient`; the velocity starts at 0, without a gradient graph.
pub fn sgd<const D: usize>(
    step: SgdStep,
    gradient: Tensor<D>,
    parameter: Tensor<D>,
    velocity: Tensor<D>,
) -> (Tensor<D>, Tensor<D>) {
    match Implementation::of(&parameter) {
        Implementation::Stock => stock::sgd(step, gradient, parameter, velocity),
        Implementation::Kernels => {
            let (gradient, parameter) = (gradient.into_dispatch(), parameter.into_dispatch());
            let (parameter, velocity) =
                Dispatch::kiln_sgd(gradient, parameter, velocity.into_dispatch(), step.constants());
            (Tensor::from_dispatch(parameter), Tensor::from_dispatch(velocity))
        }
    }
}
