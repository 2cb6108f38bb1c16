//! A run that is one of several to choose from: trained to a certain epoch, paused there, and told apart by its answers for
//! the validation images. It never sees the test images.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::Summary;
use super::run::Run;
use super::trainer::Trainer;
use crate::config::Experiment;
use crate::error::Kind;
use crate::eval::Predictions;
use crate::predict::Predictor;
use crate::run::{MeasuredOn, RunRecord, Status};
use crate::train::observer::StopHandle;
use crate::{Error, Result, artifact, data, device};

/// For so long a process may take to leave the run that another one is to go on with.
const LEAVE: Duration = Duration::from_secs(60);

/// A trial at the end of the epoch that it was trained to, or before by its own rules.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The best epoch's answers for the validation images.
    pub(crate) predictions: Predictions,
    /// SHA-256 of the best epoch's weights.
    pub(crate) weights_sha256: String,
    /// That epoch, from 1.
    pub(crate) best_epoch: usize,
    /// Epochs done.
    pub(crate) epochs: usize,
    /// Iterations done.
    pub(crate) iterations: usize,
    /// Whether nothing is left to train.
    pub(crate) is_done: bool,
    /// Seconds of training.
    pub(crate) train_seconds: f64,
}

/// Trains `experiment` in the directory `path`, from where it is, until `epoch` is over; nothing when `stop` came first. The
/// run is planned over all of its epochs, wherever it pauses.
///
/// # Errors
/// As training. A config without validation images is a usage error.
pub(crate) fn train_trial(
    experiment: Experiment,
    path: &Path,
    epoch: usize,
    stop: &StopHandle,
) -> Result<Option<Reached>> {
    let is_new = !path.exists();
    match train_on(experiment.clone(), path, epoch, stop) {
        // A process whose worker is gone made the run while this one was about to: it is the same run.
        Err(error) if is_new && error.kind() == Kind::Usage && path.exists() => train_on(experiment, path, epoch, stop),
        trained => trained,
    }
}

fn train_on(experiment: Experiment, path: &Path, epoch: usize, stop: &StopHandle) -> Result<Option<Reached>> {
    let trainer = if path.exists() {
        let run = Run::open(path)?;
        wait_for(&run)?;
        match run.record() {
            Ok(record) if record.status == Status::Done && run.model().is_file() => {
                return finished(&run, &record).map(Some);
            }
            _ => run.resume()?,
        }
    } else {
        Trainer::new(experiment)?.directory(path.to_owned())
    };
    if trainer.dataset().validation.is_empty() {
        return Err(Error::usage("the trials of a sweep are told apart by validation images, and there are none")
            .tip("hold some out: --set data.validation=5000"));
    }
    let per_epoch = trainer.plan().iterations_per_epoch;
    let whole = trainer.experiment().train.epochs;
    let trainer = if epoch < whole { trainer.stop_after(epoch * per_epoch) } else { trainer };
    let outcome = trainer.measured_on(MeasuredOn::Validation).stop_handle(stop.clone()).train()?;
    let is_done = outcome.status == Status::Done;
    if !is_done && (epoch >= whole || outcome.iterations < epoch * per_epoch) {
        return Ok(None);
    }
    let (Some(summary), Some(predictions)) = (&outcome.summary, outcome.validation) else {
        return Err(Error::failed("training ended without a finished epoch"));
    };
    let (manifest, _) = artifact::read(&summary.model)?;
    Ok(Some(Reached {
        predictions,
        weights_sha256: manifest.weights_sha256,
        best_epoch: summary.best_epoch,
        epochs: summary.epochs,
        iterations: outcome.iterations,
        is_done,
        train_seconds: summary.train_seconds,
    }))
}

/// The process that trained it may be saving yet.
fn wait_for(run: &Run) -> Result<()> {
    let begun = Instant::now();
    while run.is_training() {
        if begun.elapsed() > LEAVE {
            return Err(Error::failed(format!("another process trains in `{}`", run.path().display())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What a finished run reached, asked once more: who trained it was gone before it could say.
fn finished(run: &Run, record: &RunRecord) -> Result<Reached> {
    let experiment = run.experiment()?;
    let dataset = data::open(&experiment.data, experiment.seed)?;
    if !dataset.has_fingerprint(&record.data_fingerprint) {
        return Err(Error::usage("the data is not what the run was trained on"));
    }
    let device = device::open(record.device.parse()?)?;
    let predictor = Predictor::open_on(&run.model(), &device.device)?;
    let predictions = Predictions::of(&predictor, &dataset.validation, |_| ())?;
    let result = record.result.clone().unwrap_or_default();
    let summary: Summary = serde_json::from_value(result)
        .map_err(|error| Error::failed("the result of a finished run cannot be read").caused_by(error))?;
    Ok(Reached {
        predictions,
        weights_sha256: predictor.manifest().weights_sha256.clone(),
        best_epoch: summary.best_epoch,
        epochs: summary.epochs,
        iterations: summary.iterations,
        is_done: true,
        train_seconds: summary.train_seconds,
    })
}
