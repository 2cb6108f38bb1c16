//! The end of a run: the best epoch's weights become a model file, which is read back, verified, and measured once on the
//! test images, or on the validation images alone where others are to be chosen from as well.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::prepared::Prepared;
use crate::artifact::{self, Calibration, Dtype, Format, Manifest};
use crate::data::TestTimeAugmentation;
use crate::eval::{Evaluation, Predictions, measure_trust};
use crate::models::Weights;
use crate::predict::Predictor;
use crate::run::state::TrainingState;
use crate::run::{MeasuredOn, RunDir};
use crate::train::observer::Observer;
use crate::{Error, Result, ops, predict};

/// A run in numbers: what `kiln train --json` prints, and what `run.json` keeps of a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's directory.
    pub run_dir: PathBuf,
    /// The model file.
    pub model: PathBuf,
    /// The epoch that was kept, from 1.
    pub best_epoch: usize,
    /// Epochs done.
    pub epochs: usize,
    /// Iterations done.
    pub iterations: usize,
    /// The best epoch's validation accuracy, 0 to 1; absent without validation images.
    pub validation_accuracy: Option<f64>,
    /// Validation images.
    #[serde(default)]
    pub validation_images: usize,
    /// Accuracy of the best epoch's model on the test images, 0 to 1; absent when it was not measured on them.
    pub test_accuracy: Option<f64>,
    /// Test images whose class was predicted.
    pub test_correct: Option<usize>,
    /// Test images.
    pub test_total: Option<usize>,
    /// Seconds of training, without validation and saving.
    pub train_seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Where it was trained, for example `flex`.
    pub device: String,
    /// The seed of every random draw.
    pub seed: u64,
    /// Of a run that was to learn a few batches by heart: whether it did. Such a run is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overfit: Option<Overfit>,
    /// The views of an image whose mean probability is its answer, and was on the test images; the validation accuracy is that
    /// for the image alone. Absent where that is its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_time_augmentation: Option<TestTimeAugmentation>,
    /// The temperature that its probabilities are computed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What could not be fitted on validation images so that its answers can be trusted, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_problem: Option<String>,
    /// Why it ended before its last epoch, by its own rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_early: Option<String>,
    /// What the run's figures say went wrong, each with what to do about it; empty while the run is not finished.
    #[serde(default)]
    pub findings: Vec<String>,
}

/// Whether a few batches were learned by heart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overfit {
    /// The batches.
    pub batches: usize,
    /// Their images.
    pub images: usize,
    /// Of these, the images whose class is predicted by the model as it is used: without dropout.
    pub correct: usize,
}

impl Summary {
    pub(super) fn new(prepared: &Prepared, run: &RunDir, state: &TrainingState, exported: &Exported) -> Self {
        let Exported { measured_on, evaluation, predictor, trust_problem, .. } = exported;
        let test = Some(evaluation).filter(|_| *measured_on == MeasuredOn::Test);
        let batches = prepared.experiment.train.overfit_batches.filter(|_| *measured_on == MeasuredOn::Training);
        let overfit =
            batches.map(|batches| Overfit { batches, images: evaluation.images, correct: evaluation.correct });
        let validation_images = prepared.dataset.validation.len();
        Self {
            run_dir: run.path().to_owned(),
            model: run.model(),
            best_epoch: state.best.map_or(0, |best| best.epoch),
            epochs: state.epoch - 1,
            iterations: state.iteration,
            validation_accuracy: state.best.filter(|_| validation_images > 0).map(|best| best.validation.accuracy()),
            validation_images,
            test_accuracy: test.map(|test| test.accuracy),
            test_correct: test.map(|test| test.correct),
            test_total: test.map(|test| test.images),
            train_seconds: state.train_seconds,
            images_per_second: state.train_images as f64 / state.train_seconds.max(1e-9),
            device: prepared.device.name.clone(),
            seed: prepared.experiment.seed,
            overfit,
            test_time_augmentation: predictor.manifest().test_time_augmentation.clone(),
            calibration: predictor.manifest().calibration,
            trust_problem: trust_problem.clone().filter(|_| batches.is_none()),
            stopped_early: state.stopped.clone(),
            findings: Vec::new(),
        }
    }
}

