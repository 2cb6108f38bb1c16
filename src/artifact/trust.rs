//! What a model file says of how far its answers can be trusted: the temperature that its probabilities are computed with, and
//! the limit below which a picture is unlike those of training. Both were measured on validation images when the file was
//! made, by [`eval`](crate::eval); here they are kept and checked.

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::check::Problems;
use crate::logits::{argmax, log_sum_exp};

/// The temperatures that can be fitted, and read.
pub(crate) const TEMPERATURES: std::ops::RangeInclusive<f32> = 0.05..=20.0;

/// A temperature, and what it does (Guo et al., "On calibration of modern neural networks", 2017). Every logit is divided by it
/// before the softmax, so that no answer changes, and its probability becomes how often such answers are right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// What the logits are divided by.
    pub temperature: f32,
    /// The validation images that it was fitted on.
    pub images: u64,
    /// Their mean cross-entropy in nats, without it and with it.
    pub loss: [f64; 2],
    /// Their expected calibration error, without it and with it.
    pub calibration_error: [f64; 2],
}

impl Manifest {
    /// What logits are divided by before the softmax: 1 where nothing was fitted.
    pub fn temperature(&self) -> f64 {
        self.calibration.map_or(1.0, |calibration| f64::from(calibration.temperature))
    }
}

impl Calibration {
    pub(super) fn check(&self, problems: &mut Problems) {
        let Self { temperature, images: _, loss, calibration_error } = self;
        problems.within_range("temperature", *temperature, TEMPERATURES);
        for (key, values) in [("loss", loss), ("calibration_error", calibration_error)] {
            if let Some(value) = values.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
                problems.add(key, format!("must be finite and at least 0, got {value}"));
            }
        }
    }
}

/// What is computed of a picture's logits: low for pictures unlike those of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The logarithm of the largest probability, at a temperature of 1 (Hendrycks and Gimpel, "A baseline for detecting
    /// misclassified and out-of-distribution examples", 2017).
    MaxProbability,
}

/// The limit below which a picture is said to be unlike those of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfDistribution {
    /// What is compared with the limit.
    pub score: Score,
    /// A picture with a lower score is warned of.
    pub threshold: f32,
    /// The validation images that the limit was measured on.
    pub images: u64,
    /// Their share that has at least this score.
    pub passed: f64,
}

impl Score {
    /// The score of a picture with these logits.
    pub fn of(self, logits: &[f32]) -> f64 {
        match self {
            Self::MaxProbability => f64::from(logits[argmax(logits)]) - log_sum_exp(logits),
        }
    }
}

impl OutOfDistribution {
    /// Whether a picture with these logits is unlike those of training.
    pub fn warns(&self, logits: &[f32]) -> bool {
        self.score.of(logits) < f64::from(self.threshold)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let Self { score: _, threshold, images: _, passed } = self;
        problems.require(threshold.is_finite(), "threshold", || format!("must be finite, got {threshold}"));
        problems.within_range("passed", *passed, 0.0..=1.0);
    }
}
