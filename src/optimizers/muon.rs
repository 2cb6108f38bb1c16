//! Muon on hidden matrices and convolution kernels, AdamW on everything else.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{self, ModuleOptimizer, MuonState, Optimizer};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdamwConfig, OptimizerKind, UpdateRule, group};
use crate::check::{Check, Problems, ROUNDED};
use crate::models::{LayerSummary, Role};

/// Muon (Jordan, 2024) on hidden matrices and convolution kernels, AdamW on everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MuonConfig {
    /// The learning rate of hidden matrices and convolution kernels at the schedule's peak, above 0 and at most 1.
    pub learning_rate: f64,
    /// Nesterov momentum of hidden matrices and convolution kernels, 0 to below 1.
    pub momentum: f64,
    /// Decoupled weight decay; biases and norms are exempt.
    pub weight_decay: f64,
    /// The learning rate of all other parameters (AdamW), as a ratio of `learning_rate`.
    pub adamw_ratio: f64,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self { learning_rate: 0.02, momentum: 0.95, weight_decay: 0.01, adamw_ratio: 0.1 }
    }
}

impl OptimizerKind for MuonConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default(), Self { weight_decay: 0.0, adamw_ratio: 0.5, ..Self::default() }]
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn rules(&self) -> Vec<UpdateRule> {
        let matrices = UpdateRule {
            name: "Muon",
            parameters: "hidden matrix or convolution kernel",
            takes: Role::is_hidden_matrix,
            rate_ratio: 1.0,
            state: 1,
        };
        vec![UpdateRule { rate_ratio: self.adamw_ratio, ..UpdateRule::for_all("AdamW", 2) }, matrices]
    }

    fn build(&self, layers: &[LayerSummary]) -> ModuleOptimizer {
        let decay = (self.weight_decay > 0.0).then(|| WeightDecayConfig::new(self.weight_decay as f32));
        let momentum = MomentumConfig { momentum: self.momentum, dampening: 0.0, nesterov: true };
        let muon = optim::MuonConfig::new().with_momentum(momentum).with_weight_decay(decay).build();
        let rest = AdamwConfig { weight_decay: self.weight_decay, ..AdamwConfig::default() };
        rest.build(layers).with_group(group(layers, Role::is_hidden_matrix), Muon(muon), None)
    }
}

impl Check for MuonConfig {
    fn check(&self, problems: &mut Problems) {
        problems.fraction_f32("momentum", self.momentum);
        problems.above_zero_f32("adamw_ratio", self.adamw_ratio, 1.0);
        problems.above_zero_f32("learning_rate", self.learning_rate, 1.0);
        problems.at_most_f32("weight_decay", self.weight_decay, 1.0);
        let rest = self.learning_rate * self.adamw_ratio;
        let each_is_allowed = [self.learning_rate, self.adamw_ratio]
            .iter()
            .all(|value| *value as f32 >= f32::MIN_POSITIVE && *value <= 1.0);
        problems.require(!each_is_allowed || rest as f32 >= f32::MIN_POSITIVE, "adamw_ratio", || {
            format!(
                "{ROUNDED} {rest:?}, the rate of all other parameters (learning_rate * adamw_ratio), is 0; raise either"
            )
        });
    }
}

/// Burn's Muon, which takes matrices, on parameters of any number of dimensions: a convolution's kernel is the matrix
/// `[channels out, channels in x height x width]`, as in Jordan's implementation.
#[derive(Clone)]
struct Muon(optim::Muon);

impl Optimizer for Muon {
    type State<const D: usize> = MuonState<2>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<MuonState<2>>,
    ) -> (Tensor<D>, Option<MuonState<2>>) {
        let shape = parameter.shape();
        let rows = shape[0];
        let matrix = [rows, shape.num_elements() / rows.max(1)];
        let (parameter, state) = self.0.step(learning_rate, parameter.reshape(matrix), gradient.reshape(matrix), state);
        (parameter.reshape(shape), state)
    }

    fn to_device<const D: usize>(state: MuonState<2>, device: &Device) -> MuonState<2> {
        <optim::Muon as Optimizer>::to_device(state, device)
    }
}
