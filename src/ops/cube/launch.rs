//! The kernels on Burn's tensors: outputs are made, and the threads are divided into cubes.

use burn::backend::fusion::{Fusion, FusionBackend};
use burn::backend::ops::FloatTensorOps as _;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Cube, TensorMetadata as _};
use burn::cubecl::calculate_cube_count_elemwise;
use burn::cubecl::prelude::{BufferArg, CubeCount, CubeDim};
use burn::tensor::{DType, Shape};

use super::geometry::Geometry;
use super::kernels::{self, AdamConstantsLaunch};
use super::norm::{self, NormGeometry};
use super::{CubeKernels, CubePasses, PARTS, Parts, update};
use crate::ops::options::Conv2dOptions;

/// The backend below Burn's fusion of operations.
pub trait Fused {
    /// That backend.
    type Below: Backend;
}

impl<B: FusionBackend> Fused for Fusion<B> {
    type Below = B;
}

type Device = <Cube as Fused>::Below;
type Array = FloatTensor<Device>;

/// Bytes of memory that the threads of a cube share on every device.
const SHARED_BYTES: usize = 16 << 10;

/// Threads of a cube that does all the work by itself.
const ALONE: usize = 256;

/// Threads of a cube that has a channel of a batch to itself, which are many values.
const OF_A_CHANNEL: usize = 1024;

impl CubeKernels for Device {
    fn cube_conv2d(input: Array, weight: Array, bias: Array, options: Conv2dOptions) -> Array {
        Self::cube_forward(input, weight, bias, options).0
    }

    fn cube_batch_norm(
        input: Array,
        gamma: Array,
        beta: Array,
        epsilon: f32,
        geometry: NormGeometry,
    ) -> (Array, Array, Array) {
        let (output, mean, variance, _) = Self::cube_norm_forward(input, gamma, beta, epsilon, geometry);
        (output, mean, variance)
    }

    fn cube_cross_entropy(logits: Array, targets: IntTensor<Self>, smoothing: f32) -> Array {
        Self::cube_loss(logits, targets, smoothing).0
    }
}

impl CubePasses for Device {
    fn cube_forward(input: Array, weight: Array, bias: Array, options: Conv2dOptions) -> (Array, Array) {
        let [input, weight, bias] = [input, weight, bias].map(dense);
        let geometry = Geometry::new(input.shape().dims(), weight.shape().dims(), options);
        let shape = geometry.output(input.shape()[0]);
        let output = empty(&input, &shape);
        let places = if geometry.has_places() { empty(&input, &shape) } else { empty(&input, &[1; 4]) };
        let (count, dim) = each(&output);
        let client = output.client.clone();
        kernels::convolve::launch(
            &client,
            count,
            dim,
            input.into_buffer_arg(),
            weight.into_buffer_arg(),
            bias.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            places.clone().into_buffer_arg(),
            geometry,
        );
        (output, places)
    }

    fn cube_parameter_gradients(input: Array, gradient: Array, places: Array, geometry: Geometry) -> (Array, Array) {
        let [input, gradient, places] = [input, gradient, places].map(dense);
        let weight = empty(&input, &geometry.weight());
        let bias = empty(&input, &[geometry.channels_out]);
        let client = input.client.clone();
        let sums = geometry.kernel * geometry.kernel + 1;
        let fitting = (SHARED_BYTES / (sums * size_of::<f32>())).max(1).ilog2();
        let threads = (1 << fitting).min(largest(&input));
        kernels::parameter_gradients::launch(
            &client,
            CubeCount::Static(geometry.channels_in as u32, geometry.channels_out as u32, 1),
            CubeDim::new_1d(threads as u32),
            input.clone().into_buffer_arg(),
            gradient.into_buffer_arg(),
            places.into_buffer_arg(),
            weight.clone().into_buffer_arg(),
            bias.clone().into_buffer_arg(),
            input.shape()[0],
            geometry,
            threads,
        );
        (weight, bias)
    }

    fn cube_input_gradient(gradient: Array, places: Array, weight: Array, geometry: Geometry) -> Array {
        let [gradient, places, weight] = [gradient, places, weight].map(dense);
        let input = empty(&gradient, &geometry.input(gradient.shape()[0]));
        let (count, dim) = each(&input);
        let client = input.client.clone();
        kernels::input_gradient::launch(
            &client,
            count,
            dim,
            gradient.into_buffer_arg(),
            places.into_buffer_arg(),
            weight.into_buffer_arg(),
            input.clone().into_buffer_arg(),
            geometry,
        );
        input
    }

