//! In place of the kernels for GPUs where no backend for GPUs is compiled in: no device has any, and nobody can ask one for
//! an operation.

use burn::tensor::{Device, Int, Tensor};

use super::options::{AdamStep, Conv2dOptions, NormOptions, Normalised};

pub(super) fn is_cube(_: &Device) -> bool {
    false
}

/// Kernels that are nowhere.
#[derive(Clone, Copy)]
pub(super) enum Kernels {}

impl Kernels {
    pub(super) fn of(_: &Device) -> Option<Self> {
        None
    }

    pub(super) fn convolves(self, _: &Tensor<4>, _: &Tensor<4>, _: Conv2dOptions) -> bool {
        match self {}
    }

    pub(super) fn conv2d(self, _: Tensor<4>, _: Tensor<4>, _: Tensor<1>, _: Conv2dOptions) -> Tensor<4> {
        match self {}
    }

    pub(super) fn normalises(self, _: &Tensor<4>) -> bool {
        match self {}
    }

    pub(super) fn batch_norm_train(
        self,
        _: Tensor<4>,
        _: Tensor<1>,
        _: Tensor<1>,
        _: f64,
        _: NormOptions,
    ) -> Normalised {
        match self {}
    }

    pub(super) fn cross_entropy(self, _: Tensor<2>, _: Tensor<1, Int>, _: f32) -> Tensor<1> {
        match self {}
    }

    pub(super) fn tally(self, _: Tensor<2>, _: Tensor<1, Int>, _: Tensor<1>, _: Tensor<1>) -> Tensor<1> {
        match self {}
    }

    pub(super) fn parts(self) -> usize {
        match self {}
    }

    pub(super) fn adam(
        self,
        _: AdamStep,
        _: &[Tensor<1>],
        _: Tensor<1>,
        _: [Tensor<1>; 2],
        _: usize,
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        match self {}
    }
}
