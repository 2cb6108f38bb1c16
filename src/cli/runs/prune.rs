//! `kiln runs prune`: all finished runs of a folder deleted but the best.

use std::path::PathBuf;

use super::rm;
use crate::board;
use crate::cli::ui::Ui;
use crate::lifecycle::Run;
use crate::run::Standing;
use crate::{Error, Result};

/// The arguments of `kiln runs prune`.
#[derive(Debug, clap::Args)]
pub struct PruneArguments {
    /// The folder that the runs are in
    #[arg(value_name = "RUNS", default_value = "runs")]
    runs: PathBuf,

    /// Keep so many finished runs, those with the highest validation accuracy
    #[arg(long, value_name = "COUNT")]
    keep_best: usize,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Asks, and deletes. Runs that are not finished stay; so do those without a validation accuracy, which nothing ranks.
pub fn run(arguments: PruneArguments, ui: &mut Ui) -> Result<()> {
    if !arguments.runs.is_dir() {
        return Err(Error::usage(format!("there is no folder `{}`", arguments.runs.display()))
            .tip("name the folder that the runs are in: kiln runs prune FOLDER --keep-best 3"));
    }
    let finished = board::runs(&arguments.runs).into_iter().filter(|run| run.status == Standing::Done);
    let (mut ranked, unranked): (Vec<_>, Vec<_>) = finished.partition(|run| run.validation_accuracy.is_some());
    for run in &unranked {
        ui.warn(&format!("`{}` has no validation accuracy and stays", run.name));
    }
    ranked.sort_by(|a, b| {
        let accuracy = |run: &board::RunSummary| run.validation_accuracy.unwrap_or(0.0);
        accuracy(b).total_cmp(&accuracy(a)).then_with(|| a.name.cmp(&b.name))
    });
    let rest = ranked.iter().skip(arguments.keep_best);
    let rest = rest.map(|run| Run::open(arguments.runs.join(&run.name))).collect::<Result<Vec<_>>>()?;
    if rest.is_empty() {
        ui.say("there is nothing to delete");
        return Ok(());
    }
    rm::delete(rest, arguments.yes, ui)
}
