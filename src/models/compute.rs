//! The operations under the layers, from Burn's stock operations.

use burn::nn::BatchNorm;
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Tensor, TensorData, activation, module};
use rand::{Rng as _, SeedableRng as _};

/// What a convolution does besides convolving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv2dOptions {
    pub stride: usize,
    pub padding: usize,
    pub relu: bool,
    pub pool: bool,
}

/// What follows a batch norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormOptions {
    pub relu: bool,
    pub pool: bool,
}

/// Convolution, bias, ReLU, 2x2 max-pool.
pub(super) fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let geometry = ConvOptions::new([options.stride; 2], [options.padding; 2], [1, 1], 1);
    finish(module::conv2d(input, weight, bias, geometry), options.relu, options.pool)
}

/// Batch norm, ReLU, 2x2 max-pool.
pub(super) fn batch_norm(norm: &BatchNorm, input: Tensor<4>, options: NormOptions) -> Tensor<4> {
    finish(norm.forward(input), options.relu, options.pool)
}

/// Product with `weight` of `[inputs, outputs]`, bias, ReLU.
pub(super) fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, relu: bool) -> Tensor<2> {
    let output = module::linear(input, weight, bias);
    if relu { activation::relu(output) } else { output }
}

/// Zeroes a `share` of the values, chosen by `seed`, and scales the others by `1 / (1 - share)`.
pub(super) fn dropout(input: Tensor<2>, share: f64, seed: u64) -> Tensor<2> {
    let [rows, columns] = input.dims();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let threshold = (share * f64::from(u32::MAX)) as u32;
    let kept = (1.0 / (1.0 - share)) as f32;
    let mask = (0..rows * columns).map(|_| if rng.next_u32() < threshold { 0.0 } else { kept }).collect::<Vec<f32>>();
    let mask = Tensor::from_data(TensorData::new(mask, [rows, columns]), (&input.device(), DType::F32));
    input * mask
}

fn finish(output: Tensor<4>, relu: bool, pool: bool) -> Tensor<4> {
    let output = if relu { activation::relu(output) } else { output };
    if pool { module::max_pool2d(output, MaxPoolOptions::new([2, 2])) } else { output }
}
