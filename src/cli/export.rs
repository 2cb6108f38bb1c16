//! `kiln export`: a run's model, or a model file, in another format.

use std::path::PathBuf;

use serde_json::json;

use super::open_model;
use super::ui::{Mode, Ui};
use crate::artifact::{Dtype, Format};
use crate::{Error, Result, predict, report};

/// The arguments of `kiln export`.
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// A run: its directory, its number, or latest, or a model file
    #[arg(value_name = "RUN", value_parser = super::run_parser(), add = super::completions::runs())]
    model: PathBuf,

    /// The format; without it: what the extension of --out says
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The type of the numbers
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,

    /// The file to write; without it: beside the model, under its name with the format's extension
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Replace the file when it exists
    #[arg(long)]
    force: bool,
}

/// Exports, and verifies what was written.
pub fn run(arguments: ExportArguments, ui: &mut Ui) -> Result<()> {
    let model = open_model(&arguments.model, ui)?;
    let name_it = format!("name it: --format {}", Format::names());
    let (out, format) = match (arguments.out, arguments.format) {
        (Some(out), Some(format)) => (out, format),
        (None, Some(format)) => (model.with_extension(format.extension()), format),
        (None, None) => return Err(Error::usage("which format to write is not said").tip(name_it)),
        (Some(out), None) => {
            let extension = out.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let format = Format::of_extension(extension).ok_or_else(|| {
                Error::usage(format!("cannot tell the format of `{}` from its name", out.display())).tip(name_it)
            })?;
            (out, format)
        }
    };
    if out.exists() && !arguments.force {
        return Err(Error::usage(format!("`{}` exists", out.display())).tip("replace it with --force"));
    }
    let (manifest, verification) = predict::export(&model, &out, format, arguments.dtype)?;
    let bytes = std::fs::metadata(&out).map(|data| data.len()).unwrap_or_default();
    if ui.mode() == Mode::Json {
        ui.json(&json!({
            "model": out, "bytes": bytes, "weights_sha256": manifest.weights_sha256,
            "largest_difference": verification.largest_difference,
        }));
    } else {
        let replayed = match verification.samples {
            0 => "no golden samples: nothing was replayed".into(),
            samples => format!(
                "{} of {samples} golden samples agree, largest logit difference {:.1e}",
                verification.labels_agree, verification.largest_difference
            ),
        };
        ui.out(&format!("wrote {} ({} KB); {replayed}", out.display(), bytes / 1000));
        if let Some(views) = &manifest.test_time_augmentation {
            ui.lines(&format!("each answer is {}; {}", report::views(views), format.holds_views()));
        }
    }
    Ok(())
}
