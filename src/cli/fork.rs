//! `kiln fork`: a new run that begins with another run's weights.

use std::path::PathBuf;

use super::model_file;
use super::train::{DisplayArguments, Job};
use super::ui::Ui;
use crate::config::Experiment;
use crate::config::document::Origin;
use crate::run::RunDir;
use crate::train::session::Start;
use crate::{Result, artifact};

/// The arguments of `kiln fork`.
#[derive(Debug, clap::Args)]
pub struct ForkArguments {
    /// The directory of a run, whose best weights and config are taken
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Change one key of the config: --set train.epochs=3; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// Put the new run directory in this folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,

    #[command(flatten)]
    display: DisplayArguments,
}

/// Trains a new run from old weights.
pub fn run(arguments: ForkArguments, ui: &mut Ui) -> Result<()> {
    let parent = RunDir::open(&arguments.run)?;
    let experiment = Experiment::load(&Origin::Run(parent.config()), &arguments.sets)?;
    let (manifest, weights) = artifact::read(&model_file(parent.path()))?;
    let job = Job::prepare(experiment, &arguments.display, ui)?;
    let run = RunDir::create(&arguments.runs, &job.experiment.name)?;
    let record = job.record(Some(format!("{} (weights SHA-256 {})", parent.path().display(), manifest.weights_sha256)));
    job.train(run, record, Start::Weights(weights), ui)
}
