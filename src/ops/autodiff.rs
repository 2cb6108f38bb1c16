//! The operations' gradients in Burn's autodiff graph: what each forward pass saves, and the kernel of its backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata as _};

use super::extension::{Kernels, dims};
use super::host::Host;
use super::kernels::geometry::ConvGeometry;
use super::kernels::pool::PoolIndex;
use super::kernels::{conv, linear, loss, norm};
use super::options::{Conv2dOptions, GroupNormOptions, NormOptions};
use super::profile::{self, Pass};

impl<B: Host, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn kiln_conv2d(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self> {
        let parents = [input.node(), weight.node(), bias.node()];
        let run = || {
            let [input, weight, bias] = [&input, &weight, &bias].map(|tensor| tensor.primitive().clone());
            ConvState::<B>::run(input, weight, bias, options)
        };
        match ConvBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, state) = run();
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run().0),
        }
    }

    fn kiln_linear(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        let parents = [input.node(), weight.node(), bias.node()];
        let run = || {
            let [input, weight, bias] = [&input, &weight, &bias].map(|tensor| tensor.primitive().clone());
            LinearState::<B>::run(input, weight, bias, relu)
        };
        match LinearBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, state) = run();
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run().0),
        }
    }

    fn kiln_batch_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let run = || {
            let [input, gamma, beta] = [&input, &gamma, &beta].map(|tensor| tensor.primitive().clone());
            NormState::<B>::run(input, gamma, beta, (epsilon, options))
        };
        let parents = [input.node(), gamma.node(), beta.node()];
        let (output, state) = match NormBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, state) = run();
                (prepared.finish(state.clone(), output), state)
            }
            OpsKind::UnTracked(prepared) => {
                let (output, state) = run();
                (prepared.finish(output), state)
            }
        };
        let (mean, variance) = state.constants();
        (output, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn kiln_batch_norm_sum(
        input: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let run = || {
            let [input, shortcut, gamma, beta] =
                [&input, &shortcut, &gamma, &beta].map(|tensor| tensor.primitive().clone());
            NormState::<B>::run_sum([input, shortcut, gamma, beta], epsilon, options)
        };
        let parents = [input.node(), shortcut.node(), gamma.node(), beta.node()];
        let (output, state) = match NormSumBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, state) = run();
                (prepared.finish(state.clone(), output), state)
            }
            OpsKind::UnTracked(prepared) => {
                let (output, state) = run();
                (prepared.finish(output), state)
            }
        };
        let (mean, variance) = state.constants();
        (output, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn kiln_group_norm(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: GroupNormOptions,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        let run = || {
            let tensors = [&input, &gamma, &beta].map(|tensor| tensor.primitive().clone());
            GroupNormState::<B>::run(tensors, groups, options)
        };
        let parents = [input.node(), gamma.node(), beta.node()];
        match GroupNormBackward.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, state) = run();
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run().0),
        }
    }

    fn kiln_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>, smoothing: f32) -> FloatTensor<Self> {
        let [_, classes] = dims(&logits);
        let run = || {
            let logits = B::dense(logits.primitive().clone());
            let result = profile::loss(dims(&logits), || {
                loss::cross_entropy(B::values(&logits), classes, &B::indices(targets), smoothing)
            });
            (B::tensor(vec![result.loss], &[1]), B::tensor(result.gradient, &logits.shape()))
        };
        match ScaleBackward.prepare::<C>([logits.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (loss, gradient) = run();
                prepared.finish(gradient, loss)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run().0),
        }
    }

    fn kiln_dropout(input: FloatTensor<Self>, probability: f64, seed: u64) -> FloatTensor<Self> {
        let output = profile::dropout(Pass::Forward, input.shape().num_elements(), seed, || {
            B::kiln_dropout(input.primitive().clone(), probability, seed)
        });
        match DropoutBackward.prepare::<C>([input.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((probability, seed), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// What a convolution saves; see [`conv::Saved`].
#[derive(Clone, Debug)]
struct ConvState<B: Host> {
    geometry: ConvGeometry,
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    output: Option<FloatTensor<B>>,
    indices: Arc<[PoolIndex]>,
}

impl<B: Host> ConvState<B> {
    fn run(
        input: FloatTensor<B>,
        weight: FloatTensor<B>,
        bias: FloatTensor<B>,
        options: Conv2dOptions,
    ) -> (FloatTensor<B>, Self) {
        let geometry = options.geometry(dims(&input), dims(&weight));
        let (input, weight, bias) = (B::dense(input), B::dense(weight), B::dense(bias));
        let values = [B::values(&input), B::values(&weight), B::values(&bias)];
        let forward = profile::conv(&geometry, values[1], || conv::forward(&geometry, values[0], values[1], values[2]));
        let output = B::tensor(forward.output, &geometry.output());
        let kept = (options.relu && !options.pool).then(|| output.clone());
        (output, Self { geometry, input, weight, output: kept, indices: forward.indices.into() })
    }
}

/// Parents: input, weight, bias.
#[derive(Debug)]
struct ConvBackward;

impl<B: Host> Backward<B, 3> for ConvBackward {
    type State = ConvState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::dense(gradients.consume::<B>(&ops.node));
        let ConvState { geometry, input, weight, output, indices } = ops.state;
        let saved = conv::Saved {
            input: B::values(&input),
            weight: B::values(&weight),
            output: output.as_ref().map_or(&[], B::values),
            indices: &indices,
        };
        let needs = conv::NeedsGradient {
            input: ops.parents[0].is_some(),
            parameters: ops.parents[1..].iter().any(Option::is_some),
        };
        let run = |needs| conv::backward(&geometry, saved, B::values(&gradient), needs);
        let result = profile::conv_gradients(&geometry, saved.weight, needs, run);
        let shapes = [input.shape().to_vec(), weight.shape().to_vec(), weight.shape()[..1].to_vec()];
        let results = [result.input, result.weight, result.bias].into_iter().zip(shapes);
        for (parent, (values, shape)) in ops.parents.into_iter().zip(results) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, B::tensor(values, &shape));
            }
        }
    }
}

