//! The operations under the networks, the loss and the optimizers.
//!
//! On the CPU backends they run kernels of our own ([`kernels`]), plugged into Burn by its backend extension, with
//! hand-written gradients; on every other device, and for tensors that are not `f32`, the same functions put Burn's
//! [`stock`] operations together. `KILN_STOCK_OPS=1` in the environment turns the kernels off. With kernels, results do
//! not depend on the number of threads.

mod autodiff;
mod extension;
mod host;
pub mod kernels;
pub mod stock;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use burn::backend::Dispatch;
use burn::module::RunningState;
use burn::nn::BatchNorm;
use burn::tensor::{DType, Device, Int, Tensor};

use extension::{Kernels as _, Updates as _};

/// How a convolution moves over its input, and what follows it, in this order: bias, ReLU, pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step between output positions, at least 1.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Whether negative values become 0.
    pub relu: bool,
    /// Whether a 2x2 max-pool with stride 2 follows; an odd last row or column is left out.
    pub pool: bool,
}

/// What follows a batch norm, in this order: ReLU, pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormOptions {
    /// Whether negative values become 0.
    pub relu: bool,
    /// Whether a 2x2 max-pool with stride 2 follows; an odd last row or column is left out.
    pub pool: bool,
}

static STOCK_ONLY: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("KILN_STOCK_OPS").is_some_and(|value| value == "1"));

/// Which operations compute on the CPU in this process: `kiln`, its kernels, or `stock`, Burn's. The two differ in the last
/// bits.
pub(crate) fn in_use() -> &'static str {
    if *STOCK_ONLY { "stock" } else { "kiln" }
}

/// What computes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Kernels,
    Stock,
}

impl Path {
    /// The fastest way to compute with this tensor.
    fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        let has_kernels = !*STOCK_ONLY && tensor.dtype() == DType::F32 && is_host(&tensor.device());
        if has_kernels { Self::Kernels } else { Self::Stock }
    }
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

/// A bias that does nothing, for layers without one.
fn zeros<const D: usize>(length: usize, like: &Tensor<D>) -> Tensor<1> {
    Tensor::zeros([length], (&like.device(), DType::F32))
}

/// Convolves `input` `[batch, in, height, width]` with `weight` `[out, in, k, k]`, adds `bias` `[out]`, then ReLU and
/// max-pool as asked: `[batch, out, height', width']`.
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Tensor<4> {
    match Path::of(&input) {
        Path::Stock => stock::conv2d(input, weight, bias, options),
        Path::Kernels => {
            let bias = bias.unwrap_or_else(|| zeros(weight.dims()[0], &input)).into_dispatch();
            let output = Dispatch::kiln_conv2d(input.into_dispatch(), weight.into_dispatch(), bias, options);
            Tensor::from_dispatch(output)
        }
    }
}

/// `input` `[batch, in]` times `weight` `[in, out]`, plus `bias` `[out]`, then ReLU if asked: `[batch, out]`.
pub fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, relu: bool) -> Tensor<2> {
    match Path::of(&input) {
        Path::Stock => stock::linear(input, weight, bias, relu),
        Path::Kernels => {
            let bias = bias.unwrap_or_else(|| zeros(weight.dims()[1], &input)).into_dispatch();
            Tensor::from_dispatch(Dispatch::kiln_linear(input.into_dispatch(), weight.into_dispatch(), bias, relu))
        }
    }
}

/// A batch normalised by its own statistics.
#[derive(Clone, Debug)]
pub struct Normalised {
    /// `[batch, channels, height, width]`.
    pub output: Tensor<4>,
    /// The mean of each channel over batch, height and width: `[channels]`, without a gradient.
    pub mean: Tensor<1>,
    /// The biased variance likewise.
    pub variance: Tensor<1>,
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
    match Path::of(&input) {
        Path::Stock => stock::batch_norm_train(input, gamma, beta, epsilon, options),
        Path::Kernels => {
            let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
            let (output, mean, variance) = Dispatch::kiln_batch_norm(input, gamma, beta, epsilon, options);
            let (mean, variance) = (Tensor::from_dispatch(mean), Tensor::from_dispatch(variance));
            Normalised { output: Tensor::from_dispatch(output), mean, variance }
        }
    }
}

