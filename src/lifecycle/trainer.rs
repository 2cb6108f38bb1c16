//! A training run that is ready to begin, and the drive through its life.

use std::path::PathBuf;
use std::sync::Arc;

use super::finish::{self, Summary};
use super::run::Run;
use super::stopped::StoppedRun;
use crate::config::Experiment;
use crate::data::{self, Dataset};
use crate::device::{self, Opened};
use crate::eval::Evaluation;
use crate::models::Weights;
use crate::plan::{Images, Plan};
use crate::run::checkpoints::{Checkpoint, CheckpointStore};
use crate::run::lock::RunLock;
use crate::run::record::{self, now};
use crate::run::state::TrainingState;
use crate::run::{NewRun, RunDir, RunRecord, Status, file};
use crate::train::epoch_loop::Termination;
use crate::train::observer::{Observer, StopHandle};
use crate::train::session::{Controls, Session, Trained};
use crate::{Error, Result, artifact, ops};

/// Trains: a new run, or one that was stopped. Everything that can be checked beforehand has been checked when there is a
/// `Trainer`: the config, the device, the data, and for a stopped run that it can go on as the run it was.
///
/// ```no_run
/// # fn main() -> kiln::Result<()> {
/// let outcome = kiln::Trainer::new(kiln::Experiment::preset("mnist-fast")?)?.train()?;
/// println!("{:.2} %", 100.0 * outcome.summary.expect("a finished run has one").test_accuracy);
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    pub(super) prepared: Arc<Prepared>,
    start: Start,
    notices: Vec<String>,
    runs: PathBuf,
    observer: Box<dyn Observer>,
    stop: StopHandle,
    stop_after: Option<usize>,
    dashboard: bool,
}

/// What a run is made of, opened and checked.
pub(super) struct Prepared {
    pub(super) experiment: Experiment,
    pub(super) plan: Plan,
    pub(super) dataset: Dataset,
    pub(super) device: Opened,
}

/// Where a run begins.
enum Start {
    /// In a new directory: from weights drawn by the seed, or from another run's.
    New(Option<Parent>),
    /// In the directory of an earlier run, whose lock is held.
    Stopped(Box<StoppedRun>),
}

/// The run that a fork begins from.
pub(super) struct Parent {
    /// Its directory and the digest of its weights, for the record.
    pub(super) description: String,
    /// Its best weights.
    pub(super) weights: Weights,
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
    pub evaluation: Option<Evaluation>,
    pub(super) state: TrainingState,
    pub(super) weights: Weights,
}

impl Prepared {
    /// Opens the device called `device_name` and the data, and plans.
    pub(super) fn new(experiment: Experiment, device_name: &str) -> Result<Self> {
        let device = device::open(device_name.parse()?)?;
        let dataset = data::open(&experiment.data, experiment.seed)?;
        let plan = Plan::new(&experiment, Images::of(&dataset))?;
        Ok(Self { experiment, plan, dataset, device })
    }

    /// The training of it.
    pub(super) fn session(&self) -> Session<'_> {
        Session {
            experiment: &self.experiment,
            plan: &self.plan,
            dataset: &self.dataset,
            device: self.device.device.clone(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.plan.warnings.iter().chain(&self.dataset.notices).cloned().collect()
    }

    /// `run.json` of a run that begins now.
    pub(super) fn record(&self, parent: Option<String>) -> RunRecord {
        RunRecord {
            schema_version: record::SCHEMA_VERSION,
            status: Status::Running,
            message: None,
            started: now(),
            ended: None,
            kiln_version: env!("CARGO_PKG_VERSION").into(),
            burn_version: artifact::BURN_VERSION.into(),
            git_commit: artifact::git_commit(),
            device: self.device.name.clone(),
            seed: self.experiment.seed,
            threads: rayon::current_num_threads(),
            kernels: Some(ops::in_use().into()),
            data_fingerprint: self.dataset.fingerprint.clone(),
            parent,
            warnings: self.warnings(),
            history: Vec::new(),
            result: None,
        }
    }
}

impl Trainer {
    /// A new run of `experiment`: opens its device and its data, and plans. Nothing is written yet.
    ///
    /// # Errors
    /// When the config, the device or the data cannot be used; each error says what was found and what is allowed.
    pub fn new(experiment: Experiment) -> Result<Self> {
        let device = experiment.device.clone();
        Ok(Self::of(Arc::new(Prepared::new(experiment, &device)?), Start::New(None), Vec::new()))
    }

    pub(super) fn forking(prepared: Prepared, parent: Parent, notices: Vec<String>) -> Self {
        Self::of(Arc::new(prepared), Start::New(Some(parent)), notices)
    }