/// What a fully connected layer saves; the output after a ReLU only.
#[derive(Clone, Debug)]
struct LinearState<B: Host> {
    geometry: linear::Geometry,
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    output: Option<FloatTensor<B>>,
}

impl<B: Host> LinearState<B> {
    fn run(input: FloatTensor<B>, weight: FloatTensor<B>, bias: FloatTensor<B>, relu: bool) -> (FloatTensor<B>, Self) {
        let geometry = linear::Geometry::new(dims(&input), dims(&weight), relu);
        let (input, weight, bias) = (B::dense(input), B::dense(weight), B::dense(bias));
        let [x, w, b] = [&input, &weight, &bias].map(B::values);
        let output = profile::linear(&geometry, w, || linear::forward(&geometry, x, w, b));
        let output = B::tensor(output, &geometry.output());
        let kept = relu.then(|| output.clone());
        (output, Self { geometry, input, weight, output: kept })
    }
}

/// Parents: input, weight, bias.
#[derive(Debug)]
struct LinearBackward;

impl<B: Host> Backward<B, 3> for LinearBackward {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::dense(gradients.consume::<B>(&ops.node));
        let LinearState { geometry, input, weight, output } = ops.state;
        let output = output.as_ref().map_or(&[][..], B::values);
        let (x, w) = (B::values(&input), B::values(&weight));
        let run = || linear::pre_activation_gradient(&geometry, output, B::values(&gradient));
        let passes = if output.is_empty() { 1 } else { 3 };
        let linear::PreActivation { gradient: dz, bias } =
            profile::linear_pass("linear, gradient before ReLU and of the bias", &geometry, w, passes, run);
        let mut bias = Some(bias);
        for (index, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let result = match index {
                0 => {
                    let run = || linear::input_gradient(&geometry, w, &dz);
                    B::tensor(profile::linear_gradient("linear, input gradient", &geometry, w, run), &input.shape())
                }
                1 => {
                    let run = || linear::weight_gradient(&geometry, x, &dz);
                    B::tensor(profile::linear_gradient("linear, weight gradient", &geometry, w, run), &weight.shape())
                }
                _ => B::tensor(bias.take().unwrap_or_default(), &geometry.output()[1..]),
            };
            gradients.register::<B>(parent.id, result);
        }
    }
}

