//! Learning-rate schedules: pure functions of the update number, clamped at their end.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Problems};

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
    /// Epochs that the schedule spans, warm-up included; after them the rate stays where it is. Unset: the whole run.
    #[serde(default)]
    pub epochs: Option<usize>,
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
    /// Multiplied by `factor` every `every_epochs` epochs, counted from the end of the warm-up.
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
    /// The rate at the end of the run as a share of the peak, 0 to 1.
    pub final_share: f64,
}

/// The keys of `schedule.kind = "cosine"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CosineConfig {
    /// The rate at the end of the run as a share of the peak, 0 to 1.
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
        Self { shape: Shape::Constant(ConstantConfig {}), warmup_epochs: 0.0, epochs: None }
    }
}

impl Shape {
    /// The value of `schedule.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Linear(_) => "linear",
            Self::Cosine(_) => "cosine",
            Self::Step(_) => "step",
            Self::Exponential(_) => "exponential",
            Self::OneCycle(_) => "one_cycle",
        }
    }
}

impl ScheduleConfig {
    /// Updates of the warm-up: the nearest whole number, and at least one if there is a warm-up at all.
    pub fn warmup_updates(&self, updates_per_epoch: f64) -> usize {
        if self.warmup_epochs > 0.0 { ((self.warmup_epochs * updates_per_epoch).round() as usize).max(1) } else { 0 }
    }

    /// Updates that the schedule spans in a run of `total_updates`.
    pub fn span(&self, total_updates: usize, updates_per_epoch: f64) -> usize {
        self.epochs.map_or(total_updates, |epochs| (epochs as f64 * updates_per_epoch).round() as usize)
    }

    /// The learning rate of update number `update`, counted from 0, in a run of `total_updates`; `peak` is the
    /// optimizer's `learning_rate`.
    ///
    /// Update `u` of a warm-up over `w` updates gets `peak * (u + 1) / w`. The shape then starts at the peak, at update
    /// `w`, and is PyTorch's for the remaining updates: `LinearLR`, `CosineAnnealingLR`, `StepLR`, `ExponentialLR` (per
    /// update, with the epoch as a fraction), `OneCycleLR`. From the end of its span on, the rate stays where it is.
    pub fn rate(&self, peak: f64, update: usize, total_updates: usize, updates_per_epoch: f64) -> f64 {
        let span = self.span(total_updates, updates_per_epoch);
        if let Shape::OneCycle(config) = &self.shape {
            return peak * config.share(update.min(span.saturating_sub(1)), span);
        }
        let warmup = self.warmup_updates(updates_per_epoch);
        if update < warmup {
            return peak * (update + 1) as f64 / warmup as f64;
        }
        let length = span.saturating_sub(warmup);
        let done = update - warmup;
        let progress = if length == 0 { 1.0 } else { done as f64 / length as f64 }.min(1.0);
        // Step and exponential have no end of their own; they stay at the last update's rate.
        let epoch = done.min(length.saturating_sub(1)) as f64 / updates_per_epoch.max(f64::MIN_POSITIVE);
        peak * match &self.shape {
            Shape::Constant(_) | Shape::OneCycle(_) => 1.0,
            Shape::Linear(config) => 1.0 + (config.final_share - 1.0) * progress,
            Shape::Cosine(config) => half_cosine(1.0, config.final_share, progress),
            Shape::Step(config) => config.factor.powf((epoch / config.every_epochs as f64).floor()),
            Shape::Exponential(config) => config.factor.powf(epoch),
        }
    }
}

impl OneCycleConfig {
    /// `OneCycleLR(anneal_strategy="cos")`: the phases end at updates `rise * updates - 1` and `updates - 1`.
    fn share(&self, update: usize, updates: usize) -> f64 {
        let last = updates.saturating_sub(1) as f64;
        let top = (self.rise * updates as f64 - 1.0).max(0.0);
        let update = update as f64;
        if update < top {
            half_cosine(self.initial_share, 1.0, update / top)
        } else if last <= top {
            1.0
        } else {
            half_cosine(1.0, self.final_share, (update - top) / (last - top))
        }
    }
}

/// Half a cosine from `from` at progress 0 to `to` at progress 1.
fn half_cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * progress).cos()) / 2.0
}

