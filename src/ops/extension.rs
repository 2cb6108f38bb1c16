//! The operations as an extension of Burn's backends: the kernels on tensors of host memory.
#![cfg_attr(feature = "ndarray", allow(deprecated, reason = "kiln offers the backend as long as Burn does"))]

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};

use super::host::Host;
use super::kernels::geometry::ConvGeometry;
use super::kernels::pool::Epilogue;
use super::kernels::{conv, dropout, linear, loss, norm, sum, update};
use super::options::{Conv2dOptions, GroupNormOptions, NormOptions};
use super::profile;

/// Operations with a kernel; `crate::ops` describes them.
#[backend_extension(Flex, NdArray: cfg(feature = "ndarray"), Autodiff)]
pub trait Kernels: Backend {
    /// Convolution and what follows it.
    fn kiln_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self>;

    /// Fully connected layer.
    fn kiln_linear(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self>;

    /// Batch norm in training mode and what follows it; also the batch's mean and biased variance.
    fn kiln_batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Batch norm in training mode of `input`, plus `shortcut`, then ReLU if asked; also the batch's mean and biased variance.
    fn kiln_batch_norm_sum(
        input: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Group norm and what follows it.
    fn kiln_group_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: GroupNormOptions,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// Mean cross-entropy.
    fn kiln_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>, smoothing: f32) -> FloatTensor<Self>;

    /// Dropout.
    fn kiln_dropout(input: FloatTensor<Self>, probability: f64, seed: u64) -> FloatTensor<Self>;
}

/// What has a kernel outside of the autodiff graph: optimizer updates, and the sum that ends a residual block.
#[backend_extension(Flex, NdArray: cfg(feature = "ndarray"))]
pub trait Updates: Backend {
    /// The sum of two tensors of one shape, then ReLU.
    fn kiln_sum_relu(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Parameter and both moments after one Adam update.
    fn kiln_adam(
        gradient: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        constants: update::Adam,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Parameter and velocity after one step of gradient descent.
    fn kiln_sgd(
        gradient: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        constants: update::Sgd,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// A tensor's sizes.
pub(super) fn dims<const D: usize>(tensor: &impl TensorMetadata) -> [usize; D] {
    tensor.shape().dims()
}

impl Conv2dOptions {
    /// The sizes of this convolution of tensors of these shapes.
    pub(super) fn geometry(self, input: [usize; 4], weight: [usize; 4]) -> ConvGeometry {
        let Self { stride, padding, relu, pool } = self;
        ConvGeometry::new(input, weight, stride, padding, Epilogue { relu, pool })
    }
}

impl NormOptions {
    /// The sizes of this norm of a tensor of this shape.
    pub(super) fn geometry(self, input: [usize; 4], epsilon: f64) -> norm::Geometry {
        let Self { relu, pool } = self;
        norm::Geometry::new(input, epsilon, Epilogue { relu, pool })
    }
}

impl<B: Host> Kernels for B {
    fn kiln_conv2d(
        input: FloatTensor<B>,
        weight: FloatTensor<B>,
        bias: FloatTensor<B>,
        options: Conv2dOptions,
    ) -> FloatTensor<B> {
        let geometry = options.geometry(dims(&input), dims(&weight));
        let (input, weight, bias) = (B::dense(input), B::dense(weight), B::dense(bias));
        let output = conv::forward(&geometry, B::values(&input), B::values(&weight), B::values(&bias)).output;
        B::tensor(output, &geometry.output())
    }

    fn kiln_linear(input: FloatTensor<B>, weight: FloatTensor<B>, bias: FloatTensor<B>, relu: bool) -> FloatTensor<B> {
        let geometry = linear::Geometry::new(dims(&input), dims(&weight), relu);
        let (input, weight, bias) = (B::dense(input), B::dense(weight), B::dense(bias));
        let output = linear::forward(&geometry, B::values(&input), B::values(&weight), B::values(&bias));
        B::tensor(output, &geometry.output())
    }

    fn kiln_batch_norm(
        input: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        epsilon: f64,
        options: NormOptions,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let geometry = options.geometry(dims(&input), epsilon);
        let (input, gamma, beta) = (B::dense(input), B::dense(gamma), B::dense(beta));
        let forward = norm::batch::forward(&geometry, B::values(&input), B::values(&gamma), B::values(&beta));
        let output = B::tensor(forward.output, &geometry.output());
        let channels = forward.mean.len();
        (output, B::tensor(forward.mean, &[channels]), B::tensor(forward.variance, &[channels]))
    }

    fn kiln_batch_norm_sum(
        input: FloatTensor<B>,
        shortcut: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        epsilon: f64,
        options: NormOptions,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let geometry = options.geometry(dims(&input), epsilon);
        let tensors = [input, shortcut, gamma, beta].map(B::dense);
        let [input, shortcut, gamma, beta] = tensors.each_ref().map(B::values);
        let forward = norm::batch::forward_sum(&geometry, input, shortcut, gamma, beta);
        let output = B::tensor(forward.output, &geometry.output());
        let channels = forward.mean.len();
        (output, B::tensor(forward.mean, &[channels]), B::tensor(forward.variance, &[channels]))
    }

    fn kiln_group_norm(
        input: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        groups: GroupNormOptions,
        options: NormOptions,
    ) -> FloatTensor<B> {
        let geometry = options.geometry(dims(&input), groups.epsilon);
        let groups = norm::group::Groups::new(groups.count, &geometry);
        let tensors = [input, gamma, beta].map(B::dense);
        let [input, gamma, beta] = tensors.each_ref().map(B::values);
        B::tensor(norm::group::forward(&geometry, groups, input, gamma, beta).output, &geometry.output())
    }

    fn kiln_cross_entropy(logits: FloatTensor<B>, targets: IntTensor<B>, smoothing: f32) -> FloatTensor<B> {
        let [_, classes] = dims(&logits);
        let loss = loss::cross_entropy(B::values(&B::dense(logits)), classes, &B::indices(targets), smoothing).loss;
        B::tensor(vec![loss], &[1])
    }

    fn kiln_dropout(input: FloatTensor<B>, probability: f64, seed: u64) -> FloatTensor<B> {
        let input = B::dense(input);
        B::tensor(dropout::dropout(B::values(&input), probability, seed), &input.shape())
    }
}

impl<B: Host> Updates for B {
    fn kiln_sum_relu(left: FloatTensor<B>, right: FloatTensor<B>) -> FloatTensor<B> {
        let (left, right) = (B::dense(left), B::dense(right));
        B::tensor(sum::sum_relu(B::values(&left), B::values(&right)), &left.shape())
    }

    fn kiln_adam(
        gradient: FloatTensor<B>,
        parameter: FloatTensor<B>,
        first: FloatTensor<B>,
        second: FloatTensor<B>,
        constants: update::Adam,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let (gradient, parameter) = (B::dense(gradient), B::dense(parameter));
        let ([mut first, mut second], shape) = ([first, second].map(B::into_values), parameter.shape());
        let new = profile::update("adam", 7, first.len(), || {
            update::adam(constants, B::values(&gradient), B::values(&parameter), &mut first, &mut second)
        });
        (B::tensor(new, &shape), B::tensor(first, &shape), B::tensor(second, &shape))
    }

    fn kiln_sgd(
        gradient: FloatTensor<B>,
        parameter: FloatTensor<B>,
        velocity: FloatTensor<B>,
        constants: update::Sgd,
    ) -> (FloatTensor<B>, FloatTensor<B>) {
        let (gradient, parameter) = (B::dense(gradient), B::dense(parameter));
        let (mut velocity, shape) = (B::into_values(velocity), parameter.shape());
        let new = profile::update("sgd", 5, velocity.len(), || {
            update::sgd(constants, B::values(&gradient), B::values(&parameter), &mut velocity)
        });
        (B::tensor(new, &shape), B::tensor(velocity, &shape))
    }
}
