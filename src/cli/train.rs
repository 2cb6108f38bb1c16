//! `kiln train`: from a config to a verified model file.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use burn::train::Interrupter;
use serde_json::{Value, json};

use super::eval::measure;
use super::ui::{Mode, Ui};
use super::{ExperimentArguments, open_device};
use crate::artifact::{self, Dtype, Format, Manifest};
use crate::config::Experiment;
use crate::data::preprocess::Preprocess;
use crate::data::{self, Dataset};
use crate::device::Opened;
use crate::eval::Evaluation;
use crate::models::Weights;
use crate::plan::Plan;
use crate::predict::Predictor;
use crate::run::lock::RunLock;
use crate::run::record::now;
use crate::run::{RunDir, RunRecord, Status, file};
use crate::train::checkpoint::CheckpointStore;
use crate::train::epoch_loop::Ending;
use crate::train::observer::{Observer, Quiet};
use crate::train::session::{Outcome, Session, Start};
use crate::train::state::LoopState;
use crate::{Error, Result, predict, report};

/// The arguments of `kiln train`.
#[derive(Debug, clap::Args)]
pub struct TrainArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    #[command(flatten)]
    display: DisplayArguments,

    /// Put the run directory in this folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// How a run is shown, and what is demanded of it: shared by all commands that train.
#[derive(Clone, Debug, clap::Args)]
pub struct DisplayArguments {
    /// How training is shown
    #[arg(long, value_enum, default_value_t = Interface::Lines)]
    pub ui: Interface,

    /// Exit with 1 when the test accuracy ends below this, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub require_accuracy: Option<f64>,
}

impl Default for DisplayArguments {
    fn default() -> Self {
        Self { ui: Interface::Lines, require_accuracy: None }
    }
}

/// How training is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Interface {
    /// A progress bar for the epoch under way, and a line per epoch
    Lines,
    /// Burn's terminal dashboard, in a build with --features tui
    Tui,
}

/// Trains from the beginning.
pub fn run(arguments: TrainArguments, ui: &mut Ui) -> Result<()> {
    let experiment = arguments.experiment.load()?;
    let job = Job::prepare(experiment, &arguments.display, ui)?;
    let run = RunDir::create(&arguments.runs, &job.experiment.name)?;
    let record = job.record(None);
    job.train(run, record, Start::Fresh, ui)
}

/// A run that is ready to begin: everything that can be checked beforehand is checked.
pub struct Job {
    /// What to do.
    pub experiment: Experiment,
    /// The arithmetic of it.
    pub plan: Plan,
    /// On which images.
    pub dataset: Dataset,
    /// Where.
    pub device: Opened,
    /// How pixels become inputs.
    pub preprocess: Preprocess,
    display: DisplayArguments,
    warnings: Vec<String>,
}

impl Job {
    /// Opens device and data, plans, and says all of it.
    pub fn prepare(experiment: Experiment, display: &DisplayArguments, ui: &Ui) -> Result<Self> {
        if display.ui == Interface::Tui {
            dashboard_is_possible(ui)?;
        }
        let device = open_device(&experiment.device)?;
        let dataset = data::open(&experiment.data, experiment.seed)?;
        let plan = plan_for(&experiment, &dataset)?;
        let fit = experiment.data.fit(dataset.train.shape);
        let preprocess = Preprocess::from_training(&dataset.train, fit);
        ui.say(&plan.render());
        ui.say(&format!("device         {}\n", device.reason));
        let warnings: Vec<String> = plan.warnings.iter().chain(&dataset.notices).cloned().collect();
        for warning in &warnings {
            ui.warn(warning);
        }
        Ok(Self { experiment, plan, dataset, device, preprocess, display: display.clone(), warnings })
    }

