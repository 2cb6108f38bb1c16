//! Proof that a resumed run is the same run: the same experiment trained twice, once without a stop and once stopped and
//! resumed from disk, and the two compared epoch by epoch and tensor by tensor.

use super::running::Outcome;
use super::trainer::Trainer;
use crate::models::{WeightTensor, Weights};
use crate::run::state::TrainingState;
use crate::run::{EpochMetrics, Status};
use crate::train::observer::StopHandle;
use crate::{Error, Result};

/// What the comparison found.
#[derive(Clone, Debug, PartialEq)]
pub enum ResumeProof {
    /// Every epoch's weights and metrics agree to the last bit.
    Identical {
        /// The iterations after which the second run was stopped.
        stopped_after: usize,
        /// SHA-256 of the final weights.
        weights_sha256: String,
    },
    /// Something differs.
    Different {
        /// The iterations after which the second run was stopped.
        stopped_after: usize,
        /// The first epoch that differs; none when only the final weights do.
        epoch: Option<usize>,
        /// The first tensor of the final weights that differs.
        tensor: Option<String>,
        /// The largest difference of a final weight, relative to the largest weight of its tensor; infinite when the
        /// networks or the numbers of epochs differ.
        weights: f64,
        /// The largest difference of a training or validation loss of an epoch, likewise.
        losses: f64,
    },
}

impl ResumeProof {
    /// Differences up to this are what sums in another order give: a GPU adds in an order of its own, and what it rounds
    /// otherwise in one iteration grows in the next ones.
    const ROUNDING: f64 = 1e-3;

    /// Whether the runs are the same but for rounding.
    pub fn is_same_to_rounding(&self) -> bool {
        match self {
            Self::Identical { .. } => true,
            Self::Different { weights, losses, .. } => *weights <= Self::ROUNDING && *losses <= Self::ROUNDING,
        }
    }
}

impl Trainer {
    /// Trains the experiment twice in a temporary folder, without a stop, and stopped after `stop_after` iterations (without
    /// it: in the middle) and resumed, and compares the two. `stop` ends it.
    ///
    /// # Errors
    /// When training fails, when `stop` is used, and when the second run could not be stopped before its end, since then
    /// nothing was resumed.
    pub fn verify_resume(self, stop_after: Option<usize>, stop: &StopHandle) -> Result<ResumeProof> {
        let total = self.plan().total_iterations;
        let stop_after = stop_after.unwrap_or(total / 2);
        if total < 2 {
            return Err(Error::usage("a run of a single iteration cannot be stopped in between")
                .tip("train for more: --set train.epochs=2"));
        }
        if !(1..total).contains(&stop_after) {
            return Err(Error::usage(format!(
                "the run can be stopped after iteration 1 to {}, got {stop_after}",
                total.saturating_sub(1)
            )));
        }
        let folder =
            tempfile::tempdir().map_err(|error| Error::failed("cannot make a temporary folder").caused_by(error))?;
        let train = |trainer: Trainer| {
            let outcome = trainer.runs(folder.path()).stop_handle(stop.clone()).train()?;
            if stop.is_stopped() { Err(Error::interrupted("stopped before anything was proven")) } else { Ok(outcome) }
        };
        let accumulation = self.experiment().train.accumulation;
        let whole = train(self.again())?;
        let stopped = train(self.again().stop_after(stop_after))?;
        if stopped.status != Status::Interrupted || stopped.iterations >= total {
            let error = Error::failed(format!(
                "nothing was proven: the run ended by itself after iteration {} of {total}, before it could be stopped",
                stopped.iterations
            ));
            return Err(match accumulation {
                1 => error.tip("stop it earlier with --at-iteration; stop_at and early_stopping end a run as well"),
                window => error.tip(format!(
                    "stop it earlier with --at-iteration: it stops only where {window} batches make an update (train.accumulation)"
                )),
            });
        }
        let stopped_after = stopped.iterations;
        let resumed = train(stopped.run.resume()?)?;
        compare(&whole, &resumed, stopped_after)
    }
}

fn compare(one: &Outcome, other: &Outcome, stopped_after: usize) -> Result<ResumeProof> {
    let (first, second) = (timeless(&one.state)?, timeless(&other.state)?);
    let epoch = first.iter().zip(&second).find(|(a, b)| a != b).map(|(a, _)| a.epoch);
    let tensor = one.weights.first_difference(&other.weights);
    if epoch.is_none() && tensor.is_none() && first.len() == second.len() {
        return Ok(ResumeProof::Identical { stopped_after, weights_sha256: one.weights.sha256() });
    }
    let same_shape = first.len() == second.len();
    let weights = if same_shape { largest_difference(&one.weights, &other.weights) } else { f64::INFINITY };
    let losses = first.iter().zip(&second).flat_map(|(a, b)| {
        let validation = a.validation_loss.zip(b.validation_loss).map_or(0.0, |(a, b)| (a - b).abs());
        [(a.train_loss - b.train_loss).abs(), validation]
    });
    Ok(ResumeProof::Different { stopped_after, epoch, tensor, weights, losses: losses.fold(0.0, f64::max) })
}

/// The largest difference of two values, relative to the largest value of their tensor.
fn largest_difference(one: &Weights, other: &Weights) -> f64 {
    if one.iter().count() != other.iter().count() {
        return f64::INFINITY;
    }
    let of = |(name, tensor): (&str, &WeightTensor)| {
        let Some(theirs) = other.get(name).filter(|theirs| theirs.values.len() == tensor.values.len()) else {
            return f64::INFINITY;
        };
        let largest = tensor.values.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let pairs = tensor.values.iter().zip(&theirs.values);
        let difference = pairs.map(|(a, b)| if a == b { 0.0 } else { f64::from((a - b).abs() / largest) });
        difference.fold(0.0, |most, each| if each.is_nan() { f64::INFINITY } else { most.max(each) })
    };
    one.iter().map(of).fold(0.0, f64::max)
}

/// The epochs' metrics without the times, which differ between any two runs.
fn timeless(state: &TrainingState) -> Result<Vec<EpochMetrics>> {
    let parse = |line: &String| {
        let metrics: EpochMetrics =
            serde_json::from_str(line).map_err(|error| Error::failed("unreadable metrics").caused_by(error))?;
        Ok(EpochMetrics { images_per_second: 0.0, seconds: 0.0, ..metrics })
    };
    state.metrics.iter().map(parse).collect()
}
