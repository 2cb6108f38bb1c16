//! PyTorch's `CosineAnnealingLR`.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Position, ScheduleKind};
use crate::check::{Check, Problems};

/// Half a cosine from the peak to `final_ratio` (Loshchilov and Hutter, 2017).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CosineLr {
    /// The rate at the end of the run as a ratio of the peak, 0 to 1.
    pub final_ratio: f64,
}

impl ScheduleKind for CosineLr {
    fn examples() -> Vec<Self> {
        vec![Self::default(), Self { final_ratio: 0.1 }]
    }

    fn ratio(&self, at: Position) -> f64 {
        half_cosine(1.0, self.final_ratio, at.progress())
    }
}

impl Check for CosineLr {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("final_ratio", self.final_ratio, 0.0..=1.0);
    }
}

/// Half a cosine from `from` at progress 0 to `to` at progress 1.
pub(super) fn half_cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * progress).cos()) / 2.0
}
