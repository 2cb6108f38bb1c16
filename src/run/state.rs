//! Where a run stands: everything training needs, besides weights and optimizer state, to go on as the run that was never
//! stopped. Saved in every checkpoint, so that a checkpoint holds the whole truth about its run.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The version of [`TrainingState`]: raised when a field's meaning changes, or one is added that an older kiln must not
/// pass over.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// The metrics of one finished epoch: a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Iterations since the run began.
    pub iteration: usize,
    /// The learning rate of the epoch's last update.
    pub learning_rate: f64,
    /// Mean loss per training image, measured while training, in nats.
    pub train_loss: f64,
    /// Training accuracy, measured while training: correct / images.
    pub train_accuracy: f64,
    /// Mean cross-entropy per validation image, in nats; absent without validation images.
    pub validation_loss: Option<f64>,
    /// Validation accuracy: correct / images; absent without validation images.
    pub validation_accuracy: Option<f64>,
    /// SHA-256 of all weights after the epoch: two runs that agree here are the same run.
    pub weights_sha256: String,
    /// Training images per second, validation and saving not counted.
    pub images_per_second: f64,
    /// Seconds the epoch took, its validation counted and its checkpoint not.
    pub seconds: f64,
}

/// Loss and accuracy summed over images, so that a small last batch does not count as much as a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricSums {
    /// Images seen.
    pub images: u64,
    /// Images whose class was predicted.
    pub correct: u64,
    /// The bits of the summed loss (`f64`): a JSON parser may lose the last bit of a number, and a resumed run may not.
    loss_bits: u64,
}

impl MetricSums {
    /// Adds a batch of `images` with this mean `loss` and this many `correct`.
    pub fn add(&mut self, images: usize, loss: f64, correct: u64) {
        self.images += images as u64;
        self.correct += correct;
        self.loss_bits = (f64::from_bits(self.loss_bits) + loss * images as f64).to_bits();
    }

    /// Mean loss per image.
    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss_bits) / self.images.max(1) as f64
    }

    /// Accuracy: correct / images.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }
}

/// The best epoch so far: the highest validation accuracy, the lower validation loss where two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Iterations done in the run at its end: the name of its checkpoint.
    pub iteration: usize,
    /// Its validation metrics; all zero without validation images.
    pub validation: MetricSums,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TrainingState {
    /// The version of this layout.
    #[serde(default = "first_version")]
    pub(crate) schema_version: u32,
    /// The resolved experiment: what `config.toml` is a copy of.
    pub(crate) config: String,
    /// The experiment that `config` took the place of in this very checkpoint: `config.toml` may still hold it when the
    /// process was killed between the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replaced_config: Option<String>,
    /// The run whose weights this one began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// Where it is trained, for example `flex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// Which operations compute it on the CPU: `kiln` or `stock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernels: Option<String>,
    /// SHA-256 of the data set's source.
    pub(crate) data_fingerprint: String,
    /// SHA-256 of the weights of the model that is learned from besides the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) teacher_sha256: Option<String>,
    /// The epoch under way, from 1; one more than the last when the run is complete.
    pub(crate) epoch: usize,
    /// Iterations done in that epoch.
    pub(crate) iteration_in_epoch: usize,
    /// Iterations done in the run.
    pub(crate) iteration: usize,
    /// Updates of the parameters done in the run.
    pub(crate) update: usize,
    /// The epoch under way so far.
    #[serde(alias = "tally")]
    pub(crate) epoch_sums: MetricSums,
    /// The best epoch so far.
    pub(crate) best: Option<Best>,
    /// The lowest validation loss so far, as the bits of an `f64`.
    pub(crate) lowest_loss_bits: u64,
    /// Epochs since that loss was last improved on by more than `early_stopping.min_delta`.
    pub(crate) epochs_without_improvement: usize,
    /// Seconds of training in finished and unfinished epochs.
    pub(crate) train_seconds: f64,
    /// Training images those seconds were spent on.
    pub(crate) train_images: u64,
    /// Why the run ended before its last epoch, by its own rules.
    pub(crate) stopped: Option<String>,
    /// The lines of `metrics.jsonl`, to the letter.
    pub(crate) metrics: Vec<String>,
}

/// The version of states that do not name theirs.
fn first_version() -> u32 {
    1
}

impl Default for TrainingState {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            config: String::new(),
            replaced_config: None,
            parent: None,
            device: None,
            kernels: None,
            data_fingerprint: String::new(),
            teacher_sha256: None,
            epoch: 1,
            iteration_in_epoch: 0,
            iteration: 0,
            update: 0,
            epoch_sums: MetricSums::default(),
            best: None,
            lowest_loss_bits: f64::INFINITY.to_bits(),
            epochs_without_improvement: 0,
            train_seconds: 0.0,
            train_images: 0,
            stopped: None,
            metrics: Vec::new(),
        }
    }
}

