//! `kiln runs`: what there is to know of runs that were made. One file per command of the group.

mod diff;
mod ls;
mod prune;
mod rerun;
mod rm;
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
    /// List the runs of a folder
    Ls(ls::LsArguments),
    /// Draw a run in the terminal: how it stands, and its curves
    Show(show::ShowArguments),
    /// Show in what the configs of two runs differ, and what each reached
    Diff(diff::DiffArguments),
    /// Train a run once more, and say whether it became the same to the last bit
    Rerun(rerun::RerunArguments),
    /// Delete runs that are not in training
    Rm(rm::RmArguments),
    /// Delete all finished runs of a folder but the best by validation accuracy
    Prune(prune::PruneArguments),
}

/// Runs one command of the group.
pub fn run(arguments: RunsArguments, ui: &mut Ui) -> Result<()> {
    match arguments.command {
        RunsCommand::Ls(arguments) => ls::run(arguments, ui),
        RunsCommand::Show(arguments) => show::run(arguments, ui),
        RunsCommand::Diff(arguments) => diff::run(arguments, ui),
        RunsCommand::Rerun(arguments) => rerun::run(arguments, ui),
        RunsCommand::Rm(arguments) => rm::run(arguments, ui),
        RunsCommand::Prune(arguments) => prune::run(arguments, ui),
    }
}
