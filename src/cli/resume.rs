//! `kiln resume`: a run that was stopped, killed or failed goes on as if it never had been.

use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::train::{DisplayArguments, Job};
use super::ui::Ui;
use crate::config::Experiment;
use crate::config::document::Origin;
use crate::run::record::now;
use crate::run::{RunDir, RunRecord, Status, file};
use crate::train::checkpoint::{Checkpoint, CheckpointStore};
use crate::train::session::Start;
use crate::{Error, Result};

/// The arguments of `kiln resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArguments {
    /// The directory of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Refuse unless the run's config is this one
    #[arg(long, value_name = "CONFIG")]
    config: Option<String>,

    #[command(flatten)]
    display: DisplayArguments,
}

/// Goes on with a run.
pub fn run(arguments: ResumeArguments, ui: &mut Ui) -> Result<()> {
    let stopped = StoppedRun::open(&arguments.run, ui)?;
    if let Some(config) = &arguments.config {
        refuse_drift(&stopped.config, &Experiment::load(&Origin::find(config)?, &[])?.to_toml(), config)?;
    }
    if stopped.record.as_ref().is_some_and(|record| record.status == Status::Done) {
        return Err(Error::usage(format!("`{}` is complete", arguments.run.display()))
            .tip(format!("train it for longer: kiln extend {} --epochs N", arguments.run.display())));
    }
    let experiment = stopped.experiment()?;
    stopped.go_on(experiment, &arguments.display, "resumed", ui)
}

/// An earlier run, as far as it came.
pub struct StoppedRun {
    /// Its directory.
    pub run: RunDir,
    /// Its record; none when the file is missing or damaged.
    pub record: Option<RunRecord>,
    /// Its resolved config.
    pub config: String,
    /// Its newest intact checkpoint; none when it was stopped before the first.
    pub checkpoint: Option<Checkpoint>,
}

impl StoppedRun {
    /// Reads what there is of the run in `path`, and says what is damaged.
    ///
    /// # Errors
    /// When there is nothing to go on from, or `config.toml` is no longer what the run was started with.
    pub fn open(path: &Path, ui: &Ui) -> Result<Self> {
        let run = RunDir::open(path)?;
        let config = file::read_text(&run.config())?;
        let (checkpoint, damaged) = CheckpointStore::open(run.checkpoints())?.newest_intact()?;
        for problem in &damaged {
            ui.warn(problem);
        }
        let record = match RunRecord::load(&run) {
            Ok(record) => Some(record),
            Err(error) => {
                ui.warn(&format!("{error}; a new one is begun"));
                None
            }
        };
        if let Some(checkpoint) = &checkpoint {
            refuse_drift(&checkpoint.state.config, &config, &run.config().display().to_string())?;
        }
        Ok(Self { run, record, config, checkpoint })
    }

    /// The run's experiment.
    pub fn experiment(&self) -> Result<Experiment> {
        Experiment::load(&Origin::Run(self.run.config()), &[])
    }

    /// Trains on from the checkpoint with `experiment`, which differs from the run's at most in its length.
    pub fn go_on(self, experiment: Experiment, display: &DisplayArguments, verb: &str, ui: &Ui) -> Result<()> {
        let job = Job::prepare(experiment, display, ui)?;
        let mut record = self.record.unwrap_or_else(|| job.record(None));
        let trained_on =
            self.checkpoint.as_ref().map_or(&record.data_fingerprint, |found| &found.state.data_fingerprint);
        if !job.dataset.has_fingerprint(trained_on) {
            return Err(Error::usage("the data is not what this run was started on")
                .caused_by(format!("its SHA-256 was {trained_on}, now it is {}", job.dataset.fingerprint))
                .tip("bring the data back as it was, or begin a new run"));
        }
        let at = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.state.iteration);
        record.history.push(format!("{} {verb} after iteration {at}", now()));
        record.ended = None;
        record.message = None;
        ui.say(&format!("{verb:<14} after iteration {at} of {}", job.plan.total_iterations));
        let start = match self.checkpoint {
            Some(mut checkpoint) => {
                checkpoint.state.stopped = None;
                let lines: String = checkpoint.state.metrics.iter().map(|line| format!("{line}\n")).collect();
                file::write_atomic(&self.run.metrics(), lines.as_bytes())?;
                Start::Resume(Box::new(checkpoint))
            }
            None => {
                file::write_atomic(&self.run.metrics(), b"")?;
                Start::Fresh
            }
        };
        job.train(self.run, record, start, ui)
    }
}

/// Refuses a config that is not the run's, and shows the lines that differ.
fn refuse_drift(of_run: &str, given: &str, name: &str) -> Result<()> {
    if of_run == given {
        return Ok(());
    }
    let diff = TextDiff::from_lines(of_run, given).unified_diff().context_radius(1).header("the run", name).to_string();
    Err(Error::usage(format!("the config is not the one this run was started with:\n{}", diff.trim_end()))
        .tip("begin a new run from its weights with kiln fork, or train it for longer with kiln extend"))
}