/// Reads a state. One of an older kiln gets the defaults of what it lacks.
///
/// # Errors
/// When it is of a newer version, or says something that this kiln does not understand.
pub(super) fn decode(bytes: &[u8]) -> Result<TrainingState> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(default = "first_version")]
        schema_version: u32,
    }
    let unreadable = |error| Error::usage("its state has another form").caused_by(error);
    let Version { schema_version } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if schema_version > SCHEMA_VERSION {
        return Err(Error::usage(format!(
            "its state is of version {schema_version}, and this kiln knows versions up to {SCHEMA_VERSION}"
        )));
    }
    let state: TrainingState = serde_json::from_slice(bytes).map_err(unreadable)?;
    if state.config.is_empty() || state.epoch == 0 {
        return Err(Error::usage("its state does not say what run it belongs to"));
    }
    Ok(TrainingState { schema_version: SCHEMA_VERSION, ..state })
}

impl TrainingState {
    /// Whether nothing is left to train: all of `epochs` are done, or the run has stopped by its own rules.
    pub(crate) fn is_trained(&self, epochs: usize) -> bool {
        self.epoch > epochs || self.stopped.is_some()
    }

    /// Takes a finished epoch's validation metrics into account and says whether it is the best so far. Without
    /// validation images the last epoch is always the best.
    pub(crate) fn judge(&mut self, validation: Option<MetricSums>, min_delta: f64) -> bool {
        let (epoch, iteration) = (self.epoch, self.iteration);
        let Some(validation) = validation else {
            self.best = Some(Best { epoch, iteration, validation: MetricSums::default() });
            return true;
        };
        let lowest = f64::from_bits(self.lowest_loss_bits);
        if validation.loss() < lowest - min_delta {
            self.lowest_loss_bits = validation.loss().to_bits();
            self.epochs_without_improvement = 0;
        } else {
            self.epochs_without_improvement += 1;
        }
        let better = self.best.is_none_or(|best| {
            let (new, old) = (validation.accuracy(), best.validation.accuracy());
            new > old || (new == old && validation.loss() < best.validation.loss())
        });
        if better {
            self.best = Some(Best { epoch, iteration, validation });
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(images: usize, loss: f64, correct: u64) -> MetricSums {
        let mut sums = MetricSums::default();
        sums.add(images, loss, correct);
        sums
    }

    #[test]
    fn losses_are_weighted_by_image_and_not_by_batch() {
        let mut sums = sums(100, 1.0, 50);
        sums.add(10, 12.0, 10);
        assert!((sums.loss() - 2.0).abs() < 1e-12);
        assert!((sums.accuracy() - 60.0 / 110.0).abs() < 1e-12);
    }

    #[test]
    fn the_best_epoch_has_the_highest_accuracy_and_then_the_lowest_loss() {
        let mut state = TrainingState::default();
        assert!(state.judge(Some(sums(10, 1.0, 5)), 0.0));
        state.epoch = 2;
        assert!(!state.judge(Some(sums(10, 0.5, 4)), 0.0), "a lower loss alone is not better");
        assert_eq!(state.epochs_without_improvement, 0, "but it is progress");
        state.epoch = 3;
        assert!(state.judge(Some(sums(10, 0.9, 5)), 0.0), "equal accuracy, lower loss");
        assert_eq!(state.epochs_without_improvement, 1);
        assert_eq!(state.best.unwrap().epoch, 3);
    }

    #[test]
    fn a_state_survives_json_to_the_last_bit() {
        let mut state = TrainingState { train_seconds: 1.5, ..TrainingState::default() };
        state.epoch_sums.add(3, 0.1 + 0.2, 1);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<TrainingState>(&text).unwrap(), state);
    }

    #[test]
    fn a_state_of_an_older_kiln_gets_the_defaults_of_what_it_lacks() {
        let old =
            r#"{"config":"name = \"a\"","epoch":2,"iteration":18,"tally":{"images":4,"correct":3,"loss_bits":0}}"#;
        let state = decode(old.as_bytes()).unwrap();
        assert_eq!((state.epoch, state.iteration, state.epoch_sums.correct), (2, 18, 3));
        assert_eq!(state.lowest_loss_bits, f64::INFINITY.to_bits());
    }

    #[test]
    fn a_state_of_a_newer_kiln_is_refused_with_both_versions() {
        let error = decode(br#"{"schema_version":7,"config":{"no":"text"}}"#).unwrap_err();
        assert!(error.to_string().contains("version 7") && error.to_string().contains("up to 2"), "{error}");
        assert!(decode(br#"{"epoch":"one"}"#).is_err());
        assert!(decode(b"{}").is_err());
    }
}