    /// The training of it, saving into `run` if there is one.
    pub fn session(&self, run: Option<RunDir>, interrupter: Interrupter) -> Session<'_> {
        Session {
            experiment: &self.experiment,
            plan: &self.plan,
            dataset: &self.dataset,
            preprocess: &self.preprocess,
            device: self.device.device.clone(),
            run,
            interrupter,
            dashboard: self.display.ui == Interface::Tui,
            stop_after_iteration: None,
        }
    }

    /// `run.json` of a run that begins now.
    pub fn record(&self, parent: Option<String>) -> RunRecord {
        RunRecord {
            schema_version: 1,
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
            data_fingerprint: self.dataset.fingerprint.clone(),
            parent,
            warnings: self.warnings.clone(),
            history: Vec::new(),
            result: None,
        }
    }

    /// Trains in `run`, exports the best epoch, measures it once on the test images, and says where everything is.
    pub fn train(&self, run: RunDir, mut record: RunRecord, start: Start, ui: &Ui) -> Result<()> {
        let lock = RunLock::acquire(&run)?;
        if let Some(process) = lock.taken_over_from {
            ui.warn(&format!("took over the lock of process {process}, which is gone"));
        }
        file::write_atomic(&run.config(), self.experiment.to_toml().as_bytes())?;
        record.status = Status::Running;
        record.save(&run)?;
        ui.say(&format!("run            {}\n", run.path().display()));
        let ended = self.train_locked(&run, &mut record, start, ui);
        record.ended = Some(now());
        match &ended {
            Ok(()) => {}
            Err(error) if error.kind() == crate::error::Kind::Interrupted => record.status = Status::Interrupted,
            Err(_) if record.status == Status::Done => {}
            Err(_) => record.status = Status::Failed,
        }
        if let Err(error) = &ended {
            record.message = Some(error.to_string());
        }
        let saved = record.save(&run);
        ended.and(saved)
    }

    fn train_locked(&self, run: &RunDir, record: &mut RunRecord, start: Start, ui: &Ui) -> Result<()> {
        let session = self.session(Some(run.clone()), interrupter());
        // Whatever else is printed would be drawn across the dashboard.
        let observer: Box<dyn Observer> = if session.dashboard { Box::new(Quiet) } else { Box::new(ui.training()) };
        let outcome = session.run(start, observer).map_err(|error| self.salvage(&session, error, run, ui))?;
        let evaluation = match &outcome.best {
            Some(weights) => Some(self.export(run, &outcome.state, weights, ui)?),
            None => None,
        };
        if outcome.ending == Ending::Interrupted {
            return Err(Error::interrupted(format!(
                "stopped after iteration {} of {}",
                outcome.state.iteration, self.plan.total_iterations
            ))
            .tip(format!("go on exactly where it stopped: kiln resume {}", run.path().display())));
        }
        let Some(evaluation) = evaluation else { return Err(Error::failed("training ended without a finished epoch")) };
        let summary = self.summary(run, &outcome, &evaluation);
        record.status = Status::Done;
        record.message.clone_from(&outcome.state.stopped);
        record.result = Some(summary.clone());
        self.say_summary(run, &outcome, &evaluation, ui);
        if ui.mode() == Mode::Json {
            ui.json(&summary);
        } else if ui.mode() == Mode::Quiet {
            ui.out(&run.model().display().to_string());
        }
        match self.display.require_accuracy {
            Some(required) if evaluation.accuracy < required => {
                Err(Error::failed(format!("test accuracy {:.4} is below the required {required}", evaluation.accuracy)))
            }
            _ => Ok(()),
        }
    }

    /// Exports the best epoch of a run that failed, if it finished one, and adds the way on to the error.
    fn salvage(&self, session: &Session, error: Error, run: &RunDir, ui: &Ui) -> Error {
        let path = run.path().display();
        let checkpoints = CheckpointStore::open(run.checkpoints());
        let Ok((Some(newest), _)) = checkpoints.as_ref().map_or(Ok((None, Vec::new())), CheckpointStore::newest_intact)
        else {
            return error;
        };
        let best = newest.state.best.and_then(|best| checkpoints.ok()?.load(best.iteration).ok());
        let exported = best.is_some_and(|best| {
            session.weights_of(&best).and_then(|weights| self.export(run, &newest.state, &weights, ui)).is_ok()
        });
        // A loss that is no number would be met again; everything else may have passed.
        if exported && !error.tips().is_empty() {
            return error.tip(format!("begin again from its best epoch: kiln fork {path} --set KEY=VALUE"));
        }
        error.tip(format!("go on from the last checkpoint: kiln resume {path}"))
    }

    /// Writes the artifact of `weights`, reads it back, and measures what was read on the test images.
    fn export(&self, run: &RunDir, state: &LoopState, weights: &Weights, ui: &Ui) -> Result<Evaluation> {
        let mut manifest = Manifest::describe(artifact::Description {
            experiment: &self.experiment,
            preprocess: &self.preprocess,
            classes: &self.dataset.train.classes,
            fingerprint: &self.dataset.fingerprint,
            run: run.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            device: &self.device.name,
            parent: None,
        })?;
        let predictor = Predictor::new(manifest.clone(), weights, &self.device.device)?;
        let evaluation = measure(ui, &predictor, &self.dataset.test)?;
        if let Some(best) = state.best {
            manifest.metrics.insert("best_epoch".into(), json!(best.epoch));
            if !self.dataset.validation.is_empty() {
                manifest.metrics.insert("validation_accuracy".into(), json!(best.validation.accuracy()));
                manifest.metrics.insert("validation_loss".into(), json!(best.validation.loss()));
            }
        }
        for (name, value) in [
            ("test_accuracy", json!(evaluation.accuracy)),
            ("test_loss", json!(evaluation.loss)),
            ("test_correct", json!(evaluation.correct)),
            ("test_total", json!(evaluation.images)),
        ] {
            manifest.metrics.insert(name.into(), value);
        }
        manifest.add_golden_samples(&predictor, &self.dataset.test)?;
        artifact::write(&run.model(), Format::Burnpack, Dtype::F32, &manifest, weights)?;
        let (manifest, weights) = artifact::read(&run.model())?;
        let verification = predict::verify(&manifest, &weights, &self.device.device)?;
        if verification.labels_agree != verification.samples {
            return Err(Error::failed("the exported model does not compute what the trained one does"));
        }
        Ok(evaluation)
    }

    fn summary(&self, run: &RunDir, outcome: &Outcome, evaluation: &Evaluation) -> Value {
        let best = outcome.state.best;
        let validation = best.filter(|_| !self.dataset.validation.is_empty()).map(|best| best.validation.accuracy());
        json!({
            "run_dir": run.path(),
            "model": run.model(),
            "best_epoch": best.map(|best| best.epoch),
            "epochs": outcome.state.epoch - 1,
            "iterations": outcome.state.iteration,
            "validation_accuracy": validation,
            "test_accuracy": evaluation.accuracy,
            "test_correct": evaluation.correct,
            "test_total": evaluation.images,
            "train_seconds": outcome.state.train_seconds,
            "images_per_second": outcome.state.train_images as f64 / outcome.state.train_seconds.max(1e-9),
            "device": self.device.name,
            "seed": self.experiment.seed,
        })
    }

    fn say_summary(&self, run: &RunDir, outcome: &Outcome, evaluation: &Evaluation, ui: &Ui) {
        let state = &outcome.state;
        let model = run.model().display().to_string();
        ui.say("");
        if let Some(reason) = &state.stopped {
            ui.say(&format!("stopped early  {reason}"));
        }
        if let Some(best) = state.best {
            let kept = if self.dataset.validation.is_empty() {
                format!("epoch {}, the last: without validation images none can be called best", best.epoch)
            } else {
                format!(
                    "epoch {}: {:.2} % on {} validation images",
                    best.epoch,
                    best.validation.accuracy() * 100.0,
                    report::thousands(best.validation.images)
                )
            };
            ui.say(&format!("kept           {kept}"));
        }
        ui.say(&format!(
            "trained        {} iterations in {} ({} images/s)",
            report::thousands(state.iteration as u64),
            report::duration(state.train_seconds),
            report::thousands((state.train_images as f64 / state.train_seconds.max(1e-9)) as u64)
        ));
        let [low, high] = evaluation.accuracy_interval;
        ui.heading(&format!(
            "test accuracy  {:.2} % ({} of {} right, 95 % interval {:.2} to {:.2} %)",
            evaluation.accuracy * 100.0,
            report::thousands(evaluation.correct as u64),
            report::thousands(evaluation.images as u64),
            low * 100.0,
            high * 100.0
        ));
        ui.say(&format!("model          {model} (verified)"));
        ui.aside(&format!(
            "next           kiln eval {model}\n               kiln predict {model} PICTURE\n               kiln export {} --out model.safetensors",
            run.path().display()
        ));
    }
}

