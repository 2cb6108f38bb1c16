//! Kernels for GPUs, in CubeCL, where Burn's own operations would launch many for little: a convolution with all that follows
//! it, its gradients, the loss with its gradient, and updates of many parameters at once. A small network waits for
//! launches more than for arithmetic.
//!
//! Files import one way: `autodiff` -> this file -> `launch` -> `kernels` -> `geometry`.

mod autodiff;
mod geometry;
mod kernels;
mod launch;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension};
use burn::tensor::{DType, Device, Int, Shape, Tensor};

use super::kernels::update;
use super::options::{AdamStep, Conv2dOptions};
pub(crate) use geometry::Geometry;

/// Multiplications in a convolution of a batch up to which it waits for launches rather than for arithmetic. Beyond,
/// Burn's convolutions are taken, among which CubeCL chooses by measuring.
const SMALL: usize = 100_000_000;

/// Whether the kernels run on this device.
pub(super) fn is_cube(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Cube(_))
}

/// Whether this convolution is one for the kernel.
pub(super) fn is_small(input: &Tensor<4>, weight: &Tensor<4>, options: Conv2dOptions) -> bool {
    let Conv2dOptions { stride, padding, .. } = options;
    let [batch, _, height, width] = input.dims();
    let kernel = weight.dims()[2];
    let places = [height, width].map(|size| (size + 2 * padding - kernel) / stride + 1);
    batch * places[0] * places[1] * weight.shape().num_elements() <= SMALL
}

/// See [`super::conv2d`].
pub(super) fn conv2d(input: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, options: Conv2dOptions) -> Tensor<4> {
    let (input, weight, bias) = (input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::cube_conv2d(input, weight, bias, options))
}

/// See [`super::cross_entropy`].
pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    let targets = targets.cast(DType::I32).into_dispatch();
    Tensor::from_dispatch(Dispatch::cube_cross_entropy(logits.into_dispatch(), targets, smoothing))
}

/// See [`super::tally`].
pub(super) fn tally(logits: Tensor<2>, targets: Tensor<1, Int>, loss: Tensor<1>, before: Tensor<1>) -> Tensor<1> {
    let targets = targets.cast(DType::I32).into_dispatch();
    let (loss, before) = (loss.into_dispatch(), before.into_dispatch());
    Tensor::from_dispatch(Dispatch::cube_tally(logits.into_dispatch(), targets, loss, before))
}

/// See [`super::adam_of_parts`].
pub(super) fn adam(
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
        gradients.len(),
        alignment,
        step.constants(),
    );
    (Tensor::from_dispatch(parameters), [Tensor::from_dispatch(first), Tensor::from_dispatch(second)])
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

    /// Parameters and both moments after one Adam update: arrays of `parts` parts, each of which begins at the next multiple of
    /// `alignment` behind the one before. The gradients behind those of the parts stand for nothing.
    #[fusion(meta = |_, _, _, _, parameters, _, _, _, _, _| (parameters.clone(), parameters.clone(), parameters.clone()))]
    fn cube_adam(
        gradient_0: FloatTensor<Self>,
        gradient_1: FloatTensor<Self>,
        gradient_2: FloatTensor<Self>,
        gradient_3: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        parts: usize,
        alignment: usize,
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
