//! The sections that say how training goes: `[loss]`, `[train]`, `[early_stopping]`, `[stop_at]`, `[checkpoint]`, `[log]`. The
//! code that they configure takes a whole experiment, so they stand here and not beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Problems};
use crate::data::mixing::Mixing;
use crate::data::{ClassWeights, DataPath, Sampling};

/// `[loss]`: cross-entropy between prediction and label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LossConfig {
    /// Fraction of the target taken from the true class and spread over all classes, 0 to below 1.
    pub label_smoothing: f64,
    /// How much an image of each class counts in the training loss: "none", all the same; "balanced", the less the more there
    /// are of its class; or a list with a number for each class, of which only the ratios matter. Validation and test losses
    /// are not weighted.
    pub class_weights: ClassWeights,
    /// A model file to learn from besides the labels (distillation; Hinton et al., 2015): its answers for the very images that
    /// the network sees, distorted and mixed. An ensemble may be one.
    pub teacher: Option<DataPath>,
    /// The teacher's share of the loss, above 0 and at most 1; the labels have the rest.
    pub teacher_weight: f64,
    /// What the logits of teacher and network are divided by before they are compared, 0.1 to 100: the higher, the more the
    /// teacher's opinion of the wrong classes counts.
    pub temperature: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            class_weights: ClassWeights::default(),
            teacher: None,
            teacher_weight: 0.9,
            temperature: 4.0,
        }
    }
}

/// `train.precision`: what a training step computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16 between the images and the logits.
    Bf16,
}

/// `[train]`: epochs, batches, iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TrainConfig {
    /// Passes over the training set.
    pub epochs: usize,
    /// Images that go through the network together in one iteration.
    pub batch_size: usize,
    /// Leave out the last batch of an epoch when it is smaller than `batch_size`.
    pub drop_last: bool,
    /// Overrides images / batch_size. More repeats images within an epoch, fewer leaves some unseen; the plan says how many.
    pub iterations_per_epoch: Option<usize>,
    /// Batches whose gradients are averaged into one update of the parameters; must divide the iterations per epoch.
    pub accumulation: usize,
    /// Trains on the first so many batches alone, the same in every epoch, without augmentation, validation and test: whether the
    /// network can learn them by heart. A test of the network and its training; the run is no result.
    pub overfit_batches: Option<usize>,
    /// Scales the gradients down when their norm over all parameters together exceeds this.
    pub clip_norm: Option<f64>,
    /// Which images an epoch shows: "uniform", each as often; "balanced", as many of every class, for classes of unequal
    /// sizes.
    pub sampling: Sampling,
    /// What a training step computes in: "f32"; or "bf16", bfloat16 for convolutions, fully connected layers and what is between
    /// them, and 32 bits for weights, their updates, norms, the loss, validation and the model file. Only where it is known to
    /// train as well: on "flex", which has no arithmetic for it and is slower with it. For trying what it does.
    pub precision: Precision,
    /// Decay of an exponential moving average of all weights, above 0 and below 1, taken once per update: it is what is validated
    /// and kept. The first updates of a run use at most (1 + updates) / (10 + updates). Batch norms' running statistics are
    /// averaged too. 0.999 remembers about 1,000 updates.
    pub ema: Option<f64>,
    /// mixup (Zhang et al., 2018): every image and its label are a weighted sum of two of the batch, the share drawn per batch
    /// from Beta(alpha, alpha); this is alpha, 0.05 to 1. The training accuracy counts the label with the larger share.
    pub mixup: Option<f64>,
    /// CutMix (Yun et al., 2019): a rectangle of every image comes from another of the batch, and as much of its label; alpha, as
    /// for `mixup`, 0.05 to 1. With both, each batch draws one of them.
    pub cutmix: Option<f64>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 100,
            drop_last: false,
            iterations_per_epoch: None,
            accumulation: 1,
            overfit_batches: None,
            clip_norm: None,
            sampling: Sampling::Uniform,
            precision: Precision::F32,
            ema: None,
            mixup: None,
            cutmix: None,
        }
    }
}

/// A figure of the validation images that epochs are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Correct answers of all.
    Accuracy,
    /// The mean over the classes of the share of their images that is recognised.
    BalancedAccuracy,
    /// The mean over the classes of their F1.
    MacroF1,
    /// The mean cross-entropy.
    Loss,
}

impl Monitor {
    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::MacroF1 => "macro F1",
            Self::Loss => "loss",
        }
    }
}

/// `[early_stopping]`: ends the run when a figure of the validation images, by default their loss, has stopped improving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EarlyStoppingConfig {
    /// Epochs without improvement to wait for; unset: never stop early.
    pub patience: Option<usize>,
    /// A smaller decrease of the validation loss, or rise of another figure, than this is no improvement.
    pub min_delta: f64,
    /// The figure that has to improve: "loss", "accuracy", "balanced_accuracy" or "macro_f1".
    pub monitor: Monitor,
}

