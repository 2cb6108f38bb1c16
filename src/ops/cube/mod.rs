//! Kernels for GPUs, in CubeCL, where Burn's own operations would launch many for little: a convolution with all that follows
//! it, its gradients, the loss with its gradient, and updates of many parameters at once. A small network waits for
//! launches more than for arithmetic.
//!
//! Files import one way: `autodiff` -> this file -> `launch` -> `kernels` -> `geometry`.

mod autodiff;
mod geometry;
mod kernels;
mod launch;
mod norm;
#[cfg(all(test, feature = "wgpu"))]
mod tests;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension};
use burn::tensor::{DType, Device, Int, Shape, Tensor};

use super::PARTS;
use super::kernels::update;
use super::options::{AdamStep, Conv2dOptions, NormOptions, Normalised};
pub(crate) use geometry::Geometry;
pub(crate) use norm::NormGeometry;

/// Multiplications in a convolution of a batch up to which it waits for launches rather than for arithmetic. Beyond,
/// Burn's convolutions are taken, among which CubeCL chooses by measuring.
const SMALL: usize = 100_000_000;

/// Values of a channel of a batch up to which its norm is one for a cube.
const SMALL_CHANNEL: usize = 200_000;

/// Arrays of [`CubePasses::cube_adam`] besides the gradients; no other kernel has as many.
const ARRAYS: usize = 6;

/// Whether this device is CubeCL's.
pub(super) fn is_cube(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Cube(_))
}

/// The kernels, on a device that can run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernels {
    /// How many parameters an update takes at once.
    parts: usize,
}

impl Kernels {
    /// Those of this device, if it is CubeCL's and binds enough arrays to a kernel.
    pub(super) fn of(device: &Device) -> Option<Self> {
        match device.clone().without_autodiff().as_dispatch() {
            DispatchDevice::Cube(device) => Self::binding(device.client().properties().hardware.max_bindings as usize),
            _ => None,
        }
    }

    /// Those of a device that binds so many arrays to a kernel: WebGPU promises 8, of which CubeCL keeps one.
    fn binding(arrays: usize) -> Option<Self> {
        let parts = arrays.saturating_sub(ARRAYS).min(PARTS);
        (parts > 0).then_some(Self { parts })
    }

    /// Whether this convolution is one for the kernel.
    pub(super) fn convolves(self, input: &Tensor<4>, weight: &Tensor<4>, options: Conv2dOptions) -> bool {
        let Conv2dOptions { stride, padding, .. } = options;
        let [batch, _, height, width] = input.dims();
        let kernel = weight.dims()[2];
        let places = [height, width].map(|size| (size + 2 * padding - kernel) / stride + 1);
        batch * places[0] * places[1] * weight.shape().num_elements() <= SMALL
    }

    /// See [`super::conv2d`].
    pub(super) fn conv2d(
        self,
        input: Tensor<4>,
        weight: Tensor<4>,
        bias: Tensor<1>,
        options: Conv2dOptions,
    ) -> Tensor<4> {
        let (input, weight, bias) = (input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        Tensor::from_dispatch(Dispatch::cube_conv2d(input, weight, bias, options))
    }

    /// Whether a norm of this is one for the kernels.
    pub(super) fn normalises(self, input: &Tensor<4>) -> bool {
        let [batch, _, height, width] = input.dims();
        batch * height * width <= SMALL_CHANNEL
    }

    /// See [`super::batch_norm_train`].
    pub(super) fn batch_norm_train(
        self,
        input: Tensor<4>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        epsilon: f64,
        options: NormOptions,
    ) -> Normalised {
        let geometry = NormGeometry::new(input.dims(), options);
        let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
        let (output, mean, variance) = Dispatch::cube_batch_norm(input, gamma, beta, epsilon as f32, geometry);
        let (mean, variance) = (Tensor::from_dispatch(mean), Tensor::from_dispatch(variance));
        Normalised { output: Tensor::from_dispatch(output), mean, variance }
    }

    /// See [`super::cross_entropy`].
    pub(super) fn cross_entropy(self, logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
        let targets = targets.cast(DType::I32).into_dispatch();
        Tensor::from_dispatch(Dispatch::cube_cross_entropy(logits.into_dispatch(), targets, smoothing))
    }

    /// See [`super::tally`].
    pub(super) fn tally(
        self,
        logits: Tensor<2>,
        targets: Tensor<1, Int>,
        loss: Tensor<1>,
        before: Tensor<1>,
    ) -> Tensor<1> {
        let targets = targets.cast(DType::I32).into_dispatch();
        let (loss, before) = (loss.into_dispatch(), before.into_dispatch());
        Tensor::from_dispatch(Dispatch::cube_tally(logits.into_dispatch(), targets, loss, before))
    }

    /// How many parameters [`adam`](Self::adam) updates at once.
    pub(super) fn parts(self) -> usize {
        self.parts
    }

    /// See [`super::adam_of_parts`].
    pub(super) fn adam(
        self,
        step: AdamStep,
        gradients: &[Tensor<1>],
        parameters: Tensor<1>,
        moments: [Tensor<1>; 2],
        alignment: usize,
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        let gradient = |index: usize| gradients[index.min(gradients.len() - 1)].clone().into_dispatch();
        let [first, second] = moments.map(Tensor::into_dispatch);
        let (parameters, first, second) = Dispatch::cube_adam(
            gradient(0),
            gradient(1),
            gradient(2),
            gradient(3),
            parameters.into_dispatch(),
            first,
            second,
            Parts { count: gradients.len(), bound: self.parts, alignment },
            step.constants(),
        );
        (Tensor::from_dispatch(parameters), [Tensor::from_dispatch(first), Tensor::from_dispatch(second)])
    }
}

/// How arrays are made of the parts that an update takes.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// How many there are.
    count: usize,
    /// How many gradients the kernel has arrays for; at least as many.
    bound: usize,
    /// A part begins at the next multiple of it behind the one before.
    alignment: usize,
}

