//! `kiln extend`: more epochs for a run.

use std::path::PathBuf;

use super::resume::StoppedRun;
use super::train::DisplayArguments;
use super::ui::Ui;
use crate::{Error, Result};

/// The arguments of `kiln extend`.
#[derive(Debug, clap::Args)]
pub struct ExtendArguments {
    /// The directory of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Epochs in all, those that are done included
    #[arg(long, value_name = "COUNT")]
    epochs: usize,

    /// Plan the learning rate anew over all epochs, instead of holding its last value
    #[arg(long)]
    replan: bool,

    #[command(flatten)]
    display: DisplayArguments,
}

/// Trains a run for longer.
pub fn run(arguments: ExtendArguments, ui: &mut Ui) -> Result<()> {
    let stopped = StoppedRun::open(&arguments.run, ui)?;
    let mut experiment = stopped.experiment()?;
    let before = experiment.train.epochs;
    if arguments.epochs <= before {
        return Err(Error::usage(format!("--epochs: must be more than the run's {before}, got {}", arguments.epochs)));
    }
    experiment.train.epochs = arguments.epochs;
    let planned_over = experiment.schedule.epochs.unwrap_or(before);
    let words = if arguments.replan {
        experiment.schedule.epochs = None;
        format!("extended to {} epochs, learning rate planned anew over all of them (it jumps),", arguments.epochs)
    } else {
        experiment.schedule.epochs = Some(planned_over);
        format!(
            "extended to {} epochs, learning rate held at its value at the end of epoch {planned_over},",
            arguments.epochs
        )
    };
    stopped.go_on(experiment, &arguments.display, &words, ui)
}
