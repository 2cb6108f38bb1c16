//! Adam, and what AdamW shares with it. Its update is one pass over memory on the CPU (see [`crate::ops`]) and stock tensor
//! operations elsewhere; Burn's own takes ten passes, each with a fresh buffer.

use burn::module::ParamGroup;
use burn::optim::{AdamState, AdaptiveMomentumState, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OptimizerKind, UpdateRule};
use crate::check::{Check, Problems, ROUNDED};
use crate::models::LayerSummary;
use crate::ops::{self, AdamStep, Decay};

/// Adam (Kingma and Ba, 2015); weight decay is added to the gradient (L2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdamConfig {
    /// The learning rate at the schedule's peak, above 0 and at most 1.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients, 0 to below 1.
    pub beta_1: f64,
    /// Decay of the mean of their squares, 0 to below 1.
    pub beta_2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl OptimizerKind for AdamConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default(), Self { beta_1: 0.7, beta_2: 0.9, weight_decay: 0.001, ..Self::default() }]
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn rules(&self) -> Vec<UpdateRule> {
        vec![UpdateRule::for_all("Adam", 2)]
    }

    fn build(&self, _layers: &[LayerSummary]) -> ModuleOptimizer {
        self.rule().into()
    }

    fn together(&self, _layers: &[LayerSummary]) -> Option<Vec<(Adam, ParamGroup)>> {
        Some(vec![(self.rule(), ParamGroup::all())])
    }
}

impl AdamConfig {
    fn rule(&self) -> Adam {
        Adam {
            beta_1: self.beta_1 as f32,
            beta_2: self.beta_2 as f32,
            epsilon: self.epsilon as f32,
            decay: Decay::Penalty(self.weight_decay as f32),
        }
    }
}

impl Check for AdamConfig {
    fn check(&self, problems: &mut Problems) {
        check_moments(self.beta_1, self.beta_2, self.epsilon, problems);
        problems.above_zero_f32("learning_rate", self.learning_rate, 1.0);
        problems.at_most_f32("weight_decay", self.weight_decay, 1.0);
    }
}

/// Checks what Adam and AdamW have in common.
pub(super) fn check_moments(beta_1: f64, beta_2: f64, epsilon: f64, problems: &mut Problems) {
    problems.fraction_f32("beta_1", beta_1);
    problems.fraction_f32("beta_2", beta_2);
    problems.above_zero_f32("epsilon", epsilon, 1.0);
    // The first update multiplies epsilon by sqrt(1 - beta_2), and where a gradient is 0 it alone is the denominator.
    let root = (1.0 - f64::from(beta_2 as f32)).sqrt();
    let first = (f64::from(epsilon as f32) * root) as f32;
    let each_is_allowed = root > 0.0 && root <= 1.0 && epsilon as f32 >= f32::MIN_POSITIVE;
    problems.require(!each_is_allowed || first >= f32::MIN_POSITIVE, "epsilon", || {
        let nearest = f64::from(f32::MIN_POSITIVE) / root * (1.0 + f64::from(f32::EPSILON));
        format!(
            "{ROUNDED} {epsilon:?} times sqrt(1 - beta_2), the denominator of the first update, is 0; with this beta_2 it \
             must be at least {:e}",
            nearest as f32
        )
    });
}

/// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019).
#[derive(Clone, Debug)]
pub(super) struct Adam {
    pub beta_1: f32,
    pub beta_2: f32,
    pub epsilon: f32,
    pub decay: Decay,
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