    pub(super) fn resuming(prepared: Prepared, stopped: StoppedRun) -> Self {
        let notices = stopped.notices.clone();
        Self::of(Arc::new(prepared), Start::Stopped(Box::new(stopped)), notices)
    }

    fn of(prepared: Arc<Prepared>, start: Start, notices: Vec<String>) -> Self {
        let notices = prepared.warnings().into_iter().chain(notices).collect();
        Self {
            prepared,
            start,
            notices,
            runs: "runs".into(),
            observer: Box::new(()),
            stop: StopHandle::new(),
            stop_after: None,
            dashboard: false,
        }
    }

    /// Another new run of the same experiment, on the same data in memory.
    pub(super) fn again(&self) -> Self {
        Self::of(self.prepared.clone(), Start::New(None), Vec::new())
    }

    /// Puts new run directories into this folder; without it: `runs`.
    #[must_use]
    pub fn runs(self, folder: impl Into<PathBuf>) -> Self {
        Self { runs: folder.into(), ..self }
    }

    /// Tells `observer` how training goes.
    #[must_use]
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self { observer: Box::new(observer), ..self }
    }

    /// Lets `handle` stop the run in good order.
    #[must_use]
    pub fn stop_handle(self, handle: StopHandle) -> Self {
        Self { stop: handle, ..self }
    }

    /// Stops the run in good order after this many iterations of the whole run, or at the end of the accumulation window
    /// that they fall into.
    #[must_use]
    pub fn stop_after(self, iterations: usize) -> Self {
        Self { stop_after: Some(iterations), ..self }
    }

    /// Shows Burn's terminal dashboard.
    pub(crate) fn dashboard(self, dashboard: bool) -> Self {
        Self { dashboard, ..self }
    }

    /// What will be trained.
    pub fn experiment(&self) -> &Experiment {
        &self.prepared.experiment
    }

    /// The arithmetic of it: batches, iterations, epochs, parameters, memory.
    pub fn plan(&self) -> &Plan {
        &self.prepared.plan
    }

    /// The device that computes.
    pub fn device(&self) -> &Opened {
        &self.prepared.device
    }

    /// The images.
    pub fn dataset(&self) -> &Dataset {
        &self.prepared.dataset
    }

    /// What the user should know before the run begins: warnings of the plan and the data, damage that was found.
    pub fn warnings(&self) -> &[String] {
        &self.notices
    }

    /// For a run that goes on: how, and after which iteration.
    pub fn continuation(&self) -> Option<String> {
        match &self.start {
            Start::New(_) => None,
            Start::Stopped(stopped) => Some(stopped.description(self.prepared.plan.total_iterations)),
        }
    }

    pub(crate) fn session(&self) -> Session<'_> {
        self.prepared.session()
    }

    /// Trains, writes the best epoch's model, measures it once on the test images and verifies the file.
    ///
    /// # Errors
    /// A NaN, a full disk, a failing device. The run is kept as far as it came, the error says how to go on.
    pub fn train(self) -> Result<Outcome> {
        let Self { prepared, start, runs, mut observer, stop, stop_after, dashboard, .. } = self;
        // created, or opened -> running
        let mut running = match start {
            Start::New(parent) => Running::create(&prepared, parent, &runs)?,
            Start::Stopped(stopped) => Running::go_on(&prepared, *stopped)?,
        };
        observer.on_start(running.dir.path());
        // running -> done | interrupted | failed
        let controls = Controls { observer, stop, stop_after, dashboard };
        let ended = running.train(&prepared, controls);
        running.end(ended)
    }
}

/// A run whose lock is held and whose `run.json` says `running`.
struct Running {
    dir: RunDir,
    store: CheckpointStore,
    record: RunRecord,
    checkpoint: Checkpoint,
    /// The best epoch's weights where its checkpoint is lost and the model file still has them.
    best: Option<Weights>,
    _lock: RunLock,
}

impl Running {
    /// A new run, complete before it has its name: a process that dies before leaves nothing that looks like a run.
    fn create(prepared: &Prepared, parent: Option<Parent>, runs: &std::path::Path) -> Result<Self> {
        let new = NewRun::begin(runs)?;
        let store = CheckpointStore::at(new.dir.checkpoints());
        let (description, weights) =
            parent.map_or((None, None), |parent| (Some(parent.description), Some(parent.weights)));
        let records = prepared.session().initial_records(weights.as_ref()).map_err(|error| match &description {
            Some(parent) => Error::usage("the parent's weights do not fit this run's network")
                .caused_by(error)
                .tip(format!("keep model.* as it is in {parent}, or begin without its weights: kiln train")),
            None => error,
        })?;
        let checkpoint = Checkpoint {
            records,
            state: TrainingState {
                config: prepared.experiment.to_toml(),
                parent: description.clone(),
                data_fingerprint: prepared.dataset.fingerprint.clone(),
                ..TrainingState::default()
            },
        };
        let record = prepared.record(description);
        store.create()?;
        store.save(&checkpoint.records, &checkpoint.state)?;
        file::write_atomic(&new.dir.config(), checkpoint.state.config.as_bytes())?;
        file::write_atomic(&new.dir.metrics(), b"")?;
        record.save(&new.dir)?;
        let (dir, lock) = new.finish(runs, &prepared.experiment.name)?;
        let store = CheckpointStore::at(dir.checkpoints());
        Ok(Self { dir, store, record, checkpoint, best: None, _lock: lock })
    }