impl Default for EarlyStoppingConfig {
    fn default() -> Self {
        Self { patience: None, min_delta: 0.0, monitor: Monitor::Loss }
    }
}

/// `[stop_at]`: ends the run when a goal is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StopAtConfig {
    /// Stop after the first epoch whose validation accuracy is at least this, 0 to 1.
    pub validation_accuracy: Option<f64>,
}

/// `[checkpoint]`: what is saved so that a run can be resumed. A checkpoint is written after every epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckpointConfig {
    /// Newest checkpoints to keep, besides the best one.
    pub keep_last: usize,
    /// Also save inside an epoch, after every so many iterations.
    pub every_iterations: Option<usize>,
    /// Also save inside an epoch, when so many minutes have passed since the last save.
    pub every_minutes: Option<f64>,
    /// The figure of the validation images that makes an epoch the best, whose weights are kept: "accuracy",
    /// "balanced_accuracy", "macro_f1" or "loss"; among equals, the lower loss.
    pub best_by: Monitor,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { keep_last: 2, every_iterations: None, every_minutes: None, best_by: Monitor::Accuracy }
    }
}

/// `[log]`: what else is written while a run trains. It changes nothing about the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogConfig {
    /// Write event files for TensorBoard into the folder `tensorboard` of the run.
    pub tensorboard: bool,
}

impl LossConfig {
    /// The same without a teacher.
    #[must_use]
    pub(crate) fn without_teacher(&self) -> Self {
        let Self { teacher, teacher_weight, temperature, .. } = Self::default();
        Self { teacher, teacher_weight, temperature, ..self.clone() }
    }
}

impl Check for LossConfig {
    fn check(&self, problems: &mut Problems) {
        problems.fraction_f32("label_smoothing", self.label_smoothing);
        self.class_weights.check(problems);
        if let Some(teacher) = &self.teacher {
            let empty = teacher.absolute().as_os_str().is_empty();
            problems.require(!empty, "teacher", || "must name a model file, got an empty path".into());
        }
        problems.above_zero_f32("teacher_weight", self.teacher_weight, 1.0);
        problems.within_range("temperature", self.temperature, 0.1..=100.0);
    }
}

impl TrainConfig {
    /// How the images of a batch are mixed.
    pub(crate) fn mixing(&self) -> Mixing {
        match self.overfit_batches {
            None => Mixing { mixup: self.mixup, cutmix: self.cutmix },
            Some(_) => Mixing::default(),
        }
    }
}

impl Check for TrainConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("epochs", self.epochs, 1..=1_000_000);
        problems.within_range("batch_size", self.batch_size, 1..=1_000_000);
        if let Some(iterations) = self.iterations_per_epoch {
            problems.within_range("iterations_per_epoch", iterations, 1..=100_000_000);
        }
        problems.within_range("accumulation", self.accumulation, 1..=1_000_000);
        if let Some(batches) = self.overfit_batches {
            problems.within_range("overfit_batches", batches, 1..=1_000_000);
        }
        if let Some(norm) = self.clip_norm {
            problems.above_zero_f32("clip_norm", norm, 1e6);
        }
        if let Some(decay) = self.ema {
            problems.require(decay > 0.0 && decay < 1.0, "ema", || format!("must be above 0 and below 1, got {decay}"));
        }
        for (key, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if let Some(alpha) = alpha {
                problems.within_range(key, alpha, 0.05..=1.0);
            }
        }
    }
}

impl Check for EarlyStoppingConfig {
    fn check(&self, problems: &mut Problems) {
        if let Some(patience) = self.patience {
            problems.within_range("patience", patience, 1..=1_000_000);
        }
        problems.within_range("min_delta", self.min_delta, 0.0..=1e6);
    }
}

impl Check for StopAtConfig {
    fn check(&self, problems: &mut Problems) {
        if let Some(accuracy) = self.validation_accuracy {
            problems.require(accuracy > 0.0 && accuracy <= 1.0, "validation_accuracy", || {
                format!("must be above 0 and at most 1 (99.2 % is 0.992), got {accuracy}")
            });
        }
    }
}

impl Check for CheckpointConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("keep_last", self.keep_last, 1..=1_000_000);
        if let Some(iterations) = self.every_iterations {
            problems.within_range("every_iterations", iterations, 1..=100_000_000);
        }
        if let Some(minutes) = self.every_minutes {
            problems.above_zero("every_minutes", minutes, 1e6);
        }
    }
}
