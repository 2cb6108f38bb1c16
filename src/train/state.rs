//! Where a run stands: everything the loop needs, besides weights and optimizer state, to go on as if it had never
//! stopped. Saved in every checkpoint.

use serde::{Deserialize, Serialize};

/// The figures of one finished epoch: a line of `metrics.jsonl`.
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
    /// Share of training images recognised, measured while training.
    pub train_accuracy: f64,
    /// Mean cross-entropy per validation image, in nats; absent without validation images.
    pub validation_loss: Option<f64>,
    /// Share of validation images recognised; absent without validation images.
    pub validation_accuracy: Option<f64>,
    /// SHA-256 of all weights after the epoch: two runs that agree here are the same run.
    pub weights_sha256: String,
    /// Training images per second, validation and saving not counted.
    pub images_per_second: f64,
    /// Seconds the epoch took, its validation counted and its checkpoint not.
    pub seconds: f64,
}

/// Running sums over the images of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Images seen.
    pub images: u64,
    /// Images recognised.
    pub correct: u64,
    /// The bits of the summed loss (`f64`): JSON numbers may lose the last bit, and a resumed run may not.
    loss_bits: u64,
}

impl Tally {
    /// Adds a batch of `images` with this mean `loss` and this many recognised.
    pub fn add(&mut self, images: usize, loss: f64, correct: u64) {
        self.images += images as u64;
        self.correct += correct;
        self.loss_bits = (f64::from_bits(self.loss_bits) + loss * images as f64).to_bits();
    }

    /// Mean loss per image.
    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss_bits) / self.images.max(1) as f64
    }

    /// Share of the images recognised.
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
    /// Its validation figures; all zero without validation images.
    pub validation: Tally,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopState {
    /// The resolved experiment, as `config.toml` has it.
    pub config: String,
    /// SHA-256 of the data set's source.
    pub data_fingerprint: String,
    /// The epoch under way, from 1; one more than the last when the run is complete.
    pub epoch: usize,
    /// Iterations done in that epoch.
    pub iteration_in_epoch: usize,
    /// Iterations done in the run.
    pub iteration: usize,
    /// Updates of the parameters done in the run.
    pub update: usize,
    /// The epoch under way so far.
    pub tally: Tally,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// The lowest validation loss so far, as the bits of an `f64`.
    pub lowest_loss_bits: u64,
    /// Epochs since that loss was last improved on by more than `early_stopping.min_delta`.
    pub epochs_without_improvement: usize,
    /// Seconds of training in finished and unfinished epochs.
    pub train_seconds: f64,
    /// Training images those seconds were spent on.
    pub train_images: u64,
    /// Why the run ended before its last epoch, by its own rules.
    pub stopped: Option<String>,
    /// The lines of `metrics.jsonl`, to the letter.
    pub metrics: Vec<String>,
}

impl Default for LoopState {
    fn default() -> Self {
        Self {
            config: String::new(),
            data_fingerprint: String::new(),
            epoch: 1,
            iteration_in_epoch: 0,
            iteration: 0,
            update: 0,
            tally: Tally::default(),
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

impl LoopState {
    /// Takes a finished epoch's validation figures into account and says whether it is the best so far. Without
    /// validation images the last epoch is always the best.
    pub fn judge(&mut self, validation: Option<Tally>, min_delta: f64) -> bool {
        let (epoch, iteration) = (self.epoch, self.iteration);
        let Some(validation) = validation else {
            self.best = Some(Best { epoch, iteration, validation: Tally::default() });
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

    fn tally(images: usize, loss: f64, correct: u64) -> Tally {
        let mut tally = Tally::default();
        tally.add(images, loss, correct);
        tally
    }

    #[test]
    fn losses_are_weighted_by_image_and_not_by_batch() {
        let mut sums = tally(100, 1.0, 50);
        sums.add(10, 12.0, 10);
        assert!((sums.loss() - 2.0).abs() < 1e-12);
        assert!((sums.accuracy() - 60.0 / 110.0).abs() < 1e-12);
    }

    #[test]
    fn the_best_epoch_has_the_highest_accuracy_and_then_the_lowest_loss() {
        let mut state = LoopState::default();
        assert!(state.judge(Some(tally(10, 1.0, 5)), 0.0));
        state.epoch = 2;
        assert!(!state.judge(Some(tally(10, 0.5, 4)), 0.0), "a lower loss alone is not better");
        assert_eq!(state.epochs_without_improvement, 0, "but it is progress");
        state.epoch = 3;
        assert!(state.judge(Some(tally(10, 0.9, 5)), 0.0), "equal accuracy, lower loss");
        assert_eq!(state.epochs_without_improvement, 1);
        assert_eq!(state.best.unwrap().epoch, 3);
    }

    #[test]
    fn a_state_survives_json_to_the_last_bit() {
        let mut state = LoopState { train_seconds: 1.5, ..LoopState::default() };
        state.tally.add(3, 0.1 + 0.2, 1);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<LoopState>(&text).unwrap(), state);
    }
}
