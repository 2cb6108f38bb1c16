//! Where a run stands: everything training needs, besides weights and optimizer state, to go on as the run that was never
//! stopped. Saved in every checkpoint, so that a checkpoint holds the whole truth about its run.

use serde::{Deserialize, Serialize};

use crate::config::{EarlyStoppingConfig, Monitor};
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
    /// The mean recall of the classes that have validation images; there where the run watches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_balanced_accuracy: Option<f64>,
    /// The mean F1 of the classes that have validation images; there where the run watches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_macro_f1: Option<f64>,
    /// The figure that `checkpoint.best_by` names, the higher the better; there where that is not the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
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

/// The best epoch so far: the highest validation accuracy, or what `checkpoint.best_by` says, and the lower validation loss
/// where two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Iterations done in the run at its end: the name of its checkpoint.
    pub iteration: usize,
    /// Its validation metrics; all zero without validation images.
    pub validation: MetricSums,
    /// The bits of the figure that made it the best, the higher the better, where that is not the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_bits: Option<u64>,
}

/// What was found on the validation images after an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Validated {
    /// Loss and accuracy.
    pub(crate) sums: MetricSums,
    /// The figures of the classes, where they are asked for.
    pub(crate) classes: Option<ClassFigures>,
}

/// Figures in which every class counts the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ClassFigures {
    /// The mean recall of the classes that have images.
    pub(crate) balanced_accuracy: f64,
    /// The mean F1 of the classes that have images.
    pub(crate) macro_f1: f64,
}

impl Validated {
    /// The figure that `monitor` names, turned so that higher is better.
    pub(crate) fn score(&self, monitor: Monitor) -> f64 {
        let classes = self.classes.unwrap_or_default();
        match monitor {
            Monitor::Accuracy => self.sums.accuracy(),
            Monitor::BalancedAccuracy => classes.balanced_accuracy,
            Monitor::MacroF1 => classes.macro_f1,
            Monitor::Loss => -self.sums.loss(),
        }
    }
}

/// Answers counted by class, as a confusion matrix: `counts[label][answer]`.
pub(crate) struct Confusion {
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// None yet, of so many classes.
    pub(crate) fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts an answer. One that is no class, which a damaged device could give, counts for none.
    pub(crate) fn add(&mut self, label: usize, answer: usize) {
        if let Some(count) = self.counts.get_mut(label).and_then(|row| row.get_mut(answer)) {
            *count += 1;
        }
    }

    /// What follows from the answers.
    pub(crate) fn figures(&self) -> ClassFigures {
        let (mut recall, mut f1, mut classes) = (0.0, 0.0, 0.0_f64);
        for (class, row) in self.counts.iter().enumerate() {
            let images: u64 = row.iter().sum();
            if images == 0 {
                continue;
            }
            let answered: u64 = self.counts.iter().map(|row| row[class]).sum();
            classes += 1.0;
            recall += row[class] as f64 / images as f64;
            f1 += 2.0 * row[class] as f64 / (images + answered) as f64;
        }
        let mean = |sum: f64| sum / classes.max(1.0);
        ClassFigures { balanced_accuracy: mean(recall), macro_f1: mean(f1) }
    }
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
    /// The lowest validation loss so far, or the highest of another `early_stopping.monitor` times -1, as the bits of an
    /// `f64`.
    pub(crate) lowest_loss_bits: u64,
    /// Epochs since that figure was last improved on by more than `early_stopping.min_delta`.
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
    pub(crate) fn judge(
        &mut self,
        validation: Option<Validated>,
        best_by: Monitor,
        stopping: &EarlyStoppingConfig,
    ) -> bool {
        let (epoch, iteration) = (self.epoch, self.iteration);
        let Some(validation) = validation else {
            self.best = Some(Best { epoch, iteration, validation: MetricSums::default(), score_bits: None });
            return true;
        };
        let (cost, lowest) = (-validation.score(stopping.monitor), f64::from_bits(self.lowest_loss_bits));
        if cost < lowest - stopping.min_delta {
            self.lowest_loss_bits = cost.to_bits();
            self.epochs_without_improvement = 0;
        } else {
            self.epochs_without_improvement += 1;
        }
        let (new, loss) = (validation.score(best_by), validation.sums.loss());
        let better = self.best.is_none_or(|best| {
            let old = best.score_bits.map_or(best.validation.accuracy(), f64::from_bits);
            new > old || (new == old && loss < best.validation.loss())
        });
        if better {
            let score_bits = (best_by != Monitor::Accuracy).then(|| new.to_bits());
            self.best = Some(Best { epoch, iteration, validation: validation.sums, score_bits });
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
        let judge = |state: &mut TrainingState, sums| {
            state.judge(Some(Validated { sums, classes: None }), Monitor::Accuracy, &EarlyStoppingConfig::default())
        };
        assert!(judge(&mut state, sums(10, 1.0, 5)));
        state.epoch = 2;
        assert!(!judge(&mut state, sums(10, 0.5, 4)), "a lower loss alone is not better");
        assert_eq!(state.epochs_without_improvement, 0, "but it is progress");
        state.epoch = 3;
        assert!(judge(&mut state, sums(10, 0.9, 5)), "equal accuracy, lower loss");
        assert_eq!(state.epochs_without_improvement, 1);
        assert_eq!(state.best.unwrap().epoch, 3);
    }

    #[test]
    fn the_best_epoch_and_the_stop_go_by_what_the_config_says() {
        let figures = |balanced_accuracy, macro_f1| Some(ClassFigures { balanced_accuracy, macro_f1 });
        let epochs = [
            Validated { sums: sums(10, 1.0, 9), classes: figures(0.5, 0.7) },
            Validated { sums: sums(10, 2.0, 5), classes: figures(0.9, 0.6) },
            Validated { sums: sums(10, 0.5, 8), classes: figures(0.8, 0.8) },
        ];
        for (monitor, best, waited) in [
            (Monitor::Accuracy, 1, 2),
            (Monitor::BalancedAccuracy, 2, 1),
            (Monitor::MacroF1, 3, 0),
            (Monitor::Loss, 3, 0),
        ] {
            let mut state = TrainingState::default();
            let stopping = EarlyStoppingConfig { monitor, ..EarlyStoppingConfig::default() };
            for (epoch, validated) in (1..).zip(epochs) {
                state.epoch = epoch;
                state.judge(Some(validated), monitor, &stopping);
                // What is saved is what is gone on with.
                state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            }
            assert_eq!((state.best.unwrap().epoch, state.epochs_without_improvement), (best, waited), "{monitor:?}");
        }
    }

    #[test]
    fn figures_of_the_classes_are_those_of_the_confusion_matrix() {
        let mut confusion = Confusion::new(4);
        // Of ten of class 0 nine are recognised, of two of class 1 one; class 2 has none, and nobody answers 3.
        (0..9).for_each(|_| confusion.add(0, 0));
        [(0, 1), (1, 1), (1, 2), (9, 9)].iter().for_each(|(label, answer)| confusion.add(*label, *answer));
        let ClassFigures { balanced_accuracy, macro_f1 } = confusion.figures();
        assert!((balanced_accuracy - (0.9 + 0.5) / 2.0).abs() < 1e-12);
        assert!((macro_f1 - (18.0 / 19.0 + 2.0 / 4.0) / 2.0).abs() < 1e-12);
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
