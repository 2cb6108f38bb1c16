//! `kiln runs rerun`: a run trained once more, and whether it became the same.

use std::path::PathBuf;

use crate::cli::train::{DisplayArguments, require_accuracy, watch};
use crate::cli::ui::{Mode, Ui};
use crate::cli::{encode, quoted, summary};
use crate::lifecycle::{Repetition, Run};
use crate::{Error, Result};

/// The arguments of `kiln runs rerun`.
#[derive(Debug, clap::Args)]
pub struct RerunArguments {
    /// A run: its directory, its number, or latest
    #[arg(value_name = "RUN", value_parser = crate::cli::run_parser(), add = crate::cli::completions::runs())]
    run: PathBuf,

    /// Put the new run directory in this folder; without it: beside the run
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,

    #[command(flatten)]
    display: DisplayArguments,
}

/// Trains it again, from the same beginning, and compares.
pub fn run(arguments: RerunArguments, ui: &mut Ui) -> Result<()> {
    arguments.display.check(ui)?;
    let run = Run::open(&arguments.run)?;
    let trainer = run.rerun()?;
    let trainer = match arguments.runs {
        Some(runs) => trainer.runs(runs),
        None => trainer,
    };
    let (outcome, summary) = watch(trainer, &arguments.display, ui)?;
    summary::lines(&outcome, &summary, ui);
    let repetition = run.compare_rerun(&outcome.run)?;
    say(&repetition, ui);
    match ui.mode() {
        Mode::Json => ui.json(&encode(&repetition)?),
        Mode::Quiet => ui.out(&outcome.run.path().display().to_string()),
        Mode::Text => {}
    }
    if !repetition.identical {
        return Err(Error::failed(format!(
            "{} is not the same as {}",
            repetition.rerun.display(),
            repetition.run.display()
        ))
        .tip(format!(
            "see how much it matters: kiln compare {} {}",
            quoted(&repetition.run),
            quoted(&repetition.rerun)
        )));
    }
    require_accuracy(&summary, &arguments.display)
}

fn say(repetition: &Repetition, ui: &Ui) {
    let Repetition { run, epochs_compared, .. } = repetition;
    ui.say("");
    if repetition.identical {
        let digest = repetition.weights_sha256.as_deref().unwrap_or_default();
        ui.heading(&format!("same           to the last bit as {}, in {epochs_compared} epochs", run.display()));
        ui.say(&format!("weights        SHA-256 {digest}"));
        return;
    }
    let from = match repetition.first_different_epoch {
        Some(epoch) => format!("its weights differ from epoch {epoch} on"),
        None => "every epoch that both have is the same, and the end is not".to_owned(),
    };
    ui.heading(&format!("different      from {}: {from}", run.display()));
    for difference in &repetition.differences {
        ui.say(&format!("{:<14} was {}, is {}", difference.what, difference.before, difference.now));
    }
    if repetition.differences.is_empty() {
        ui.say("               nothing that a run records differs: it may be another processor, or another compiler");
    }
}
