//! A training run that is ready to begin.

use std::path::PathBuf;
use std::sync::Arc;

use super::prepared::Prepared;
use super::running::{Outcome, Parent, Place, Running};
use super::stopped::StoppedRun;
use crate::Result;
use crate::config::Experiment;
use crate::data::Dataset;
use crate::device::Opened;
use crate::plan::Plan;
use crate::run::MeasuredOn;
use crate::train::observer::{Observer, StopHandle};
use crate::train::session::{Controls, Session};

/// Trains: a new run, or one that was stopped. Everything that can be checked beforehand has been checked when there is a
/// `Trainer`: the config, the device, the data, and for a stopped run that it can go on as the run it was.
///
/// ```no_run
/// # fn main() -> kiln::Result<()> {
/// let outcome = kiln::Trainer::new(kiln::Experiment::preset("mnist-fast")?)?.train()?;
/// println!("{:.2} %", 100.0 * outcome.summary.expect("a finished run has one").test_accuracy.unwrap_or(0.0));
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    pub(super) prepared: Arc<Prepared>,
    start: Start,
    notices: Vec<String>,
    place: Place,
    observer: Box<dyn Observer>,
    pub(super) stop: StopHandle,
    stop_after: Option<usize>,
    dashboard: bool,
}

/// Where a run begins.
enum Start {
    /// In a new directory: from weights drawn by the seed, or from another run's.
    New(Option<Parent>),
    /// In the directory of an earlier run, whose lock is held.
    Stopped(Box<StoppedRun>),
}

impl Trainer {
    /// A new run of `experiment`: opens its device and its data, and plans. Nothing is written yet.
    ///
    /// # Errors
    /// When the config, the device or the data cannot be used; each error says what was found and what is allowed.
    pub fn new(experiment: Experiment) -> Result<Self> {
        let device = experiment.device.clone();
        Ok(Self::beginning(Prepared::new(experiment, &device)?))
    }

    pub(super) fn beginning(prepared: Prepared) -> Self {
        Self::of(Arc::new(prepared), Start::New(None), Vec::new())
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
        let measured_on = prepared.measured_on();
        Self {
            prepared,
            start,
            notices,
            place: Place { runs: "runs".into(), exactly: None, measured_on },
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
        Self { place: Place { runs: folder.into(), ..self.place }, ..self }
    }

    /// Makes a new run's directory at exactly this path.
    pub(crate) fn directory(self, path: PathBuf) -> Self {
        Self { place: Place { exactly: Some(path), ..self.place }, ..self }
    }

    /// Measures the run's model on these images. A run that began without the test images never comes back to them.
    pub(crate) fn measured_on(self, measured_on: MeasuredOn) -> Self {
        Self { place: Place { measured_on, ..self.place }, ..self }
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

    /// The folder that the run's directory is in, or will be.
    pub(crate) fn folder(&self) -> PathBuf {
        match &self.start {
            Start::New(_) => self.place.runs.clone(),
            Start::Stopped(stopped) => match stopped.dir.path().parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => ".".into(),
            },
        }
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
        let Self { prepared, start, place, mut observer, stop, stop_after, dashboard, .. } = self;
        // created, or opened -> running
        let mut running = match start {
            Start::New(parent) => Running::create(&prepared, parent, &place)?,
            Start::Stopped(stopped) => Running::go_on(&prepared, *stopped, &place)?,
        };
        observer.on_start(running.dir.path());
        // running -> done | interrupted | failed
        let controls = Controls { observer, stop, stop_after, dashboard };
        let ended = running.train(&prepared, controls);
        running.end(ended)
    }
}
