//! `kiln verify`: whether a model file is what was exported, and computes here what it computed there.

use std::path::PathBuf;

use serde_json::json;

use super::ui::{Mode, Ui};
use super::{open_device, open_model};
use crate::{Error, Result, artifact, predict};

/// The arguments of `kiln verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// A model file, or a run: its directory, its number, or latest
    #[arg(value_name = "MODEL", value_parser = super::run_parser(), add = super::completions::runs())]
    model: PathBuf,

    /// Compute here
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// The largest difference between a logit now and at export that passes
    #[arg(long, value_name = "DIFFERENCE", default_value_t = 1e-3)]
    tolerance: f32,
}

/// Verifies and prints.
pub fn run(arguments: VerifyArguments, ui: &mut Ui) -> Result<()> {
    if !(arguments.tolerance.is_finite() && arguments.tolerance >= 0.0) {
        return Err(Error::usage(format!("--tolerance: must be at least 0 and finite, got {}", arguments.tolerance)));
    }
    let path = open_model(&arguments.model, ui)?;
    let device = open_device(&arguments.device, "`kiln verify` computes")?;
    let (manifest, weights) = artifact::read(&path)?;
    let verification = predict::verify(&manifest, &weights, &device.device)?;
    let passed = verification.passed(arguments.tolerance);
    if ui.mode() == Mode::Json {
        ui.json(&json!({
            "model": path, "weights_sha256": manifest.weights_sha256, "device": device.name, "passed": passed,
            "samples": verification.samples, "labels_agree": verification.labels_agree,
            "largest_difference": verification.largest_difference,
        }));
    } else {
        ui.out(&format!("weights      intact, SHA-256 {}", manifest.weights_sha256));
        ui.out(&match verification.samples {
            0 => "golden       no samples: nothing was replayed".to_owned(),
            samples => format!(
                "golden       {} of {samples} labels agree on {}, largest logit difference {:.2e}",
                verification.labels_agree, device.name, verification.largest_difference
            ),
        });
        if verification.samples > 0 {
            ui.lines(
                "             real inputs that the file keeps with the logits, the network's numbers before they become \
                 probabilities, that they gave when it was written: computed again here",
            );
        }
    }
    if passed {
        return Ok(());
    }
    if verification.samples == 0 {
        return Err(Error::failed(format!("`{}` holds no golden samples: nothing was replayed", path.display()))
            .tip("`kiln train`, `kiln export` and `kiln import` write files that hold some"));
    }
    Err(Error::failed(format!(
        "`{}` does not compute on {} what it computed at export: {} of {} labels agree, largest logit difference {:.2e}, allowed {:.0e}",
        path.display(),
        device.name,
        verification.labels_agree,
        verification.samples,
        verification.largest_difference,
        arguments.tolerance
    ))
    .tip("try another backend with --device; on a GPU, set CUBECL_AUTOTUNE_LEVEL=minimal"))
}
