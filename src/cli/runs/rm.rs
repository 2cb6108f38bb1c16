//! `kiln runs rm`: runs deleted, never one in training.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use crate::cli::ui::Ui;
use crate::lifecycle::Run;
use crate::{Error, Result};

/// The arguments of `kiln runs rm`.
#[derive(Debug, clap::Args)]
pub struct RmArguments {
    /// The directories of the runs
    #[arg(required = true, value_name = "RUN", value_parser = crate::cli::run_parser(), add = crate::cli::completions::runs())]
    runs: Vec<PathBuf>,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Asks, and deletes.
pub fn run(arguments: RmArguments, ui: &mut Ui) -> Result<()> {
    // Nothing is deleted when one of them is no run, or in training.
    let runs = arguments.runs.iter().map(Run::open).collect::<Result<Vec<_>>>()?;
    if let Some(run) = runs.iter().find(|run| run.is_training()) {
        return Err(Error::usage(format!("`{}` is in training", run.path().display()))
            .tip("stop it first, with Ctrl-C where it runs"));
    }
    delete(runs, arguments.yes, ui)
}

/// Deletes `runs`, and asks first unless `yes`.
pub fn delete(runs: Vec<Run>, yes: bool, ui: &Ui) -> Result<()> {
    if !yes && !is_confirmed(&runs)? {
        ui.say("nothing was deleted");
        return Ok(());
    }
    for run in runs {
        let path = run.path().to_owned();
        run.remove()?;
        ui.say(&format!("deleted {}", path.display()));
    }
    Ok(())
}

/// Whether whoever is at the terminal says so.
fn is_confirmed(runs: &[Run]) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Error::usage("there is no terminal to ask on").tip("delete without being asked: --yes"));
    }
    let names: Vec<String> = runs.iter().map(|run| run.path().display().to_string()).collect();
    let cannot = |error: io::Error| Error::failed("cannot ask on this terminal").caused_by(error);
    let mut terminal = io::stderr();
    write!(terminal, "delete {} for good? [y/N] ", names.join(", ")).and_then(|()| terminal.flush()).map_err(cannot)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(cannot)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
