//! `kiln sweep trial`: trains one run of a sweep to the end of a rung, as the process that a worker starts. It prints one line
//! of JSON for the worker, and stops when its input ends: then the worker has stopped, lost its claim, or died.

use std::io::Read as _;
use std::path::PathBuf;

use crate::cli::encode;
use crate::cli::ui::Ui;
use crate::config::{Experiment, Origin};
use crate::error::Kind;
use crate::lifecycle::{Reached, Run, train_trial};
use crate::sweep::{RunResult, TrialOutput};
use crate::train::observer::StopHandle;
use crate::{Error, Result};

/// The arguments of `kiln sweep trial`.
#[derive(Debug, clap::Args)]
pub struct TrialArguments {
    /// The config of the run
    #[arg(value_name = "CONFIG")]
    config: PathBuf,

    /// The directory of the run, new or not
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Train to the end of this epoch
    #[arg(long, value_name = "EPOCH")]
    epoch: usize,
}

/// Trains, and prints what it came to.
pub fn run(arguments: TrialArguments, ui: &Ui) -> Result<()> {
    let stop = StopHandle::new();
    let of_handler = stop.clone();
    // Both may hear of an interrupt at the terminal; asked twice or more, this process still ends in good order.
    let _ = ctrlc::set_handler(move || of_handler.stop());
    let of_input = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        of_input.stop();
    });
    let trained = Experiment::load(&Origin::Run(arguments.config), &[])
        .and_then(|experiment| train_trial(experiment, &arguments.run, arguments.epoch, &stop));
    let output = match trained {
        Ok(Some(reached)) => told(&reached),
        Ok(None) => TrialOutput::Stopped,
        Err(error) if error.kind() == Kind::Interrupted => TrialOutput::Stopped,
        Err(error) => failed(&error, &arguments.run),
    };
    ui.json(&encode(&output)?);
    Ok(())
}

fn told(reached: &Reached) -> TrialOutput {
    let predictions = &reached.predictions;
    let figures = predictions.evaluation();
    TrialOutput::Reached {
        result: RunResult {
            epochs: reached.epochs,
            iterations: reached.iterations,
            is_done: reached.is_done,
            best_epoch: Some(reached.best_epoch),
            validation_accuracy: Some(figures.accuracy),
            validation_loss: Some(figures.loss),
            weights_sha256: Some(reached.weights_sha256.clone()),
            seconds: reached.train_seconds,
            error: None,
        },
        labels: (0..predictions.len()).map(|index| predictions.label(index)).collect(),
        answers: (0..predictions.len()).map(|index| predictions.answer(index)).collect(),
    }
}

/// The error on one line, and how far the run came.
fn failed(error: &Error, run: &std::path::Path) -> TrialOutput {
    let done = Run::open(run).and_then(|run| run.metrics()).unwrap_or_default();
    let iterations = done.last().map_or(0, |epoch| epoch.iteration);
    TrialOutput::Failed { error: error.line(), epochs: done.len(), iterations }
}