/// What a batch norm saves; see [`norm::batch::Saved`].
#[derive(Clone, Debug)]
struct NormState<B: Host> {
    geometry: norm::Geometry,
    input: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    statistics: Arc<(Vec<f32>, Vec<f32>)>,
    output: Option<FloatTensor<B>>,
    indices: Arc<[PoolIndex]>,
}

impl<B: Host> NormState<B> {
    fn run(
        input: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        (epsilon, options): (f64, NormOptions),
    ) -> (FloatTensor<B>, Self) {
        let geometry = options.geometry(dims(&input), epsilon);
        let (input, gamma, beta) = (B::dense(input), B::dense(gamma), B::dense(beta));
        let [x, scale, shift] = [&input, &gamma, &beta].map(B::values);
        let forward =
            profile::norm("batch norm", &geometry, scale, 1, || norm::batch::forward(&geometry, x, scale, shift));
        let output = B::tensor(forward.output, &geometry.output());
        let statistics = Arc::new((forward.mean, forward.variance));
        (output, Self { geometry, input, gamma, beta, statistics, output: None, indices: forward.indices.into() })
    }

    /// The same with a shortcut.
    fn run_sum(tensors: [FloatTensor<B>; 4], epsilon: f64, options: NormOptions) -> (FloatTensor<B>, Self) {
        let geometry = options.geometry(dims(&tensors[0]), epsilon);
        let [input, shortcut, gamma, beta] = tensors.map(B::dense);
        let [values, added, scale, shift] = [&input, &shortcut, &gamma, &beta].map(B::values);
        let run = || norm::batch::forward_sum(&geometry, values, added, scale, shift);
        let forward = profile::norm("batch norm", &geometry, scale, 2, run);
        let output = B::tensor(forward.output, &geometry.output());
        let kept = options.relu.then(|| output.clone());
        let statistics = Arc::new((forward.mean, forward.variance));
        (output, Self { geometry, input, gamma, beta, statistics, output: kept, indices: Arc::default() })
    }

    /// Mean and variance.
    fn constants(&self) -> (FloatTensor<B>, FloatTensor<B>) {
        let (mean, variance) = &*self.statistics;
        let constant = |values: &Vec<f32>| B::tensor(values.clone(), &[values.len()]);
        (constant(mean), constant(variance))
    }

    fn saved(&self) -> norm::batch::Saved<'_> {
        norm::batch::Saved {
            input: B::values(&self.input),
            gamma: B::values(&self.gamma),
            beta: B::values(&self.beta),
            mean: &self.statistics.0,
            variance: &self.statistics.1,
            output: self.output.as_ref().map_or(&[], B::values),
            indices: &self.indices,
        }
    }
}

/// Parents: input, scale, shift.
#[derive(Debug)]
struct NormBackward;

impl<B: Host> Backward<B, 3> for NormBackward {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::dense(gradients.consume::<B>(&ops.node));
        let state = ops.state;
        let saved = state.saved();
        let run = || norm::batch::backward(&state.geometry, saved, B::values(&gradient));
        let result = profile::norm_gradients("batch norm, gradients", &state.geometry, saved.gamma, 1, run);
        let shapes = [state.input.shape(), state.gamma.shape(), state.gamma.shape()];
        let results = [result.input, result.gamma, result.beta].into_iter().zip(shapes);
        for (parent, (values, shape)) in ops.parents.into_iter().zip(results) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, B::tensor(values, &shape));
            }
        }
    }
}