/// What the run's model file will say of it, without metrics and golden samples.
///
/// # Errors
/// When no model file could hold it, which is best known before training.
pub(super) fn describe(prepared: &Prepared, run: &RunDir, state: &TrainingState) -> Result<Manifest> {
    let mut manifest = Manifest::describe(artifact::Description {
        experiment: &prepared.experiment,
        preprocess: &prepared.dataset.preprocess,
        classes: &prepared.dataset.train.classes,
        fingerprint: &prepared.dataset.fingerprint,
        run: run.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        device: &prepared.device.name,
        parent: state.parent.clone(),
    })?;
    let (experiment, images) = (&prepared.experiment, &prepared.dataset.train);
    manifest.test_time_augmentation = experiment.test_time_augmentation().resolve(experiment.augment(), images);
    manifest.provenance.kernels = Some(ops::in_use().into());
    manifest.provenance.teacher_sha256 = prepared.teacher_sha256();
    Ok(manifest)
}

/// A model file that was written, and what it answered.
#[derive(Debug)]
pub(super) struct Exported {
    /// Which images it answered.
    pub(super) measured_on: MeasuredOn,
    /// What was measured on them.
    pub(super) evaluation: Evaluation,
    /// The answers it was counted from.
    pub(super) predictions: Predictions,
    /// Who gave them.
    pub(super) predictor: Predictor,
    /// The weights as they were read back.
    pub(super) weights: Weights,
    /// Why its probabilities are not calibrated, or pictures unlike those of training not told, if so.
    pub(super) trust_problem: Option<String>,
}

/// Writes the artifact of `weights`, reads it back, and measures it on the test images or the validation images.
///
/// # Errors
/// When it cannot be written, or what was written does not compute what was trained.
pub(super) fn export(
    prepared: &Prepared,
    run: &RunDir,
    state: &TrainingState,
    weights: &Weights,
    (measured_on, observer): (MeasuredOn, &mut dyn Observer),
) -> Result<Exported> {
    let device = &prepared.device.device;
    let mut manifest = describe(prepared, run, state)?;
    let untrusted = Predictor::new(manifest.clone(), weights, device)?;
    let trust_problem = measure_trust(&mut manifest, &untrusted, &prepared.dataset.validation)?;
    let predictor = untrusted.describing(manifest.clone());
    let images = match measured_on {
        MeasuredOn::Test => &prepared.dataset.test,
        MeasuredOn::Validation => &prepared.dataset.validation,
        MeasuredOn::Training => &prepared.dataset.train,
    };
    let predictions = Predictions::of(&predictor, images, |done| observer.on_test(done, images.len()))?;
    let evaluation = predictions.evaluation();
    if let Some(best) = state.best {
        manifest.metrics.insert("best_epoch".into(), json!(best.epoch));
        if !prepared.dataset.validation.is_empty() {
            manifest.metrics.insert("validation_accuracy".into(), json!(best.validation.accuracy()));
            manifest.metrics.insert("validation_loss".into(), json!(best.validation.loss()));
        }
    }
    if measured_on == MeasuredOn::Test {
        for (name, value) in [
            ("test_accuracy", json!(evaluation.accuracy)),
            ("test_loss", json!(evaluation.loss)),
            ("test_correct", json!(evaluation.correct)),
            ("test_total", json!(evaluation.images)),
        ] {
            manifest.metrics.insert(name.into(), value);
        }
    }
    manifest.add_golden_samples(&predictor, images)?;
    artifact::write(&run.model(), Format::Burnpack, Dtype::F32, &manifest, weights)?;
    let (manifest, weights) = artifact::read(&run.model())?;
    let verification = predict::verify(&manifest, &weights, device)?;
    if verification.labels_agree != verification.samples {
        return Err(Error::failed("the exported model does not compute what the trained one does"));
    }
    Ok(Exported { measured_on, evaluation, predictions, predictor, weights, trust_problem })
}
