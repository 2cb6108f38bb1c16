//! `kiln verify-resume`: whether resuming gives the same run, with this config on this machine: to the last bit on a CPU, to
//! rounding on a GPU.

use serde_json::json;

use super::ExperimentArguments;
use super::train::stop_on_interrupt;
use super::ui::{Mode, Ui};
use crate::lifecycle::{ResumeProof, Trainer};
use crate::{Error, Result};

/// The arguments of `kiln verify-resume`.
#[derive(Debug, clap::Args)]
pub struct VerifyResumeArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Stop and resume after this many iterations of the run; without it: in the middle
    #[arg(long, value_name = "COUNT")]
    at_iteration: Option<usize>,
}

/// Trains twice and compares.
pub fn run(arguments: VerifyResumeArguments, ui: &mut Ui) -> Result<()> {
    let trainer = Trainer::new(arguments.experiment.load(ui)?)?;
    ui.say(&trainer.plan().render());
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let (device, total) = (trainer.device().name.clone(), trainer.plan().total_iterations);
    let is_cpu = trainer.device().backend.is_cpu();
    ui.say(&format!("training {total} iterations twice on {device}: without a stop, and stopped and resumed"));
    let proof = trainer.verify_resume(arguments.at_iteration, &stop_on_interrupt())?;
    let same_to_rounding = proof.is_same_to_rounding();
    match proof {
        ResumeProof::Identical { stopped_after, weights_sha256 } => {
            if ui.mode() == Mode::Json {
                ui.json(
                    &json!({ "identical": true, "stopped_after": stopped_after, "weights_sha256": weights_sha256 }),
                );
            } else {
                ui.out(&format!(
                    "bit-identical on {device}, stopped after iteration {stopped_after} of {total}: weights SHA-256 {weights_sha256}"
                ));
            }
            Ok(())
        }
        ResumeProof::Different { stopped_after, epoch, tensor, weights, losses } => {
            if ui.mode() == Mode::Json {
                ui.json(&json!({
                    "identical": false, "same_to_rounding": same_to_rounding, "stopped_after": stopped_after,
                    "first_epoch": epoch, "first_tensor": tensor, "weights": weights, "losses": losses
                }));
            }
            // A CPU adds in one order, so there a difference is a fault.
            if same_to_rounding && !is_cpu {
                if ui.mode() != Mode::Json {
                    ui.out(&format!(
                        "the same to rounding on {device}, stopped after iteration {stopped_after} of {total}: the weights differ by at \
                         most {weights:.1e} of the largest of their tensor, the losses by at most {losses:.1e}"
                    ));
                }
                return Ok(());
            }
            let epoch = epoch.map_or_else(|| "the number of epochs".to_owned(), |epoch| format!("epoch {epoch}"));
            let tensor = tensor.unwrap_or_else(|| "no tensor".to_owned());
            Err(Error::failed(format!(
                "the resumed run differs on {device}: first in {epoch}, and in the final weights first in {tensor}; the weights by \
                 at most {weights:.1e} of the largest of their tensor, the losses by at most {losses:.1e}"
            )))
        }
    }
}