    fn cube_norm_forward(
        input: Array,
        gamma: Array,
        beta: Array,
        epsilon: f32,
        geometry: NormGeometry,
    ) -> (Array, Array, Array, Array) {
        let [input, gamma, beta] = [input, gamma, beta].map(dense);
        let (client, images, threads) = (input.client.clone(), input.shape()[0], OF_A_CHANNEL.min(largest(&input)));
        let output = empty(&input, &geometry.output(images));
        let [mean, variance] = [(); 2].map(|()| empty(&input, &[geometry.channels]));
        let scales = empty(&input, &[norm::OF_A_SCALE * geometry.channels]);
        norm::normalise::launch(
            &client,
            CubeCount::Static(geometry.channels as u32, 1, 1),
            CubeDim::new_1d(threads as u32),
            input.into_buffer_arg(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            mean.clone().into_buffer_arg(),
            variance.clone().into_buffer_arg(),
            scales.clone().into_buffer_arg(),
            epsilon,
            images,
            geometry,
            threads,
        );
        (output, mean, variance, scales)
    }

    fn cube_norm_gradients(
        gradient: Array,
        input: Array,
        scales: Array,
        geometry: NormGeometry,
    ) -> (Array, Array, Array) {
        let [gradient, input] = [gradient, input].map(dense);
        let (client, images, threads) = (input.client.clone(), input.shape()[0], OF_A_CHANNEL.min(largest(&input)));
        let to_input = empty(&input, &input.shape().to_vec());
        let [to_gamma, to_beta] = [(); 2].map(|()| empty(&input, &[geometry.channels]));
        norm::normalise_back::launch(
            &client,
            CubeCount::Static(geometry.channels as u32, 1, 1),
            CubeDim::new_1d(threads as u32),
            gradient.into_buffer_arg(),
            input.into_buffer_arg(),
            scales.into_buffer_arg(),
            to_input.clone().into_buffer_arg(),
            to_gamma.clone().into_buffer_arg(),
            to_beta.clone().into_buffer_arg(),
            images,
            geometry,
            threads,
        );
        (to_input, to_gamma, to_beta)
    }

    fn cube_loss(logits: Array, targets: IntTensor<Self>, smoothing: f32) -> (Array, Array) {
        let (logits, targets) = (dense(logits), dense(targets));
        let loss = empty(&logits, &[1]);
        let gradient = empty(&logits, &logits.shape().to_vec());
        let (client, classes, threads) = (logits.client.clone(), logits.shape()[1], ALONE.min(largest(&logits)));
        kernels::cross_entropy::launch(
            &client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(threads as u32),
            logits.into_buffer_arg(),
            targets.into_buffer_arg(),
            loss.clone().into_buffer_arg(),
            gradient.clone().into_buffer_arg(),
            smoothing,
            classes,
            threads,
        );
        (loss, gradient)
    }

    fn cube_tally(logits: Array, targets: IntTensor<Self>, loss: Array, before: Array) -> Array {
        let (logits, targets) = (dense(logits), dense(targets));
        let sums = empty(&logits, &[2]);
        let (client, classes, threads) = (logits.client.clone(), logits.shape()[1], ALONE.min(largest(&logits)));
        kernels::tally::launch(
            &client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(threads as u32),
            logits.into_buffer_arg(),
            targets.into_buffer_arg(),
            loss.into_buffer_arg(),
            before.into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            classes,
            threads,
        );
        sums
    }

    fn cube_adam(
        gradient_0: Array,
        gradient_1: Array,
        gradient_2: Array,
        gradient_3: Array,
        parameters: Array,
        first: Array,
        second: Array,
        parts: Parts,
        constants: update::Adam,
    ) -> (Array, Array, Array) {
        let gradients = [gradient_0, gradient_1, gradient_2, gradient_3].map(dense);
        let mut ends = [0; PARTS];
        let mut end = 0;
        for (index, gradient) in gradients.iter().enumerate() {
            if index < parts.count {
                end += gradient.shape().num_elements().next_multiple_of(parts.alignment);
            }
            ends[index] = end;
        }
        let new = [(); 3].map(|()| empty(&parameters, &parameters.shape().to_vec()));
        let [new_parameters, new_first, new_second] = new.each_ref().map(|array| array.clone().into_buffer_arg());
        let length = gradients[0].shape().num_elements();
        let mut index = 0;
        // What a device has no place for is the first gradient once more.
        let [gradient_0, gradient_1, gradient_2, gradient_3] = gradients.map(|gradient| {
            index += 1;
            if index <= parts.bound { gradient.into_buffer_arg() } else { BufferArg::alias(0, length) }
        });
        let (count, dim) = each(&parameters);
        let client = parameters.client.clone();
        let update::Adam { beta_1, beta_2, rate, epsilon, penalty, keep } = constants;
        kernels::adam::launch(
            &client,
            count,
            dim,
            gradient_0,
            gradient_1,
            gradient_2,
            gradient_3,
            parameters.into_buffer_arg(),
            first.into_buffer_arg(),
            second.into_buffer_arg(),
            new_parameters,
            new_first,
            new_second,
            ends[0],
            ends[1],
            ends[2],
            AdamConstantsLaunch::new(beta_1, beta_2, rate, epsilon, penalty, keep),
        );
        let [parameters, first, second] = new;
        (parameters, first, second)
    }
}

/// The same tensor with its values in row-major order, one after the other.
fn dense(tensor: Array) -> Array {
    if tensor.is_contiguous() {
        return tensor;
    }
    let shape = tensor.shape();
    let flat = Device::float_reshape(tensor, Shape::new([shape.num_elements()]));
    Device::float_reshape(flat, shape)
}

/// A tensor to be written.
fn empty(like: &Array, shape: &[usize]) -> Array {
    let shape = Shape::from(shape.to_vec());
    let memory = like.client.empty(shape.num_elements() * size_of::<f32>());
    Array::new_contiguous(like.client.clone(), like.device.clone(), shape, memory, DType::F32)
}

/// A thread for each value of a tensor.
fn each(tensor: &Array) -> (CubeCount, CubeDim) {
    let count = tensor.shape().num_elements();
    let dim = CubeDim::new(&tensor.client, count);
    (calculate_cube_count_elemwise(&tensor.client, count, dim), dim)
}

/// The most threads that a cube may have on the device of a tensor.
fn largest(tensor: &Array) -> usize {
    tensor.client.properties().hardware.max_units_per_cube as usize
}
