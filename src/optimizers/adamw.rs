//! AdamW.

use burn::module::ParamGroup;
use burn::optim::ModuleOptimizer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adam::{Adam, check_moments};
use super::{OptimizerKind, UpdateRule, group};
use crate::check::{Check, Problems};
use crate::models::LayerSummary;
use crate::ops::Decay;

/// AdamW (Loshchilov and Hutter, 2019): weight decay apart from the gradient, and none on biases and norms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdamwConfig {
    /// The learning rate at the schedule's peak, above 0 and at most 1.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients, 0 to below 1.
    pub beta_1: f64,
    /// Decay of the mean of their squares, 0 to below 1.
    pub beta_2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Fraction of each weight taken away per update, times the learning rate; biases and norms are exempt.
    pub weight_decay: f64,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self { learning_rate: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

impl OptimizerKind for AdamwConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default(), Self { weight_decay: 0.1, ..Self::default() }]
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn rules(&self) -> Vec<UpdateRule> {
        vec![UpdateRule::for_all("AdamW", 2)]
    }

    fn build(&self, layers: &[LayerSummary]) -> ModuleOptimizer {
        let [(with_decay, _), (without, exempt)] = self.rules_for(layers);
        ModuleOptimizer::from(with_decay).with_group(exempt, without, None)
    }

    fn together(&self, layers: &[LayerSummary]) -> Option<Vec<(Adam, ParamGroup)>> {
        Some(self.rules_for(layers).into())
    }
}

impl AdamwConfig {
    /// For all parameters, and for those without decay.
    fn rules_for(&self, layers: &[LayerSummary]) -> [(Adam, ParamGroup); 2] {
        let with = |weight_decay: f64| Adam {
            beta_1: self.beta_1 as f32,
            beta_2: self.beta_2 as f32,
            epsilon: self.epsilon as f32,
            decay: Decay::Decoupled(weight_decay as f32),
        };
        [(with(self.weight_decay), ParamGroup::all()), (with(0.0), group(layers, |role| !role.decays()))]
    }
}

impl Check for AdamwConfig {
    fn check(&self, problems: &mut Problems) {
        check_moments(self.beta_1, self.beta_2, self.epsilon, problems);
        problems.above_zero_f32("learning_rate", self.learning_rate, 1.0);
        problems.at_most_f32("weight_decay", self.weight_decay, 1.0);
    }
}
