//! PyTorch's `LinearLR`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Position, ScheduleKind};
use crate::check::{Check, Problems};

/// A straight line from the peak to `final_ratio`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LinearLr {
    /// The rate at the end of the run as a ratio of the peak, 0 to 1.
    pub final_ratio: f64,
}

impl ScheduleKind for LinearLr {
    fn examples() -> Vec<Self> {
        vec![Self { final_ratio: 0.1 }]
    }

    fn ratio(&self, at: Position) -> f64 {
        1.0 + (self.final_ratio - 1.0) * at.progress()
    }
}

impl Check for LinearLr {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("final_ratio", self.final_ratio, 0.0..=1.0);
    }
}