/// Operations with a kernel and a gradient; `crate::ops` describes them. All tensors are `f32`, targets are `i32`.
#[backend_extension(Cube, Fusion, Autodiff)]
pub trait CubeKernels: Backend {
    /// Convolution and what follows it.
    #[fusion(dtype = input, shape = output(input, weight, options))]
    fn cube_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self>;

    /// Batch norm and what follows it, the mean and the variance of each channel.
    #[fusion(meta = batch_norm)]
    fn cube_batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
        geometry: NormGeometry,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Mean cross-entropy.
    #[fusion(dtype = logits, shape = Shape::new([1]))]
    fn cube_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>, smoothing: f32) -> FloatTensor<Self>;
}

/// What has a kernel outside of the autodiff graph.
#[backend_extension(Cube, Fusion)]
pub trait CubePasses: Backend {
    /// Convolution and what follows it; also where the values that are left were in their windows, of one value where the
    /// gradients need not know.
    #[fusion(meta = forward)]
    fn cube_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradients of weight and bias.
    #[fusion(meta = parameter_gradients)]
    fn cube_parameter_gradients(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        places: FloatTensor<Self>,
        geometry: Geometry,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of the input.
    #[fusion(dtype = gradient, shape = Shape::new(geometry.input(gradient[0])))]
    fn cube_input_gradient(
        gradient: FloatTensor<Self>,
        places: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self>;

    /// [`CubeKernels::cube_batch_norm`] and what its gradients need.
    #[fusion(meta = norm_forward)]
    fn cube_norm_forward(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
        geometry: NormGeometry,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The gradients of input, gamma and beta.
    #[fusion(meta = norm_gradients)]
    fn cube_norm_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        geometry: NormGeometry,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Mean cross-entropy and the gradient of the logits.
    #[fusion(meta = |logits, _, _| (TensorSpec::new(Shape::new([1]), logits.dtype), logits.clone()))]
    fn cube_loss(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        smoothing: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `before`, the sum of losses and the number of right answers of images so far, with those of a batch, whose mean loss is
    /// `loss`: `[2]`.
    #[fusion(dtype = before, shape = before)]
    fn cube_tally(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        loss: FloatTensor<Self>,
        before: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Parameters and both moments after one Adam update: arrays of parts. The gradients behind those of the parts stand for
    /// nothing.
    #[fusion(meta = |_, _, _, _, parameters, _, _, _, _| (parameters.clone(), parameters.clone(), parameters.clone()))]
    fn cube_adam(
        gradient_0: FloatTensor<Self>,
        gradient_1: FloatTensor<Self>,
        gradient_2: FloatTensor<Self>,
        gradient_3: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        parts: Parts,
        constants: update::Adam,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The shape of a convolution's output.
fn output(input: &Shape, weight: &Shape, options: &Conv2dOptions) -> Shape {
    Shape::new(Geometry::new(input.dims(), weight.dims(), *options).output(input[0]))
}

fn forward(
    input: &TensorSpec,
    weight: &TensorSpec,
    _: &TensorSpec,
    options: &Conv2dOptions,
) -> (TensorSpec, TensorSpec) {
    let geometry = Geometry::new(input.shape.dims(), weight.shape.dims(), *options);
    let output = Shape::new(geometry.output(input.shape[0]));
    let places = if geometry.has_places() { output.clone() } else { Shape::new([1; 4]) };
    (TensorSpec::new(output, DType::F32), TensorSpec::new(places, DType::F32))
}

fn parameter_gradients(
    _: &TensorSpec,
    _: &TensorSpec,
    _: &TensorSpec,
    geometry: &Geometry,
) -> (TensorSpec, TensorSpec) {
    let weight = TensorSpec::new(Shape::new(geometry.weight()), DType::F32);
    (weight, TensorSpec::new(Shape::new([geometry.channels_out]), DType::F32))
}

fn batch_norm(
    input: &TensorSpec,
    _: &TensorSpec,
    _: &TensorSpec,
    _: &f32,
    geometry: &NormGeometry,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let output = TensorSpec::new(Shape::new(geometry.output(input.shape[0])), DType::F32);
    (output, of_channels(geometry, 1), of_channels(geometry, 1))
}

fn norm_forward(
    input: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    epsilon: &f32,
    geometry: &NormGeometry,
) -> (TensorSpec, TensorSpec, TensorSpec, TensorSpec) {
    let (output, mean, variance) = batch_norm(input, gamma, beta, epsilon, geometry);
    (output, mean, variance, of_channels(geometry, norm::OF_A_SCALE))
}

fn norm_gradients(
    _: &TensorSpec,
    input: &TensorSpec,
    _: &TensorSpec,
    geometry: &NormGeometry,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    (input.clone(), of_channels(geometry, 1), of_channels(geometry, 1))
}

/// So many numbers for each channel.
fn of_channels(geometry: &NormGeometry, each: usize) -> TensorSpec {
    TensorSpec::new(Shape::new([each * geometry.channels]), DType::F32)
}
