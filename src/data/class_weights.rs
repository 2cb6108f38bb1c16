//! How much an image of each class counts in the training loss.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Problems;

/// `loss.class_weights`: how much an image of each class counts in the training loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassWeights {
    /// Found from the images.
    Rule(ClassWeightRule),
    /// One for each class, in the order of the labels.
    Each(Vec<f64>),
}

/// How class weights are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeightRule {
    /// Every image counts the same.
    None,
    /// An image counts the less, the more there are of its class, so that all classes count the same together.
    Balanced,
}

impl Default for ClassWeights {
    fn default() -> Self {
        Self::Rule(ClassWeightRule::None)
    }
}

impl ClassWeights {
    /// The weight of an image of each class, where `counts` are the training images of each, scaled so that their mean over
    /// the training images is 1: so the learning rate keeps its meaning. None where every image counts the same.
    /// "Balanced" is images / (classes * images of the class), as scikit-learn has it.
    pub(crate) fn of(&self, counts: &[usize]) -> Option<Vec<f64>> {
        let images: usize = counts.iter().sum();
        let weights: Vec<f64> = match self {
            Self::Rule(ClassWeightRule::None) => return None,
            Self::Rule(ClassWeightRule::Balanced) => {
                counts.iter().map(|count| images as f64 / (*count).max(1) as f64).collect()
            }
            Self::Each(weights) => weights.clone(),
        };
        let total: f64 = weights.iter().zip(counts).map(|(weight, count)| weight * *count as f64).sum();
        let scale = if total > 0.0 { images as f64 / total } else { 1.0 };
        Some(weights.into_iter().map(|weight| weight * scale).collect())
    }

    /// Adds what is wrong in itself.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let Self::Each(weights) = self else { return };
        for weight in weights {
            let allowed = *weight > 0.0 && *weight <= 1e6;
            problems.require(allowed, "class_weights", || format!("must be above 0 and at most 1e6, got {weight}"));
        }
    }

    /// Adds what is wrong with it for so many classes.
    pub(crate) fn check_for(&self, classes: usize, problems: &mut Problems) {
        if let Self::Each(weights) = self {
            problems.require(weights.len() == classes, "class_weights", || {
                format!("must have one weight for each of the {classes} classes, got {}", weights.len())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_make_every_class_count_the_same() {
        let balanced = ClassWeights::Rule(ClassWeightRule::Balanced);
        let weights = balanced.of(&[60, 30, 10]).unwrap();
        for (weight, expected) in weights.iter().zip([100.0 / 180.0, 100.0 / 90.0, 100.0 / 30.0]) {
            assert!((weight - expected).abs() < 1e-12, "{weights:?}");
        }
        assert_eq!(balanced.of(&[5, 5]).unwrap(), [1.0, 1.0]);
        assert_eq!(ClassWeights::default().of(&[60, 30]), None);
    }

    #[test]
    fn given_weights_are_scaled_to_a_mean_of_1_over_the_images() {
        let given = ClassWeights::Each(vec![1.0, 3.0]);
        let weights = given.of(&[30, 10]).unwrap();
        assert_eq!(weights[1] / weights[0], 3.0);
        assert!((weights[0] * 30.0 + weights[1] * 10.0 - 40.0).abs() < 1e-9);
        assert_eq!(given.of(&[0, 0]).unwrap(), [1.0, 3.0]);
    }
}
