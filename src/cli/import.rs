//! `kiln import`: PyTorch-trained weights of an architecture that kiln has, as a model file.

use std::path::PathBuf;

use serde_json::json;

use super::ExperimentArguments;
use super::ui::{Mode, Ui};
use crate::{Error, Result, eval, report};

/// The arguments of `kiln import`.
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    /// A safetensors file with PyTorch's names and layout (docs/artifact.md has the table)
    #[arg(value_name = "FILE")]
    weights: PathBuf,

    /// The config whose [model] and [data] the weights were trained with
    #[arg(long, value_name = "CONFIG")]
    model: String,

    /// Change one key of that config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// The model file to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,

    /// Replace the file when it exists
    #[arg(long)]
    force: bool,
}

/// Imports, measures on the config's test images, and writes a model file.
pub fn run(arguments: ImportArguments, ui: &mut Ui) -> Result<()> {
    if arguments.out.exists() && !arguments.force {
        return Err(Error::usage(format!("`{}` exists", arguments.out.display())).tip("replace it with --force"));
    }
    let config = ExperimentArguments::of(arguments.model, arguments.sets);
    let experiment = config.load(ui)?;
    let mut bar = None;
    let evaluation = eval::import(&arguments.weights, &experiment, &arguments.out, |done, total| {
        bar.get_or_insert_with(|| ui.bar("measuring", total)).set_position(done as u64);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let evaluation = evaluation?;
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "model": arguments.out, "test_accuracy": evaluation.accuracy }));
    } else {
        ui.out(&report::headline(&evaluation));
        ui.out(&format!("wrote {}", arguments.out.display()));
    }
    Ok(())
}