/// Parents: input, shortcut, scale, shift.
#[derive(Debug)]
struct NormSumBackward;

impl<B: Host> Backward<B, 4> for NormSumBackward {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::dense(gradients.consume::<B>(&ops.node));
        let state = ops.state;
        let saved = state.saved();
        let run = || norm::batch::backward_sum(&state.geometry, saved, B::values(&gradient));
        let (result, shortcut) = profile::norm_gradients("batch norm, gradients", &state.geometry, saved.gamma, 2, run);
        let shapes = [state.input.shape(), state.input.shape(), state.gamma.shape(), state.gamma.shape()];
        let results = [result.input, shortcut, result.gamma, result.beta].into_iter().zip(shapes);
        for (parent, (values, shape)) in ops.parents.into_iter().zip(results) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, B::tensor(values, &shape));
            }
        }
    }
}

/// What a group norm saves; see [`norm::group::Saved`].
#[derive(Clone, Debug)]
struct GroupNormState<B: Host> {
    geometry: norm::Geometry,
    groups: norm::group::Groups,
    tensors: [FloatTensor<B>; 3],
    indices: Arc<[PoolIndex]>,
}

impl<B: Host> GroupNormState<B> {
    fn run(tensors: [FloatTensor<B>; 3], groups: GroupNormOptions, options: NormOptions) -> (FloatTensor<B>, Self) {
        let geometry = options.geometry(dims(&tensors[0]), groups.epsilon);
        let groups = norm::group::Groups::new(groups.count, &geometry);
        let tensors = tensors.map(B::dense);
        let [input, gamma, beta] = tensors.each_ref().map(B::values);
        let run = || norm::group::forward(&geometry, groups, input, gamma, beta);
        let forward = profile::norm("group norm", &geometry, gamma, 1, run);
        let output = B::tensor(forward.output, &geometry.output());
        (output, Self { geometry, groups, tensors, indices: forward.indices.into() })
    }
}

/// Parents: input, scale, shift.
#[derive(Debug)]
struct GroupNormBackward;

impl<B: Host> Backward<B, 3> for GroupNormBackward {
    type State = GroupNormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = B::dense(gradients.consume::<B>(&ops.node));
        let GroupNormState { geometry, groups, tensors, indices } = ops.state;
        let [input, gamma, beta] = tensors.each_ref().map(B::values);
        let saved = norm::group::Saved { input, gamma, beta, indices: &indices };
        let run = || norm::group::backward(&geometry, groups, saved, B::values(&gradient));
        let result = profile::norm_gradients("group norm, gradients", &geometry, gamma, 1, run);
        let results = [result.input, result.gamma, result.beta].into_iter().zip(&tensors);
        for (parent, (values, tensor)) in ops.parents.into_iter().zip(results) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, B::tensor(values, &tensor.shape()));
            }
        }
    }
}

/// The backward pass of a scalar whose gradient is known: that, times the scalar's own gradient.
#[derive(Debug)]
struct ScaleBackward;

impl<B: Host> Backward<B, 1> for ScaleBackward {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let scale = B::values(&B::dense(gradients.consume::<B>(&ops.node)))[0];
        let [Some(parent)] = ops.parents else { return };
        let gradient = if scale == 1.0 { ops.state } else { B::float_mul_scalar(ops.state, scale.into()) };
        gradients.register::<B>(parent.id, gradient);
    }
}

/// The backward pass of dropout: the same values dropped.
#[derive(Debug)]
struct DropoutBackward;

impl<B: Host> Backward<B, 1> for DropoutBackward {
    type State = (f64, u64);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        let (probability, seed) = ops.state;
        let result = profile::dropout(Pass::Backward, gradient.shape().num_elements(), seed, || {
            B::kiln_dropout(gradient, probability, seed)
        });
        gradients.register::<B>(parent.id, result);
    }
}