/// [`BatchNorm::forward`], then ReLU and max-pool as asked: by the batch's own statistics, which move the running ones,
/// on a training device in training mode; else by the running ones.
pub fn batch_norm(norm: &BatchNorm, input: Tensor<4>, options: NormOptions) -> Tensor<4> {
    let device = input.device();
    if Path::of(&input) == Path::Stock || !(device.is_autodiff() && norm.training.is_enabled()) {
        return stock::batch_norm(norm, input, options);
    }
    let result = batch_norm_train(input, norm.gamma.val(), norm.beta.val(), norm.epsilon, options);
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
    match Path::of(&logits) {
        Path::Stock => stock::cross_entropy(logits, targets, smoothing),
        Path::Kernels => {
            let loss = Dispatch::kiln_cross_entropy(logits.into_dispatch(), targets.into_dispatch(), smoothing);
            Tensor::from_dispatch(loss)
        }
    }
}

/// Zeroes the `share` of the values that `seed` and their index pick and multiplies the others by `1 / (1 - share)`;
/// the same values on every device.
pub fn dropout<const D: usize>(input: Tensor<D>, share: f64, seed: u64) -> Tensor<D> {
    match Path::of(&input) {
        Path::Stock => stock::dropout(input, share, seed),
        Path::Kernels => Tensor::from_dispatch(Dispatch::kiln_dropout(input.into_dispatch(), share, seed)),
    }
}

/// One Adam or AdamW update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate of this update.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients.
    pub beta_1: f32,
    /// Decay of the mean of their squares.
    pub beta_2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// Weight decay.
    pub decay: Decay,
    /// Which update of this parameter it is, counted from 1.
    pub time: usize,
}

/// Weight decay of an [`AdamStep`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// This share of the parameter is added to the gradient: Adam's L2 penalty.
    Penalty(f32),
    /// The parameter shrinks by this share times the learning rate: AdamW.
    Decoupled(f32),
}

impl AdamStep {
    fn constants(self) -> kernels::update::Adam {
        let Self { learning_rate, beta_1, beta_2, epsilon, decay, time } = self;
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        // In f64: for beta_2 = 0.999, the difference from 1 keeps few digits in f32.
        let root = (1.0 - f64::from(beta_2).powi(time)).sqrt();
        let (penalty, keep) = match decay {
            Decay::Penalty(penalty) => (penalty, 1.0),
            Decay::Decoupled(share) => (0.0, 1.0 - learning_rate * f64::from(share)),
        };
        kernels::update::Adam {
            beta_1,
            beta_2,
            rate: (learning_rate * root / (1.0 - f64::from(beta_1).powi(time))) as f32,
            epsilon: (f64::from(epsilon) * root) as f32,
            penalty,
            keep: keep as f32,
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
    match Path::of(&parameter) {
        Path::Stock => stock::adam(step, gradient, parameter, moments),
        Path::Kernels => {
            let [first, second] = moments.map(Tensor::into_dispatch);
            let (gradient, parameter) = (gradient.into_dispatch(), parameter.into_dispatch());
            let (parameter, first, second) = Dispatch::kiln_adam(gradient, parameter, first, second, step.constants());
            (Tensor::from_dispatch(parameter), [Tensor::from_dispatch(first), Tensor::from_dispatch(second)])
        }
    }
}

/// One step of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the velocity; 0: plain gradient descent.
    pub momentum: f64,
    /// Whether to look ahead along the velocity.
    pub nesterov: bool,
    /// This share of the parameter is added to the gradient.
    pub penalty: f64,
}

impl SgdStep {
    fn constants(self) -> kernels::update::Sgd {
        let Self { learning_rate, momentum, nesterov, penalty } = self;
        let (rate, momentum, penalty) = (learning_rate as f32, momentum as f32, penalty as f32);
        kernels::update::Sgd { rate, momentum, nesterov, penalty }
    }
}

/// Parameter and velocity after one step along `gradient`; the velocity starts at 0, without a gradient graph.
pub fn sgd<const D: usize>(
    step: SgdStep,
    gradient: Tensor<D>,
    parameter: Tensor<D>,
    velocity: Tensor<D>,
) -> (Tensor<D>, Tensor<D>) {
    match Path::of(&parameter) {
        Path::Stock => stock::sgd(step, gradient, parameter, velocity),
        Path::Kernels => {
            let (gradient, parameter) = (gradient.into_dispatch(), parameter.into_dispatch());
            let (parameter, velocity) =
                Dispatch::kiln_sgd(gradient, parameter, velocity.into_dispatch(), step.constants());
            (Tensor::from_dispatch(parameter), Tensor::from_dispatch(velocity))
        }
    }
}
