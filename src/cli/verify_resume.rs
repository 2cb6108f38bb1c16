//! `kiln verify-resume`: whether resuming gives the same run to the last bit, with this config on this machine.

use burn::train::Interrupter;
use serde_json::json;

use super::ExperimentArguments;
use super::train::{DisplayArguments, Job};
use super::ui::{Mode, Ui};
use crate::run::RunDir;
use crate::train::receipt::{Receipt, compare};
use crate::{Error, Result};

/// The arguments of `kiln verify-resume`.
#[derive(Debug, clap::Args)]
pub struct VerifyResumeArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    #[command(flatten)]
    display: DisplayArguments,

    /// Stop and resume after this many iterations of the run; without it: in the middle
    #[arg(long, value_name = "COUNT")]
    at_iteration: Option<usize>,
}

/// Trains twice and compares.
pub fn run(arguments: VerifyResumeArguments, ui: &mut Ui) -> Result<()> {
    let job = Job::prepare(arguments.experiment.load()?, &arguments.display, ui)?;
    let total = job.plan.total_iterations;
    let stop_at = arguments.at_iteration.unwrap_or(total / 2);
    if !(1..total).contains(&stop_at) {
        return Err(Error::usage(format!("--at-iteration: must be 1 to {}, got {stop_at}", total - 1)));
    }
    let folder =
        tempfile::tempdir().map_err(|error| Error::failed("cannot make a temporary folder").caused_by(error))?;
    let (whole, parts) = (RunDir::create(folder.path(), "whole")?, RunDir::create(folder.path(), "parts")?);
    ui.say(&format!("training twice: without a stop, and stopped after iteration {stop_at} of {total} and resumed"));
    let mut session = job.session(None, Interrupter::new());
    let receipt = compare(&mut session, whole, parts, stop_at)?;
    match receipt {
        Receipt::Identical { weights_sha256 } => {
            if ui.mode() == Mode::Json {
                ui.json(&json!({ "identical": true, "stopped_after": stop_at, "weights_sha256": weights_sha256 }));
            } else {
                ui.out(&format!("bit-identical on {}: weights SHA-256 {weights_sha256}", job.device.name));
            }
            Ok(())
        }
        Receipt::Different { epoch, tensor } => {
            let epoch = epoch.map_or_else(|| "no epoch's figures".to_owned(), |epoch| format!("epoch {epoch}"));
            let tensor = tensor.unwrap_or_else(|| "no tensor".to_owned());
            if ui.mode() == Mode::Json {
                ui.json(&json!({ "identical": false, "stopped_after": stop_at, "first_epoch": epoch, "first_tensor": tensor }));
            }
            Err(Error::failed(format!(
                "the resumed run differs on {}: first in {epoch}, and in the final weights first in {tensor}",
                job.device.name
            )))
        }
    }
}
