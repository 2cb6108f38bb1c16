//! Learning-rate schedules: pure functions of the update number, clamped at their end. One file per kind.
//!
//! A new schedule is one new file and one line of the list below; `CONTRIBUTING.md` shows one. The tests that walk
//! [`Shape::examples`] then cover it.

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Problems};
use crate::kinds::kinds;

/// The most milestones that a schedule lists.
const MOST_MILESTONES: usize = 1000;

/// What a kind of schedule says of itself. Its updates are those after the warm-up, counted from 0; a kind with a warm-up of
/// its own has no other.
trait ScheduleKind: Check {
    /// Small examples that between them take every path through the code.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// The rate there, as a ratio of the peak: at most 1, and after the peak it never rises.
    fn ratio(&self, at: Position) -> f64;

    /// The key that sets the kind's own warm-up, if it has one.
    fn own_warmup(&self) -> Option<&'static str> {
        None
    }

    /// The update with the highest rate of `updates`, rounded either way.
    fn top(&self, _updates: usize) -> usize {
        0
    }

    /// Updates, out of `updates`, after which something changes, and what.
    fn milestones(&self, _updates: usize, _updates_per_epoch: usize) -> Vec<(usize, &'static str)> {
        Vec::new()
    }

    /// A key that contradicts the schedule's length of so many epochs, the warm-up included, which `limit` names: the key,
    /// and what to change.
    fn contradiction(&self, _warmup_epochs: f64, _epochs: usize, _limit: &str) -> Option<(&'static str, String)> {
        None
    }

    /// Whether the rate never changes after the warm-up.
    fn is_constant(&self) -> bool {
        false
    }
}

/// Where an update stands in its schedule.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Updates before it since the warm-up.
    done: usize,
    /// Updates that the schedule spans after the warm-up; an update beyond them is possible.
    updates: usize,
    updates_per_epoch: f64,
}

impl Position {
    /// From 0 at the first update to 1 after the last.
    fn progress(self) -> f64 {
        if self.updates == 0 { 1.0 } else { self.done as f64 / self.updates as f64 }.min(1.0)
    }

    /// Epochs before the update, as a fraction; beyond the end, those of the last update.
    fn epoch(self) -> f64 {
        self.done.min(self.updates.saturating_sub(1)) as f64 / self.updates_per_epoch.max(f64::MIN_POSITIVE)
    }
}

kinds! {
    /// `schedule.kind` and the keys that belong to it.
    pub enum Shape: ScheduleKind {
        constant: Constant(ConstantLr),
        linear: Linear(LinearLr),
        cosine: Cosine(CosineLr),
        step: Step(StepLr),
        exponential: Exponential(ExponentialLr),
        one_cycle: OneCycle(OneCycleLr),
    }
}

/// `[schedule]`: how the learning rate moves between the first and the last update. Ratios are of the optimizer's
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

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { shape: Shape::Constant(ConstantLr {}), warmup_epochs: 0.0, epochs: None }
    }
}

impl ScheduleConfig {
    /// Multiplies the rate by `factor` after every update, where an epoch is one update. Above 1 it rises without end, as no
    /// config may: for a test of many rates.
    pub(crate) fn rising(factor: f64) -> Self {
        Self { shape: Shape::Exponential(ExponentialLr { gamma: factor }), ..Self::default() }
    }

    /// Updates of the warm-up: the nearest whole number, and at least one if there is a warm-up at all; none where the kind
    /// has its own.
    pub(crate) fn warmup_updates(&self, updates_per_epoch: f64) -> usize {
        if self.warmup_epochs > 0.0 && self.own_warmup().is_none() {
            ((self.warmup_epochs * updates_per_epoch).round() as usize).max(1)
        } else {
            0
        }
    }

    /// Updates that the schedule spans in a run of `total_updates`.
    pub(crate) fn span(&self, total_updates: usize, updates_per_epoch: f64) -> usize {
        self.epochs.map_or(total_updates, |epochs| (epochs as f64 * updates_per_epoch).round() as usize)
    }

    /// The learning rate of update number `update`, counted from 0, in a run of `total_updates`; `peak` is the
    /// optimizer's `learning_rate`.
    ///
    /// Update `u` of a warm-up over `w` updates gets `peak * (u + 1) / w`. The shape then starts at the peak, at update
    /// `w`, and is PyTorch's for the remaining updates. From the end of its span on, the rate stays where it is.
    pub fn rate(&self, peak: f64, update: usize, total_updates: usize, updates_per_epoch: f64) -> f64 {
        let warmup = self.warmup_updates(updates_per_epoch);
        if update < warmup {
            return peak * (update + 1) as f64 / warmup as f64;
        }
        let updates = self.span(total_updates, updates_per_epoch).saturating_sub(warmup);
        peak * self.shape.as_kind().ratio(Position { done: update - warmup, updates, updates_per_epoch })
    }

    /// The update with the highest rate in a run of `total_updates`, counted from 0: of several, the first.
    pub(crate) fn highest(&self, peak: f64, total_updates: usize, updates_per_epoch: f64) -> usize {
        let warmup = self.warmup_updates(updates_per_epoch);
        let updates = self.span(total_updates, updates_per_epoch).saturating_sub(warmup);
        let top = warmup + self.shape.as_kind().top(updates);
        let rate = |update: usize| self.rate(peak, update, total_updates, updates_per_epoch);
        let candidates = [0, top.saturating_sub(1), top, top + 1].into_iter().filter(|update| *update < total_updates);
        candidates.max_by(|a, b| rate(*a).total_cmp(&rate(*b)).then(b.cmp(a))).unwrap_or(0)
    }

    /// The updates of a run of `total_updates` after which the rate's course changes, and what happens there.
    pub(crate) fn milestones(
        &self,
        peak: f64,
        total_updates: usize,
        updates_per_epoch: usize,
    ) -> Vec<(usize, &'static str)> {
        let warmup = self.warmup_updates(updates_per_epoch as f64);
        let span = self.span(total_updates, updates_per_epoch as f64);
        let mut found = Vec::new();
        if warmup > 0 {
            found.push((warmup, "warm-up ends"));
        }
        if self.own_warmup().is_some() {
            found.push((self.highest(peak, total_updates, updates_per_epoch as f64) + 1, "peak"));
        }
        let own = self.shape.as_kind().milestones(span.saturating_sub(warmup), updates_per_epoch);
        found.extend(own.into_iter().map(|(update, event)| (warmup + update, event)));
        if span < total_updates {
            found.push((span, "schedule ends"));
        }
        found
    }

    /// The key that sets the kind's own warm-up, if it has one.
    pub(crate) fn own_warmup(&self) -> Option<&'static str> {
        self.shape.as_kind().own_warmup()
    }

    /// A key of the kind that contradicts the schedule's length of so many epochs, which `limit` names: the key, and what
    /// to change.
    pub(crate) fn contradiction(&self, epochs: usize, limit: &str) -> Option<(&'static str, String)> {
        self.shape.as_kind().contradiction(self.warmup_epochs, epochs, limit)
    }

    /// Whether the rate never changes after the warm-up.
    pub(crate) fn is_constant(&self) -> bool {
        self.shape.as_kind().is_constant()
    }
}

impl Check for ScheduleConfig {
    fn check(&self, problems: &mut Problems) {
        self.shape.check(problems);
        problems.within_range("warmup_epochs", self.warmup_epochs, 0.0..=1_000_000.0);
        if let Some(epochs) = self.epochs {
            problems.within_range("epochs", epochs, 1..=1_000_000);
        }
    }
}
