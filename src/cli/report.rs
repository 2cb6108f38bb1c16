//! `kiln report`: a run on one page.

use std::path::PathBuf;

use super::ui::{Mode, Ui};
use crate::lifecycle::Run;
use crate::run::file;
use crate::{Error, Result, report};

/// The arguments of `kiln report`.
#[derive(Debug, clap::Args)]
pub struct ReportArguments {
    /// A run: its directory, its number, or latest, finished or not
    #[arg(value_name = "RUN", value_parser = super::run_parser(), add = super::completions::runs())]
    run: PathBuf,

    /// Write the page to this file; without it: report.html in the run, with curves.csv beside it
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// Writes the page and names it. With `--json`: prints the report as data, and writes a file only if one is named.
pub fn run(arguments: ReportArguments, ui: &mut Ui) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    let report = run.report()?;
    for notice in &report.notices {
        ui.warn(notice);
    }
    let written = match &arguments.out {
        Some(path) => {
            file::write_atomic(path, report::page(&report).as_bytes())?;
            Some(path.clone())
        }
        None if ui.mode() == Mode::Json => None,
        None => Some(run.keep_report(&report)?),
    };
    if ui.mode() == Mode::Json {
        ui.json(
            &serde_json::to_value(&report)
                .map_err(|error| Error::failed("cannot encode the report").caused_by(error))?,
        );
    } else if let Some(path) = written {
        ui.out(&path.display().to_string());
    }
    Ok(())
}
