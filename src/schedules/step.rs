//! PyTorch's `StepLR`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_MILESTONES, Position, ScheduleKind};
use crate::check::{Check, Problems};

/// Multiplied by `gamma` every `every_epochs` epochs, counted from the end of the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StepLr {
    /// Epochs between two drops.
    pub every_epochs: usize,
    /// What the rate is multiplied by at each drop, above 0 and at most 1.
    pub gamma: f64,
}

impl Default for StepLr {
    fn default() -> Self {
        Self { every_epochs: 1, gamma: 0.7 }
    }
}

impl ScheduleKind for StepLr {
    fn examples() -> Vec<Self> {
        vec![Self { every_epochs: 2, gamma: 0.5 }]
    }

    fn ratio(&self, at: Position) -> f64 {
        self.gamma.powf((at.epoch() / self.every_epochs as f64).floor())
    }

    fn milestones(&self, updates: usize, updates_per_epoch: usize) -> Vec<(usize, &'static str)> {
        let every = (self.every_epochs * updates_per_epoch).max(1);
        (every..updates).step_by(every).take(MOST_MILESTONES).map(|update| (update, "drop")).collect()
    }

    fn contradiction(&self, warmup_epochs: f64, epochs: usize, limit: &str) -> Option<(&'static str, String)> {
        let first = warmup_epochs + self.every_epochs as f64;
        (first >= epochs as f64).then(|| {
            let message = format!(
                "the first drop would come after epoch {first}, but the schedule ends with {limit}: set it to less than {}, or schedule.kind = \"constant\"",
                epochs as f64 - warmup_epochs
            );
            ("schedule.every_epochs", message)
        })
    }
}

impl Check for StepLr {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("every_epochs", self.every_epochs, 1..=1_000_000);
        problems.above_zero("gamma", self.gamma, 1.0);
    }
}
