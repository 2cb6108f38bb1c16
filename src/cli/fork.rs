//! `kiln fork`: a new run that begins with another run's weights.

use std::path::PathBuf;

use super::ChangeArguments;
use super::train::{DisplayArguments, follow};
use super::ui::Ui;
use crate::Result;
use crate::lifecycle::Run;

/// The arguments of `kiln fork`.
#[derive(Debug, clap::Args)]
pub struct ForkArguments {
    /// A run: its directory, its number, or latest, whose best weights and config are taken
    #[arg(value_name = "RUN", value_parser = super::run_parser(), add = super::completions::runs())]
    run: PathBuf,

    /// Change keys of the config: train.epochs=3; the same as --set
    #[arg(value_name = "KEY=VALUE", add = super::completions::keys())]
    words: Vec<String>,

    #[command(flatten)]
    changes: ChangeArguments,

    /// Put the new run directory in this folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,

    #[command(flatten)]
    display: DisplayArguments,
}

/// Trains a new run from old weights.
pub fn run(arguments: ForkArguments, ui: &mut Ui) -> Result<()> {
    arguments.display.check(ui)?;
    let changes = arguments.changes.with(&arguments.words)?;
    let sets: Vec<&str> = changes.iter().map(String::as_str).collect();
    let trainer = Run::open(&arguments.run)?.fork(&sets)?.runs(arguments.runs);
    follow(trainer, &arguments.display, ui)
}
