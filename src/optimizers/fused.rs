//! Adam, AdamW and SGD as Burn optimizers whose update is one pass over memory on the CPU (see [`crate::ops`]) and stock
//! tensor operations elsewhere. Burn's own take ten passes, each with a fresh buffer.

use burn::optim::{AdamState, AdaptiveMomentumState, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};

use crate::ops::{self, AdamStep, Decay, SgdStep};

/// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019).
#[derive(Clone, Debug)]
pub(super) struct Adam {
    pub(super) beta_1: f32,
    pub(super) beta_2: f32,
    pub(super) epsilon: f32,
    pub(super) decay: Decay,
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let state = state.map_or_else(
            || AdaptiveMomentumState::new(0, parameter.zeros_like(), parameter.zeros_like()),
            |state| state.momentum,
        );
        let step = AdamStep {
            learning_rate,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            decay: self.decay,
            time: state.time + 1,
        };
        let moments = [state.moment_1, state.moment_2];
        let (parameter, [first, second]) = ops::adam(step, gradient, parameter, moments);
        (parameter, Some(AdamState::new(AdaptiveMomentumState::new(step.time, first, second))))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        AdamState::new(state.momentum.to_device(device))
    }
}

/// Stochastic gradient descent with PyTorch's momentum: no dampening, the velocity starts as the first gradient.
#[derive(Clone, Debug)]
pub(super) struct Sgd {
    pub(super) momentum: f64,
    pub(super) nesterov: bool,
    pub(super) penalty: f64,
}

/// What SGD remembers of one parameter: the decaying sum of its gradients.
#[derive(Clone)]
pub(super) struct SgdState<const D: usize> {
    velocity: Tensor<D>,
}

const VELOCITY: &str = "velocity";

impl<const D: usize> RecordState for SgdState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, VELOCITY, self.velocity.to_data());
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        Some(Self { velocity: Tensor::from_data(source.take_tensor(prefix, VELOCITY)?, device) })
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<SgdState<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        let velocity = state.map_or_else(|| parameter.zeros_like(), |state| state.velocity);
        let step = SgdStep { learning_rate, momentum: self.momentum, nesterov: self.nesterov, penalty: self.penalty };
        let (parameter, velocity) = ops::sgd(step, gradient, parameter, velocity);
        (parameter, Some(SgdState { velocity }))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        SgdState { velocity: state.velocity.to_device(device) }
    }
}
