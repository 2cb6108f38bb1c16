//! A run while it trains: from its directory to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::diagnosis::{self, Finished};
use super::finish::{self, Summary};
use super::prepared::Prepared;
use super::report;
use super::run::Run;
use super::stopped::StoppedRun;
use super::tensorboard::EventLog;
use crate::error::{Kind, panic_text, quoted};
use crate::eval::{Evaluation, Predictions};
use crate::models::Weights;
use crate::run::checkpoints::{Checkpoint, CheckpointStore};
use crate::run::lock::RunLock;
use crate::run::record::now;
use crate::run::state::TrainingState;
use crate::run::{EpochMetrics, MeasuredOn, NewRun, RunDir, RunRecord, Status, file};
use crate::train::epoch_loop::Termination;
use crate::train::session::{Controls, Session, Trained};
use crate::{Error, Result, ops};

/// The run that a fork begins from.
pub(super) struct Parent {
    /// Its directory.
    pub(super) path: PathBuf,
    /// Its directory and the digest of its weights, for the record.
    pub(super) description: String,
    /// Its best weights.
    pub(super) weights: Weights,
}

impl Parent {
    /// How a record names the run at `path` and its weights.
    pub(super) fn describe(path: &Path, weights_sha256: &str) -> String {
        format!("{} (weights SHA-256 {weights_sha256})", path.display())
    }

    /// The path and the digest in a description; nothing when it is none.
    pub(super) fn parse(description: &str) -> Option<(&Path, &str)> {
        let (path, rest) = description.rsplit_once(" (weights SHA-256 ")?;
        Some((Path::new(path), rest.strip_suffix(')')?))
    }
}

/// Where a new run's directory is made, and which images its model is measured on.
pub(super) struct Place {
    /// The folder that it gets a number in.
    pub(super) runs: PathBuf,
    /// Its very path instead.
    pub(super) exactly: Option<PathBuf>,
    pub(super) measured_on: MeasuredOn,
}

/// How training ended when it did not fail.
#[derive(Debug)]
pub struct Outcome {
    /// The run.
    pub run: Run,
    /// [`Status::Done`], or [`Status::Interrupted`] when a stop was asked for.
    pub status: Status,
    /// Iterations done in the run.
    pub iterations: usize,
    /// Iterations planned.
    pub total_iterations: usize,
    /// The run in numbers; of a run that was stopped, as far as it came. Absent when no epoch was finished.
    pub summary: Option<Summary>,
    /// The best epoch's model measured on the test images; absent when no epoch was finished.
    /// Absent also for a run that is measured on its validation images alone.
    pub evaluation: Option<Evaluation>,
    /// The best epoch's answers for the validation images, of a run that is measured on those alone.
    pub(crate) validation: Option<Predictions>,
    /// The page that shows the finished run; absent when the run is not finished, or the page could not be written.
    pub report: Option<PathBuf>,
    /// Why there is no page of a finished run.
    pub(crate) report_problem: Option<Error>,
    /// Why the log for TensorBoard is not complete.
    pub(crate) log_problem: Option<Error>,
    pub(super) state: TrainingState,
    pub(super) weights: Weights,
}

/// A run whose lock is held and whose `run.json` says `running`.
pub(super) struct Running {
    pub(super) dir: RunDir,
    store: CheckpointStore,
    record: RunRecord,
    checkpoint: Checkpoint,
    /// The best epoch's weights where its checkpoint is lost and the model file still has them.
    best: Option<Weights>,
    events: EventLog,
    _lock: RunLock,
}