    /// An earlier run, from where it stopped. Its lock has been held since before it was read.
    fn go_on(prepared: &Prepared, stopped: StoppedRun) -> Result<Self> {
        let StoppedRun { dir, lock, store, mut checkpoint, record, restore_config, change, best, .. } = stopped;
        dir.sweep(&lock);
        store.sweep(&lock);
        let at = checkpoint.state.iteration;
        let restore_config = match &change {
            // The one step in which config and checkpoint change together.
            Some(change) => {
                checkpoint.state = change.state.clone();
                store.save(&checkpoint.records, &checkpoint.state)?;
                true
            }
            None => restore_config,
        };
        let best_iteration = checkpoint.state.best.map(|best| best.iteration);
        store.prune(prepared.experiment.checkpoint.keep_last, best_iteration)?;
        if restore_config {
            file::write_atomic(&dir.config(), checkpoint.state.config.as_bytes())?;
        }
        checkpoint.state.config = prepared.experiment.to_toml();
        file::write_atomic(&dir.metrics(), lines(&checkpoint.state).as_bytes())?;
        let fresh = prepared.record(checkpoint.state.parent.clone());
        let mut record = record.unwrap_or_else(|| fresh.clone());
        let verb = change.as_ref().map_or("resumed", |change| change.description.as_str());
        record.history.push(format!("{} {verb} after iteration {at} on {}", now(), prepared.device.name));
        record.device = fresh.device;
        record.kernels = fresh.kernels;
        record.status = Status::Running;
        (record.ended, record.message, record.result) = (None, None, None);
        record.save(&dir)?;
        Ok(Self { dir, store, record, checkpoint, best, _lock: lock })
    }

    fn run(&self) -> Run {
        Run::at(self.dir.clone())
    }

    /// Trains what is left to train and finishes what is trained.
    fn train(&mut self, prepared: &Prepared, controls: Controls) -> Result<Outcome> {
        let session = prepared.session();
        let checkpoint = self.checkpoint.clone();
        let trained = if checkpoint.state.is_trained(prepared.experiment.train.epochs) {
            Ok(Trained {
                termination: Termination::Complete,
                weights: session.weights_of(&checkpoint.records)?,
                state: checkpoint.state,
                observer: controls.observer,
            })
        } else {
            session.train(checkpoint, &self.dir, &self.store, controls)
        };
        let Trained { termination, state, weights, mut observer } =
            trained.map_err(|error| self.salvage(prepared, error))?;
        let best = self.best_weights(&session, &state, &weights)?;
        let evaluation = match &best {
            Some(best) => Some(finish::export(prepared, &self.dir, &state, best, &mut *observer)?),
            None => None,
        };
        let summary = evaluation.as_ref().map(|evaluation| Summary::new(prepared, &self.dir, &state, evaluation));
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
        let total_iterations = prepared.plan.total_iterations;
        Ok(Outcome {
            run: self.run(),
            status,
            iterations: state.iteration,
            total_iterations,
            summary,
            evaluation,
            state,
            weights,
        })
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
        let path = self.dir.path().display();
        let Ok((newest, _)) = self.store.newest_intact() else { return error };
        let session = prepared.session();
        let exported = || -> Result<bool> {
            let last = session.weights_of(&newest.records)?;
            let Some(best) = self.best_weights(&session, &newest.state, &last)? else { return Ok(false) };
            finish::export(prepared, &self.dir, &newest.state, &best, &mut ()).map(|_| true)
        };
        // A NaN would be met again; everything else may have passed.
        if exported().unwrap_or(false) && !error.tips().is_empty() {
            return error.tip(format!("begin again from its best epoch: kiln fork {path} --set KEY=VALUE"));
        }
        error.tip(format!("go on from the last checkpoint: kiln resume {path}"))
    }

    /// Writes into `run.json` how it ended.
    fn end(mut self, ended: Result<Outcome>) -> Result<Outcome> {
        self.record.ended = Some(now());
        match &ended {
            Ok(outcome) => {
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

fn lines(state: &TrainingState) -> String {
    state.metrics.iter().map(|line| format!("{line}\n")).collect()
}
