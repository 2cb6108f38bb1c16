//! In place of the kernels for GPUs where no backend for GPUs is compiled in: there is nothing that they could run on, and what
//! asks for them gets Burn's operations.

use burn::tensor::{Device, Int, Tensor};

use super::options::{AdamStep, Conv2dOptions};
use super::stock;

pub(super) fn is_cube(_: &Device) -> bool {
    false
}

pub(super) fn is_small(_: &Tensor<4>, _: &Tensor<4>, _: Conv2dOptions) -> bool {
    false
}

pub(super) fn conv2d(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, options: Conv2dOptions) -> Tensor<4> {
    stock::conv2d(input, weight, Some(bias), options)
}

pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    stock::cross_entropy(logits, targets, smoothing)
}

pub(super) fn tally(logits: Tensor<2>, targets: Tensor<1, Int>, loss: Tensor<1>, before: Tensor<1>) -> Tensor<1> {
    stock::tally(logits, targets, loss, before)
}

pub(super) fn adam(
    step: AdamStep,
    gradients: &[Tensor<1>],
    parameters: Tensor<1>,
    moments: [Tensor<1>; 2],
    alignment: usize,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    stock::adam(step, stock::joined(gradients.to_vec(), alignment), parameters, moments)
}
