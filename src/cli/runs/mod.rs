//! `kiln runs`: what there is to know of runs that were made. One file per command of the group.

mod show;

use super::ui::Ui;
use crate::Result;

/// The arguments of `kiln runs`.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct RunsArguments {
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RunsCommand {
    /// Draw a run in the terminal: how it stands, and its curves
    Show(show::ShowArguments),
}

/// Runs one command of the group.
pub fn run(arguments: RunsArguments, ui: &mut Ui) -> Result<()> {
    match arguments.command {
        RunsCommand::Show(arguments) => show::run(arguments, ui),
    }
}
