//! PyTorch's `ExponentialLR`, per update, with the epoch as a fraction.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Position, ScheduleKind};
use crate::check::{Check, Problems};

/// Multiplied by `gamma` every epoch, smoothly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExponentialLr {
    /// What the rate is multiplied by over one epoch, above 0 and at most 1.
    pub gamma: f64,
}

impl Default for ExponentialLr {
    fn default() -> Self {
        Self { gamma: 0.9 }
    }
}

impl ScheduleKind for ExponentialLr {
    fn examples() -> Vec<Self> {
        vec![Self::default()]
    }

    fn ratio(&self, at: Position) -> f64 {
        self.gamma.powf(at.epoch())
    }
}

impl Check for ExponentialLr {
    fn check(&self, problems: &mut Problems) {
        problems.above_zero("gamma", self.gamma, 1.0);
    }
}
