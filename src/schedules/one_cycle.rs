//! PyTorch's `OneCycleLR(anneal_strategy="cos")`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cosine::half_cosine;
use super::{Position, ScheduleKind};
use crate::check::{Check, Problems};

/// Half a cosine up from `initial_ratio` to the peak, then one down to `final_ratio` (Smith, 2018; PyTorch's OneCycleLR).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OneCycleLr {
    /// The fraction of the run spent rising to the peak, above 0 and below 1.
    pub pct_start: f64,
    /// The first rate as a ratio of the peak, 0 to 1; PyTorch's `1 / div_factor`.
    pub initial_ratio: f64,
    /// The last rate as a ratio of the peak, 0 to 1; PyTorch's `1 / (div_factor * final_div_factor)`.
    pub final_ratio: f64,
}

impl Default for OneCycleLr {
    fn default() -> Self {
        Self { pct_start: 0.3, initial_ratio: 0.04, final_ratio: 4e-6 }
    }
}

impl OneCycleLr {
    /// The phases end at updates `pct_start * updates - 1` and `updates - 1`.
    fn top_of(&self, updates: usize) -> f64 {
        (self.pct_start * updates as f64 - 1.0).max(0.0)
    }
}

impl ScheduleKind for OneCycleLr {
    fn examples() -> Vec<Self> {
        vec![Self::default(), Self { pct_start: 0.5, initial_ratio: 0.0, final_ratio: 0.1 }]
    }

    fn ratio(&self, at: Position) -> f64 {
        let last = at.updates.saturating_sub(1);
        let (update, last, top) = (at.done.min(last) as f64, last as f64, self.top_of(at.updates));
        if update < top {
            half_cosine(self.initial_ratio, 1.0, update / top)
        } else if last <= top {
            1.0
        } else {
            half_cosine(1.0, self.final_ratio, (update - top) / (last - top))
        }
    }

    fn own_warmup(&self) -> Option<&'static str> {
        Some("schedule.pct_start")
    }

    fn top(&self, updates: usize) -> usize {
        self.top_of(updates) as usize
    }
}

impl Check for OneCycleLr {
    fn check(&self, problems: &mut Problems) {
        problems.require(self.pct_start > 0.0 && self.pct_start < 1.0, "pct_start", || {
            format!("must be above 0 and below 1, got {}", self.pct_start)
        });
        problems.within_range("initial_ratio", self.initial_ratio, 0.0..=1.0);
        problems.within_range("final_ratio", self.final_ratio, 0.0..=1.0);
    }
}