impl Running {
    /// A new run, complete before it has its name: a process that dies before leaves nothing that looks like a run.
    pub(super) fn create(prepared: &Prepared, parent: Option<Parent>, place: &Place) -> Result<Self> {
        let making = place.making();
        let new = NewRun::begin(&making)?;
        let store = CheckpointStore::at(new.dir.checkpoints());
        let weights = parent.as_ref().map(|parent| &parent.weights);
        let records = prepared.session().initial_records(weights).map_err(|error| match &parent {
            Some(parent) if error.kind() == Kind::Usage => {
                Error::usage("the parent's weights do not fit this run's network").caused_by(error).tip(format!(
                    "keep model.* as it is in {}, or begin without its weights: kiln train",
                    parent.path.display()
                ))
            }
            _ => error,
        })?;
        let description = parent.map(|parent| parent.description);
        let checkpoint = Checkpoint {
            records,
            state: TrainingState {
                config: prepared.experiment.to_toml(),
                parent: description.clone(),
                device: Some(prepared.device.name.clone()),
                kernels: Some(ops::in_use().into()),
                data_fingerprint: prepared.dataset.fingerprint.clone(),
                teacher_sha256: prepared.teacher_sha256(),
                ..TrainingState::default()
            },
        };
        finish::describe(prepared, &new.dir, &checkpoint.state)?;
        let record = RunRecord { measured_on: place.measured_on, ..prepared.record(description) };
        store.create()?;
        store.save(&checkpoint.records, &checkpoint.state)?;
        file::write_atomic(&new.dir.config(), checkpoint.state.config.as_bytes())?;
        file::write_atomic(&new.dir.metrics(), b"")?;
        record.save(&new.dir)?;
        let (dir, lock) = match &place.exactly {
            Some(path) => {
                let named = new.finish_at(path)?;
                // Empty, unless another process makes a run there.
                let _ = std::fs::remove_dir(&making);
                named
            }
            None => new.finish(&making, &prepared.run_name())?,
        };
        let store = CheckpointStore::at(dir.checkpoints());
        let events = EventLog::begin(prepared, &dir, &checkpoint.state);
        Ok(Self { dir, store, record, checkpoint, best: None, events, _lock: lock })
    }

    /// An earlier run, from where it stopped. Its lock has been held since before it was read.
    pub(super) fn go_on(prepared: &Prepared, stopped: StoppedRun, place: &Place) -> Result<Self> {
        let StoppedRun { dir, lock, store, mut checkpoint, record, restore_config, change, best, .. } = stopped;
        dir.sweep(&lock);
        store.sweep(&lock);
        let at = checkpoint.state.iteration;
        if restore_config {
            // Before another change: the checkpoint knows one earlier config, not two.
            file::write_atomic(&dir.config(), checkpoint.state.config.as_bytes())?;
        }
        if let Some(change) = &change {
            // The one step in which config and checkpoint change together.
            checkpoint.state = change.state.clone();
            store.save(&checkpoint.records, &checkpoint.state)?;
            file::write_atomic(&dir.config(), checkpoint.state.config.as_bytes())?;
        }
        let best_iteration = checkpoint.state.best.map(|best| best.iteration);
        store.prune(prepared.experiment.checkpoint.keep_last, best_iteration)?;
        checkpoint.state.config = prepared.experiment.to_toml();
        checkpoint.state.device = Some(prepared.device.name.clone());
        checkpoint.state.kernels = Some(ops::in_use().into());
        file::write_atomic(&dir.metrics(), lines(&checkpoint.state).as_bytes())?;
        let fresh = prepared.record(checkpoint.state.parent.clone());
        let mut record = record.unwrap_or_else(|| fresh.clone());
        let verb = change.as_ref().map_or("resumed", |change| change.description.as_str());
        record.history.push(format!("{} {verb} after iteration {at} on {}", now(), prepared.device.name));
        if place.measured_on != MeasuredOn::Test {
            record.measured_on = place.measured_on;
        }
        record.device = fresh.device;
        record.kernels = fresh.kernels;
        record.status = Status::Running;
        (record.ended, record.message, record.result) = (None, None, None);
        record.save(&dir)?;
        let events = EventLog::begin(prepared, &dir, &checkpoint.state);
        Ok(Self { dir, store, record, checkpoint, best, events, _lock: lock })
    }

