//! Learning-rate schedules: pure functions of the update number, clamped at their end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[schedule]`: how the learning rate moves between the first and the last update. Shares are of the optimizer's
/// `learning_rate`, the peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleConfig {
    /// The shape after the warm-up.
    #[serde(flatten)]
    pub shape: Shape,
    /// Epochs over which the rate first rises in a straight line to the peak; may be a fraction. `one_cycle` has its own.
    #[serde(default)]
    pub warmup_epochs: f64,
}

/// `schedule.kind` and the keys that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shape {
    /// The peak throughout.
    Constant(ConstantConfig),
    /// A straight line from the peak to `final_share`.
    Linear(LinearConfig),
    /// Half a cosine from the peak to `final_share` (Loshchilov and Hutter, 2017).
    Cosine(CosineConfig),
    /// Multiplied by `factor` every `every_epochs` epochs.
    Step(StepConfig),
    /// Multiplied by `factor` every epoch, smoothly.
    Exponential(ExponentialConfig),
    /// Half a cosine up from `initial_share` to the peak, then one down to `final_share` (Smith, 2018; PyTorch's OneCycleLR).
    OneCycle(OneCycleConfig),
}

/// The keys of `schedule.kind = "constant"`: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConstantConfig {}

/// The keys of `schedule.kind = "linear"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LinearConfig {
    /// The last rate as a share of the peak, 0 to 1.
    pub final_share: f64,
}

/// The keys of `schedule.kind = "cosine"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CosineConfig {
    /// The last rate as a share of the peak, 0 to 1.
    pub final_share: f64,
}

/// The keys of `schedule.kind = "step"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StepConfig {
    /// Epochs between two drops.
    pub every_epochs: usize,
    /// What the rate is multiplied by at each drop, above 0 and at most 1.
    pub factor: f64,
}

impl Default for StepConfig {
    fn default() -> Self {
        Self { every_epochs: 1, factor: 0.7 }
    }
}

/// The keys of `schedule.kind = "exponential"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExponentialConfig {
    /// What the rate is multiplied by over one epoch, above 0 and at most 1.
    pub factor: f64,
}

impl Default for ExponentialConfig {
    fn default() -> Self {
        Self { factor: 0.9 }
    }
}

/// The keys of `schedule.kind = "one_cycle"`; the defaults are those of PyTorch's OneCycleLR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OneCycleConfig {
    /// The share of the run spent rising, above 0 and below 1.
    pub rise: f64,
    /// The first rate as a share of the peak, 0 to 1.
    pub initial_share: f64,
    /// The last rate as a share of the peak, 0 to 1.
    pub final_share: f64,
}

impl Default for OneCycleConfig {
    fn default() -> Self {
        Self { rise: 0.3, initial_share: 0.04, final_share: 4e-6 }
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { shape: Shape::Constant(ConstantConfig {}), warmup_epochs: 0.0 }
    }
}
