//! `kiln fork`: a new run that begins with another run's weights.

use std::path::PathBuf;

use super::train::{DisplayArguments, follow};
use super::ui::Ui;
use crate::Result;
use crate::lifecycle::Run;

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
    arguments.display.check(ui)?;
    let sets: Vec<&str> = arguments.sets.iter().map(String::as_str).collect();
    let trainer = Run::open(&arguments.run)?.fork(&sets)?.runs(arguments.runs);
    follow(trainer, &arguments.display, ui)
}