    /// Trains what is left to train and finishes what is trained. A panic, wherever it comes from, is an error of the run.
    pub(super) fn train(&mut self, prepared: &Prepared, controls: Controls) -> Result<Outcome> {
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            Error::failed("the run was stopped by a panic").caused_by(panic_text(&*panic))
        };
        let trained = catch_unwind(AssertUnwindSafe(|| self.train_on(prepared, controls)));
        let trained = trained.unwrap_or_else(|panic| Err(panicked(panic)));
        let trained = trained.map_err(|error| self.salvage(prepared, error))?;
        let finished = catch_unwind(AssertUnwindSafe(|| self.finish(prepared, trained)));
        finished.unwrap_or_else(|panic| Err(panicked(panic))).map_err(|error| {
            error.tip(format!("what was trained is saved; finish it: kiln resume {}", quoted(self.dir.path())))
        })
    }

    fn train_on(&self, prepared: &Prepared, controls: Controls) -> Result<Trained> {
        let session = prepared.session();
        let controls = Controls { observer: self.events.following(controls.observer), ..controls };
        let checkpoint = self.checkpoint.clone();
        if !checkpoint.state.is_trained(prepared.experiment.train.epochs) {
            return session.train(checkpoint, &self.dir, &self.store, controls);
        }
        Ok(Trained {
            termination: Termination::Complete,
            weights: session.weights_of(&checkpoint.records)?,
            state: checkpoint.state,
            observer: controls.observer,
        })
    }

    /// The model of the best epoch, and how the run ended.
    fn finish(&self, prepared: &Prepared, trained: Trained) -> Result<Outcome> {
        let Trained { termination, state, weights, mut observer } = trained;
        let best = self.best_weights(&prepared.session(), &state, &weights)?;
        let exported = match &best {
            Some(best) => {
                Some(finish::export(prepared, &self.dir, &state, best, (self.record.measured_on, &mut *observer))?)
            }
            None => None,
        };
        let tested = exported.as_ref().filter(|exported| exported.measured_on == MeasuredOn::Test);
        if let Some(exported) = tested.filter(|_| termination == Termination::Complete) {
            self.events.tested(state.iteration, prepared, exported);
        }
        let evaluation = tested.map(|exported| exported.evaluation.clone());
        let validated = exported.as_ref().filter(|exported| exported.measured_on == MeasuredOn::Validation);
        let validation = validated.map(|exported| exported.predictions.clone());
        let mut summary = exported.as_ref().map(|exported| Summary::new(prepared, &self.dir, &state, exported));
        let status = match termination {
            Termination::Interrupted => Status::Interrupted,
            Termination::Complete if summary.is_none() => {
                return Err(Error::failed("training ended without a finished epoch"));
            }
            Termination::Complete => {
                // On disk to the last line before the run is called done.
                file::write_atomic(&self.dir.metrics(), lines(&state).as_bytes())?;
                Status::Done
            }
        };
        let has_page = status == Status::Done && self.record.measured_on == MeasuredOn::Test;
        let exported = exported.filter(|_| has_page);
        if let (Some(summary), Some(exported)) = (&mut summary, &exported) {
            summary.findings = findings(prepared, &state, exported);
        }
        let (report, report_problem) = match exported {
            Some(exported) => match self.write_report(prepared, &state, &exported, summary.as_ref()) {
                Ok(()) => (Some(self.dir.report()), None),
                Err(error) => (None, Some(error)),
            },
            None => (None, None),
        };
        let (run, total_iterations) = (Run::at(self.dir.clone()), prepared.plan.total_iterations);
        let iterations = state.iteration;
        Ok(Outcome {
            run,
            status,
            iterations,
            total_iterations,
            summary,
            evaluation,
            validation,
            report,
            report_problem,
            log_problem: self.events.take_problem(),
            state,
            weights,
        })
    }

    /// The page of the run, which is done but for the word in `run.json`. Whatever goes wrong, the run stays done.
    fn write_report(
        &self,
        prepared: &Prepared,
        state: &TrainingState,
        exported: &finish::Exported,
        summary: Option<&Summary>,
    ) -> Result<()> {
        let record = RunRecord {
            result: summary.and_then(|summary| serde_json::to_value(summary).ok()),
            status: Status::Done,
            ended: Some(now()),
            message: state.stopped.clone(),
            ..self.record.clone()
        };
        let write =
            || report::write(prepared, &self.dir, &record, epochs(state)?, state.best.map(|best| best.epoch), exported);
        catch_unwind(AssertUnwindSafe(write))
            .unwrap_or_else(|panic| Err(Error::failed("a panic").caused_by(panic_text(&*panic))))
    }

    /// The weights of the best epoch so far; none when no epoch is finished.
    fn best_weights(&self, session: &Session, state: &TrainingState, last: &Weights) -> Result<Option<Weights>> {
        match state.best {
            None => Ok(None),
            // The last epoch trained is the best: its weights are at hand.
            Some(best) if best.iteration == state.iteration => Ok(Some(last.clone())),
            Some(best) => match (&self.best, self.checkpoint.state.best) {
                (Some(weights), Some(earlier)) if earlier.iteration == best.iteration => Ok(Some(weights.clone())),
                _ => Ok(Some(session.weights_of(&self.store.after(best.iteration)?.records)?)),
            },
        }
    }

    /// Exports the best epoch of a run that failed, if it finished one, and adds the way on to the error.
    fn salvage(&self, prepared: &Prepared, error: Error) -> Error {
        let path = quoted(self.dir.path());
        let config = quoted(self.dir.config());
        let Ok((newest, _)) = self.store.newest_intact() else { return error };
        let session = prepared.session();
        let exported = || -> Result<bool> {
            let last = session.weights_of(&newest.records)?;
            let Some(best) = self.best_weights(&session, &newest.state, &last)? else { return Ok(false) };
            finish::export(prepared, &self.dir, &newest.state, &best, (self.record.measured_on, &mut ())).map(|_| true)
        };
        let exported = catch_unwind(AssertUnwindSafe(exported)).is_ok_and(|exported| exported.unwrap_or(false));
        // A NaN would be met again; everything else may have passed.
        match (error.kind(), exported) {
            (Kind::Diverged, true) => {
                error.tip(format!("begin again from its best epoch: kiln fork {path} --set KEY=VALUE"))
            }
            (Kind::Diverged, false) => {
                error.tip(format!("begin a new run with the change: kiln train {config} --set KEY=VALUE"))
            }
            _ => error.tip(format!("go on from the last checkpoint: kiln resume {path}")),
        }
    }

    /// Writes into `run.json` how it ended.
    pub(super) fn end(mut self, ended: Result<Outcome>) -> Result<Outcome> {
        self.record.ended = Some(now());
        let of_failed = self.events.take_problem();
        let log_problem = ended.as_ref().map_or(of_failed.as_ref(), |outcome| outcome.log_problem.as_ref());
        self.record
            .warnings
            .extend(log_problem.map(|error| format!("the log for TensorBoard is not complete: {error}")));
        match &ended {
            Ok(outcome) => {
                let problem = outcome.report_problem.as_ref();
                self.record.warnings.extend(problem.map(|error| format!("the report could not be written: {error}")));
                self.record.status = outcome.status;
                self.record.message = match outcome.status {
                    Status::Interrupted => {
                        Some(format!("stopped after iteration {} of {}", outcome.iterations, outcome.total_iterations))
                    }
                    _ => outcome.state.stopped.clone(),
                };
                if outcome.status == Status::Done {
                    self.record.result =
                        outcome.summary.as_ref().and_then(|summary| serde_json::to_value(summary).ok());
                }
            }
            Err(error) => {
                self.record.status = Status::Failed;
                self.record.message = Some(error.to_string());
            }
        }
        let saved = self.record.save(&self.dir);
        let outcome = ended?;
        saved.map(|()| outcome)
    }
}

