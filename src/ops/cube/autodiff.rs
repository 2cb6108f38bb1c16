//! The kernels' gradients in Burn's autodiff graph.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata as _};
use burn::tensor::Shape;

use super::geometry::Geometry;
use super::norm::NormGeometry;
use super::{CubeKernels, CubePasses};
use crate::ops::options::Conv2dOptions;

impl<B: CubeKernels + CubePasses, C: CheckpointStrategy> CubeKernels for Autodiff<B, C> {
    fn cube_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self> {
        let parents = [input.node(), weight.node(), bias.node()];
        let [input, weight, bias] = [input, weight, bias].map(Self::inner);
        let geometry = Geometry::new(input.shape().dims(), weight.shape().dims(), options);
        match ConvBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, places) = B::cube_forward(input.clone(), weight.clone(), bias, options);
                prepared.finish(ConvState { geometry, input, weight, places }, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::cube_conv2d(input, weight, bias, options)),
        }
    }

    fn cube_batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
        geometry: NormGeometry,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let parents = [input.node(), gamma.node(), beta.node()];
        let [input, gamma, beta] = [input, gamma, beta].map(Self::inner);
        let (output, mean, variance, scales) = B::cube_norm_forward(input.clone(), gamma, beta, epsilon, geometry);
        let output = match NormBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(NormState { geometry, input, scales }, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (output, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn cube_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>, smoothing: f32) -> FloatTensor<Self> {
        let parents = [logits.node()];
        let logits = Self::inner(logits);
        match LossBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (loss, gradient) = B::cube_loss(logits, targets, smoothing);
                prepared.finish(gradient, loss)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::cube_cross_entropy(logits, targets, smoothing)),
        }
    }
}

/// What a convolution saves.
#[derive(Clone, Debug)]
struct ConvState<T> {
    geometry: Geometry,
    input: T,
    weight: T,
    places: T,
}

/// Parents: input, weight, bias.
#[derive(Debug)]
struct ConvBackward;

impl<B: CubePasses> Backward<B, 3> for ConvBackward {
    type State = ConvState<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ConvState { geometry, input, weight, places } = ops.state;
        let [to_input, to_weight, to_bias] = ops.parents;
        if let Some(parent) = to_input {
            let result = B::cube_input_gradient(gradient.clone(), places.clone(), weight, geometry);
            gradients.register::<B>(parent.id, result);
        }
        if to_weight.is_some() || to_bias.is_some() {
            let (weight, bias) = B::cube_parameter_gradients(input, gradient, places, geometry);
            if let Some(parent) = to_weight {
                gradients.register::<B>(parent.id, weight);
            }
            if let Some(parent) = to_bias {
                gradients.register::<B>(parent.id, bias);
            }
        }
    }
}

/// What a norm saves.
#[derive(Clone, Debug)]
struct NormState<T> {
    geometry: NormGeometry,
    input: T,
    scales: T,
}

/// Parents: input, gamma, beta.
#[derive(Debug)]
struct NormBackward;

impl<B: CubePasses> Backward<B, 3> for NormBackward {
    type State = NormState<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let NormState { geometry, input, scales } = ops.state;
        let (input, gamma, beta) = B::cube_norm_gradients(gradient, input, scales, geometry);
        for (parent, gradient) in ops.parents.into_iter().zip([input, gamma, beta]) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// The backward pass of a scalar whose gradient is known: that, times the scalar's own gradient.
#[derive(Debug)]
struct LossBackward;

impl<B: CubePasses> Backward<B, 1> for LossBackward {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let scale = B::float_reshape(gradients.consume::<B>(&ops.node), Shape::new([1, 1]));
        let [Some(parent)] = ops.parents else { return };
        gradients.register::<B>(parent.id, B::float_mul(ops.state, scale));
    }
}
