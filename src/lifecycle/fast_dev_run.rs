//! Once through everything that a run does, on a batch of each kind of images: what fails here would have failed after
//! hours. Named after Lightning's `fast_dev_run`. It leaves nothing behind.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::prepared::Prepared;
use super::running::Outcome;
use super::trainer::Trainer;
use crate::artifact::Format;
use crate::config::{CheckpointConfig, EarlyStoppingConfig, Experiment, StopAtConfig};
use crate::data::order::first_images;
use crate::device::{self, Request};
use crate::plan::{Images, Plan};
use crate::run::Status;
use crate::run::checkpoints::CheckpointStore;
use crate::schedules::ScheduleConfig;
use crate::train::distillation::Teacher;
use crate::{Error, Result};

/// What went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FastDevRun {
    /// Training images, as augmented as in a whole run.
    pub train_images: usize,
    /// Validation images; 0 without validation.
    pub validation_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Updates of the parameters.
    pub updates: usize,
    /// The formats in which the model was written, read back and verified.
    pub formats: Vec<String>,
}

impl Trainer {
    /// Goes once through everything in a temporary folder: one update, validation, a checkpoint that is read back, the model
    /// file, its measurement, the report, and an export in every format.
    ///
    /// # Errors
    /// Whatever fails; and when a stop was asked for.
    pub fn fast_dev_run(self) -> Result<FastDevRun> {
        let folder =
            tempfile::tempdir().map_err(|error| Error::failed("cannot make a temporary folder").caused_by(error))?;
        let (prepared, trainer) = self.cut()?;
        let shown = folder.path().display().to_string();
        // What is in the folder is gone when a tip could be followed.
        let within = |error: Error| error.retain_tips(|tip| !tip.contains(&shown));
        let outcome = trainer.runs(folder.path()).train().map_err(within)?;
        check(&prepared, outcome, folder.path()).map_err(within)
    }

    /// The same on a batch of each kind of images.
    fn cut(self) -> Result<(Arc<Prepared>, Self)> {
        let whole = &self.prepared;
        let experiment = shortest(&whole.experiment);
        let size = experiment.train.batch_size;
        let train = first_images(whole.dataset.train.len(), size * experiment.train.accumulation, experiment.seed);
        let dataset = whole.dataset.cut(&train, size, size);
        let teacher = whole.teacher.clone();
        let plan = Plan::new(&experiment, Images::of(&dataset))?;
        let request = whole.device.name.parse::<Request>()?;
        let plan = plan.taught_by(teacher.as_deref().map(Teacher::planned)).shared_out(&request);
        let (device, others) = (device::open(request)?, whole.others.clone());
        let prepared = Prepared { experiment, plan, dataset, device, teacher, others };
        let trainer = Self::beginning(prepared).stop_handle(self.stop);
        Ok((trainer.prepared.clone(), trainer))
    }
}

/// `experiment` for one update: what is about the length of a run does not apply. That it is right for the whole run was
/// checked before.
fn shortest(experiment: &Experiment) -> Experiment {
    let mut short = experiment.clone();
    short.schedule = ScheduleConfig::default();
    short.early_stopping = EarlyStoppingConfig::default();
    short.stop_at = StopAtConfig::default();
    short.checkpoint = CheckpointConfig::default();
    short.train.epochs = 1;
    short.train.iterations_per_epoch = None;
    short
}

/// Whether all that the run left is there and can be used.
fn check(prepared: &Prepared, outcome: Outcome, folder: &Path) -> Result<FastDevRun> {
    if outcome.status != Status::Done {
        return Err(Error::interrupted("stopped before everything was tried"));
    }
    if let Some(problem) = outcome.report_problem.or(outcome.log_problem) {
        return Err(problem);
    }
    let (checkpoint, _) = CheckpointStore::at(outcome.run.dir.checkpoints()).newest_intact()?;
    if prepared.session().weights_of(&checkpoint.records)?.sha256() != outcome.weights.sha256() {
        return Err(Error::failed("the checkpoint does not hold the weights that were trained"));
    }
    let mut formats = Vec::new();
    for format in Format::ALL {
        outcome.run.export(folder.join(format!("model.{}", format.extension())), *format)?;
        formats.push(format.name().to_owned());
    }
    Ok(FastDevRun {
        train_images: prepared.plan.images.train,
        validation_images: prepared.plan.images.validation,
        test_images: prepared.plan.images.test,
        updates: prepared.plan.total_updates,
        formats,
    })
}
