//! `kiln extend`: more epochs for a run.

use std::path::PathBuf;

use super::resume::ResumeChoices;
use super::train::{DisplayArguments, follow};
use super::ui::Ui;
use crate::Result;
use crate::lifecycle::{LearningRateOnExtend, Run};

/// The arguments of `kiln extend`.
#[derive(Debug, clap::Args)]
pub struct ExtendArguments {
    /// A run: its directory, its number, or latest
    #[arg(value_name = "RUN", value_parser = super::run_parser(), add = super::completions::runs())]
    run: PathBuf,

    /// Epochs in all, those that are done included
    #[arg(long, value_name = "COUNT")]
    epochs: usize,

    /// Plan the learning rate anew over all epochs, instead of holding its last value
    #[arg(long)]
    replan: bool,

    #[command(flatten)]
    choices: ResumeChoices,

    #[command(flatten)]
    display: DisplayArguments,
}

/// Trains a run for longer.
pub fn run(arguments: ExtendArguments, ui: &mut Ui) -> Result<()> {
    arguments.display.check(ui)?;
    let rate = if arguments.replan { LearningRateOnExtend::Replan } else { LearningRateOnExtend::Hold };
    let options = arguments.choices.options()?;
    follow(Run::open(&arguments.run)?.extend_with(arguments.epochs, rate, &options)?, &arguments.display, ui)
}