impl Check for ScheduleConfig {
    fn check(&self, problems: &mut Problems) {
        match &self.shape {
            Shape::Constant(_) => {}
            Shape::Linear(LinearConfig { final_share }) | Shape::Cosine(CosineConfig { final_share }) => {
                problems.within_range("final_share", *final_share, 0.0..=1.0);
            }
            Shape::Step(config) => {
                problems.within_range("every_epochs", config.every_epochs, 1..=1_000_000);
                problems.above_zero("factor", config.factor, 1.0);
            }
            Shape::Exponential(config) => problems.above_zero("factor", config.factor, 1.0),
            Shape::OneCycle(config) => {
                problems.require(config.rise > 0.0 && config.rise < 1.0, "rise", || {
                    format!("must be above 0 and below 1, got {}", config.rise)
                });
                problems.within_range("initial_share", config.initial_share, 0.0..=1.0);
                problems.within_range("final_share", config.final_share, 0.0..=1.0);
            }
        }
        problems.within_range("warmup_epochs", self.warmup_epochs, 0.0..=1_000_000.0);
        if let Some(epochs) = self.epochs {
            problems.within_range("epochs", epochs, 1..=1_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape, warmup_epochs: f64) -> ScheduleConfig {
        ScheduleConfig { shape, warmup_epochs, epochs: None }
    }

    fn shapes() -> Vec<Shape> {
        vec![
            Shape::Constant(ConstantConfig {}),
            Shape::Linear(LinearConfig { final_share: 0.1 }),
            Shape::Cosine(CosineConfig::default()),
            Shape::Step(StepConfig { every_epochs: 2, factor: 0.5 }),
            Shape::Exponential(ExponentialConfig::default()),
            Shape::OneCycle(OneCycleConfig::default()),
        ]
    }

    /// The rates of a run of 10 updates in 5 epochs, with a peak of 0.1, rounded to 9 decimals.
    fn rates(schedule: &ScheduleConfig) -> Vec<f64> {
        (0..10).map(|update| (schedule.rate(0.1, update, 10, 2.0) * 1e9).round() / 1e9).collect()
    }

    #[test]
    fn shapes_follow_the_formulas_of_pytorch() {
        let rates = |shape| rates(&schedule(shape, 0.0));
        assert_eq!(rates(Shape::Constant(ConstantConfig {})), [0.1; 10]);
        // LinearLR(start_factor=1, end_factor=0.1, total_iters=10)
        let linear = [0.1, 0.091, 0.082, 0.073, 0.064, 0.055, 0.046, 0.037, 0.028, 0.019];
        assert_eq!(rates(Shape::Linear(LinearConfig { final_share: 0.1 })), linear);
        // CosineAnnealingLR(T_max=10)
        let cosine = [
            0.1,
            0.097552826,
            0.090450850,
            0.079389263,
            0.065450850,
            0.05,
            0.034549150,
            0.020610737,
            0.009549150,
            0.002447174,
        ];
        assert_eq!(rates(Shape::Cosine(CosineConfig::default())), cosine);
        // StepLR(step_size=2, gamma=0.5), stepped once per epoch
        let step = [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025];
        assert_eq!(rates(Shape::Step(StepConfig { every_epochs: 2, factor: 0.5 })), step);
        // ExponentialLR(gamma=0.81): at whole epochs 0.1 * 0.81^k, halfway its geometric mean
        let exponential = rates(Shape::Exponential(ExponentialConfig { factor: 0.81 }));
        assert_eq!(exponential[..5], [0.1, 0.09, 0.081, 0.0729, 0.06561]);
        // OneCycleLR(max_lr=0.1, total_steps=10): phases end at steps 2 and 9
        let one_cycle = [
            0.004,
            0.052,
            0.1,
            0.095048463,
            0.081174565,
            0.061126202,
            0.038874198,
            0.018825835,
            0.004951937,
            0.0000004,
        ];
        assert_eq!(rates(Shape::OneCycle(OneCycleConfig::default())), one_cycle);
    }

    #[test]
    fn a_warm_up_rises_in_a_straight_line_that_does_not_begin_at_zero() {
        for shape in shapes().into_iter().filter(|shape| !matches!(shape, Shape::OneCycle(_))) {
            let rates = rates(&schedule(shape, 2.0));
            assert_eq!(rates[..5], [0.025, 0.05, 0.075, 0.1, 0.1]);
            assert!(rates[4..].is_sorted_by(|before, after| before >= after));
        }
        // A warm-up of less than one update still is one update.
        assert_eq!(schedule(Shape::Constant(ConstantConfig {}), 0.01).warmup_updates(2.0), 1);
        assert_eq!(schedule(Shape::Constant(ConstantConfig {}), 0.25).warmup_updates(600.0), 150);
    }

    #[test]
    fn no_shape_rises_again_after_its_end() {
        for shape in shapes() {
            let schedule = schedule(shape, 0.0);
            let end = schedule.rate(0.1, 10, 10, 2.0);
            for update in [10, 11, 12, 15, 20, 1000] {
                assert_eq!(schedule.rate(0.1, update, 10, 2.0), end, "{}", schedule.shape.kind());
            }
            assert!(end <= schedule.rate(0.1, 9, 10, 2.0));
        }
    }

    #[test]
    fn a_schedule_of_fewer_epochs_than_the_run_ends_early_and_stays() {
        for shape in shapes() {
            let whole = schedule(shape, 0.0);
            let short = ScheduleConfig { epochs: Some(5), ..whole.clone() };
            for update in 0..20 {
                assert_eq!(short.rate(0.1, update, 20, 2.0), whole.rate(0.1, update, 10, 2.0));
            }
        }
    }

    #[test]
    fn runs_of_a_single_update_have_a_rate() {
        for shape in shapes() {
            let rate = schedule(shape, 0.0).rate(0.1, 0, 1, 1.0);
            assert!(rate > 0.0 && rate <= 0.1, "{rate}");
        }
    }
}
