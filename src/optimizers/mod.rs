//! Optimizers: one configuration per kind, PyTorch's defaults where the field expects them.

mod build;
mod fused;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use build::PlannedRate;

use crate::check::{Check, Problems};

/// `optimizer.kind` and the keys that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(SgdConfig),
    /// Adam (Kingma and Ba, 2015); weight decay is added to the gradient (L2).
    Adam(AdamConfig),
    /// AdamW (Loshchilov and Hutter, 2019): weight decay apart from the gradient, and none on biases and norms.
    Adamw(AdamwConfig),
    /// Muon (Jordan, 2024) on hidden matrices, AdamW on everything else.
    Muon(MuonConfig),
}

/// The keys of `optimizer.kind = "sgd"`.
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

/// The keys of `optimizer.kind = "adam"`.
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

/// The keys of `optimizer.kind = "adamw"`.
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
    /// Share of each weight taken away per update, times the learning rate; biases and norms are exempt.
    pub weight_decay: f64,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self { learning_rate: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// The keys of `optimizer.kind = "muon"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MuonConfig {
    /// The learning rate of the hidden matrices at the schedule's peak, above 0 and at most 1.
    pub learning_rate: f64,
    /// Nesterov momentum of the hidden matrices, 0 to below 1.
    pub momentum: f64,
    /// Decoupled weight decay; biases and norms are exempt.
    pub weight_decay: f64,
    /// The learning rate of all other parameters (AdamW), as a share of `learning_rate`.
    pub adamw_ratio: f64,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self { learning_rate: 0.02, momentum: 0.95, weight_decay: 0.01, adamw_ratio: 0.1 }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

impl OptimizerConfig {
    /// The value of `optimizer.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sgd(_) => "sgd",
            Self::Adam(_) => "adam",
            Self::Adamw(_) => "adamw",
            Self::Muon(_) => "muon",
        }
    }
}

impl Check for OptimizerConfig {
    fn check(&self, problems: &mut Problems) {
        let (learning_rate, weight_decay) = match self {
            Self::Sgd(config) => {
                problems.share("momentum", config.momentum);
                problems.require(!config.nesterov || config.momentum > 0.0, "nesterov", || {
                    "looks ahead along the momentum, but `optimizer.momentum` is 0; set it to 0.9, or `nesterov` to false"
                        .to_owned()
                });
                (config.learning_rate, config.weight_decay)
            }
            Self::Adam(AdamConfig { learning_rate, beta_1, beta_2, epsilon, weight_decay })
            | Self::Adamw(AdamwConfig { learning_rate, beta_1, beta_2, epsilon, weight_decay }) => {
                problems.share("beta_1", *beta_1);
                problems.share("beta_2", *beta_2);
                problems.above_zero("epsilon", *epsilon, 1.0);
                (*learning_rate, *weight_decay)
            }
            Self::Muon(config) => {
                problems.share("momentum", config.momentum);
                problems.above_zero("adamw_ratio", config.adamw_ratio, 1.0);
                (config.learning_rate, config.weight_decay)
            }
        };
        problems.above_zero("learning_rate", learning_rate, 1.0);
        problems.within_range("weight_decay", weight_decay, 0.0..=1.0);
    }
}
