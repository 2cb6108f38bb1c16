//! Stochastic gradient descent. Its update is one pass over memory on the CPU (see [`crate::ops`]) and stock tensor
//! operations elsewhere.

use burn::optim::{ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OptimizerKind, UpdateRule};
use crate::check::{Check, Problems};
use crate::models::LayerSummary;
use crate::ops::{self, SgdStep};

/// Stochastic gradient descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SgdConfig {
    /// The learning rate at the schedule's peak, above 0 and at most 1.
    pub learning_rate: f64,
    /// Momentum, 0 to below 1; no dampening.
    pub momentum: f64,
    /// Look ahead along the momentum (Nesterov).
    pub nesterov: bool,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { learning_rate: 0.05, momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

impl OptimizerKind for SgdConfig {
    fn examples() -> Vec<Self> {
        let nesterov = Self { nesterov: true, weight_decay: 0.001, ..Self::default() };
        vec![Self::default(), Self { momentum: 0.0, ..Self::default() }, nesterov]
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn rules(&self) -> Vec<UpdateRule> {
        vec![UpdateRule::for_all("SGD", usize::from(self.momentum > 0.0))]
    }

    fn build(&self, _layers: &[LayerSummary]) -> ModuleOptimizer {
        Sgd { momentum: self.momentum, nesterov: self.nesterov, penalty: self.weight_decay }.into()
    }
}

impl Check for SgdConfig {
    fn check(&self, problems: &mut Problems) {
        problems.fraction_f32("momentum", self.momentum);
        problems.require(!self.nesterov || self.momentum > 0.0, "nesterov", || {
            "looks ahead along the momentum, but `optimizer.momentum` is 0; set it to 0.9, or `nesterov` to false"
                .to_owned()
        });
        problems.above_zero_f32("learning_rate", self.learning_rate, 1.0);
        problems.at_most_f32("weight_decay", self.weight_decay, 1.0);
    }
}

/// Stochastic gradient descent with PyTorch's momentum: no dampening, the velocity starts as the first gradient.
#[derive(Clone, Debug)]
struct Sgd {
    momentum: f64,
    nesterov: bool,
    penalty: f64,
}

/// What SGD remembers of one parameter: the decaying sum of its gradients.
#[derive(Clone)]
struct SgdState<const D: usize> {
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
