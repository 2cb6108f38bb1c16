//! The log for TensorBoard that `[log] tensorboard = true` asks for: what of a run goes into its event files, and when.
//! Nothing that goes wrong with it is the end of a run.

use std::sync::{Arc, Mutex, PoisonError};

use super::finish::Exported;
use super::prepared::Prepared;
use super::report;
use crate::report::{LARGEST_SIDE, Sheet};
use crate::run::events::{EventFile, Value};
use crate::run::state::TrainingState;
use crate::run::{EpochMetrics, RunDir};
use crate::train::observer::{Observer, Progress};
use crate::{Error, Result};

/// The worst mistakes that are shown.
const MISTAKES: usize = 32;

/// The event file of this process, when there is one. Clones write to the same.
#[derive(Clone, Default)]
pub(super) struct EventLog {
    file: Arc<Mutex<Option<EventFile>>>,
    problem: Arc<Mutex<Option<Error>>>,
}

impl EventLog {
    /// Begins the log of a run that goes on from `state`, if the experiment asks for it. An earlier process may have
    /// written of later steps, which did not last; what is written from here on takes their place.
    pub(super) fn begin(prepared: &Prepared, run: &RunDir, state: &TrainingState) -> Self {
        let log = Self::default();
        if !prepared.experiment.log.tensorboard {
            return log;
        }
        // Of the epoch whose end is the newest checkpoint, a process may have been killed before it wrote it down.
        let ends_epoch = state.iteration_in_epoch == 0 && !state.metrics.is_empty();
        let step = state.iteration + usize::from(!ends_epoch);
        log.note(EventFile::begin(&run.tensorboard(), step).and_then(|(mut file, first)| {
            let config = format!("```toml\n{}```\n", prepared.experiment.to_toml());
            file.write(state.iteration, &[("config", Value::Text(&config))])?;
            // The log may be asked for when a run goes on that had none.
            let missing = if first { state.metrics.len() } else { usize::from(ends_epoch) };
            let lines = &state.metrics[state.metrics.len() - missing..];
            for metrics in lines.iter().filter_map(|line| serde_json::from_str(line).ok()) {
                write_epoch(&mut file, &metrics)?;
            }
            if first {
                let inputs = report::inputs(&prepared.session())?;
                write_sheet(&mut file, 0, "training pictures", inputs.after.or(inputs.before))?;
            }
            *log.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
            Ok(())
        }));
        log
    }

    /// Writes down what `observer` is told.
    pub(super) fn following(&self, observer: Box<dyn Observer>) -> Box<dyn Observer> {
        let is_asked_for = self.file.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_asked_for { Box::new(Recorder { observer, log: self.clone() }) } else { observer }
    }

    /// Adds what the kept model answered on the test images after `step` iterations.
    pub(super) fn tested(&self, step: usize, prepared: &Prepared, exported: &Exported) {
        self.write(|file| {
            let (test, evaluation) = (&prepared.dataset.test, &exported.evaluation);
            let values = [("loss/test", evaluation.loss), ("accuracy/test", evaluation.accuracy)];
            file.write(step, &values.map(|(tag, value)| (tag, Value::Scalar(value))))?;
            let worst: Vec<usize> = exported.predictions.worst().into_iter().take(MISTAKES).collect();
            write_sheet(file, step, "worst mistakes", Sheet::of_images(test, &worst, LARGEST_SIDE)?)?;
            file.finish()
        });
    }

    /// What went wrong first, once.
    pub(super) fn take_problem(&self) -> Option<Error> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes, unless something went wrong before.
    fn write(&self, write: impl FnOnce(&mut EventFile) -> Result<()>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.as_mut().map_or(Ok(()), write);
        if written.is_err() {
            *file = None;
        }
        self.note(written);
    }

    fn note(&self, written: Result<()>) {
        if let Err(error) = written {
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}

/// Tells another observer, and writes into the log.
struct Recorder {
    observer: Box<dyn Observer>,
    log: EventLog,
}

impl Observer for Recorder {
    fn on_start(&mut self, run_dir: &std::path::Path) {
        self.observer.on_start(run_dir);
    }

    fn on_iteration(&mut self, progress: &Progress) {
        let step = (progress.epoch - 1) * progress.iterations + progress.iteration;
        self.log.write(|file| file.write(step, &[("loss/epoch so far", Value::Scalar(progress.loss))]));
        self.observer.on_iteration(progress);
    }

    fn on_epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool) {
        self.log.write(|file| write_epoch(file, metrics));
        self.observer.on_epoch(metrics, epochs, best);
    }

    fn on_test(&mut self, done: usize, total: usize) {
        self.observer.on_test(done, total);
    }
}

fn write_epoch(file: &mut EventFile, metrics: &EpochMetrics) -> Result<()> {
    let values = [
        ("loss/train", Some(metrics.train_loss)),
        ("loss/validation", metrics.validation_loss),
        ("accuracy/train", Some(metrics.train_accuracy)),
        ("accuracy/validation", metrics.validation_accuracy),
        ("learning_rate", Some(metrics.learning_rate)),
        ("images_per_second", Some(metrics.images_per_second)),
        ("epoch", Some(metrics.epoch as f64)),
    ];
    let there = values.iter().filter_map(|(tag, value)| Some((*tag, Value::Scalar((*value)?))));
    file.write(metrics.iteration, &there.collect::<Vec<_>>())?;
    file.finish()
}

fn write_sheet(file: &mut EventFile, step: usize, tag: &str, sheet: Option<Sheet>) -> Result<()> {
    let Some(sheet) = sheet else { return Ok(()) };
    let (width, height) = sheet.size();
    file.write(step, &[(tag, Value::Picture { width, height, png: sheet.png() })])
}