/// What the figures of a finished run say went wrong. That a figure cannot be had is no reason to fail now.
fn findings(prepared: &Prepared, state: &TrainingState, exported: &finish::Exported) -> Vec<String> {
    let epochs = epochs(state).unwrap_or_default();
    let finished = Finished {
        epochs: &epochs,
        best_epoch: state.best.map_or(0, |best| best.epoch),
        is_validated: !prepared.dataset.validation.is_empty(),
        stopped_early: state.stopped.is_some(),
        evaluation: &exported.evaluation,
    };
    let dead = diagnosis::dead_units(&exported.predictor, &prepared.dataset.test);
    finished.findings().into_iter().chain(dead.ok().flatten()).collect()
}

fn epochs(state: &TrainingState) -> Result<Vec<EpochMetrics>> {
    let epochs = state.metrics.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>();
    epochs.map_err(|error| Error::failed("a line of the metrics is damaged").caused_by(error))
}

impl Place {
    /// Where the directory is made before it has its name. One of a given path is made in a folder of its own: others beside
    /// it may be made by machines whose locks are not seen here.
    fn making(&self) -> PathBuf {
        match &self.exactly {
            None => self.runs.clone(),
            Some(path) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                path.with_file_name(format!(".{name}"))
            }
        }
    }
}

fn lines(state: &TrainingState) -> String {
    state.metrics.iter().map(|line| format!("{line}\n")).collect()
}