/// Burn's dashboard takes the whole terminal.
fn dashboard_is_possible(ui: &Ui) -> Result<()> {
    if !cfg!(feature = "tui") {
        return Err(
            Error::usage("the dashboard is not in this build").tip("build it in: cargo run --features tui -- …")
        );
    }
    if ui.mode() != Mode::Text || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::usage("the dashboard needs a terminal for itself: no pipe, no --json, no --quiet")
            .tip("leave out --ui tui: training is shown in lines"));
    }
    Ok(())
}

/// The plan of an experiment on this data.
pub fn plan_for(experiment: &Experiment, dataset: &Dataset) -> Result<Plan> {
    Plan::new(
        experiment,
        crate::plan::Images {
            train: dataset.train.len(),
            validation: dataset.validation.len(),
            test: dataset.test.len(),
            shape: dataset.train.shape,
            classes: dataset.train.classes.len(),
        },
    )
}

/// Stops training in good order at the first Ctrl-C or SIGTERM, and leaves at once at the second.
fn interrupter() -> Interrupter {
    static INTERRUPTER: OnceLock<Interrupter> = OnceLock::new();
    INTERRUPTER
        .get_or_init(|| {
            let interrupter = Interrupter::new();
            let handle = interrupter.clone();
            // A handler that cannot be installed leaves the system's own: the process ends, the checkpoints remain.
            let _ = ctrlc::set_handler(move || {
                if handle.should_stop() {
                    leave();
                }
                handle.stop(Some("the user asked for it"));
                Ui::new(Mode::Json).say("\nfinishing this iteration and saving; once more to leave at once");
            });
            interrupter
        })
        .clone()
}

/// The second Ctrl-C: the last checkpoint is on disk, nothing else needs care.
#[expect(clippy::exit, reason = "the user asked twice to leave at once")]
fn leave() -> ! {
    std::process::exit(130)
}
