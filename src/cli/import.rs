//! `kiln import`: PyTorch-trained weights of an architecture that kiln has, as a model file.

use std::path::PathBuf;

use serde_json::json;

use super::ui::{Mode, Ui};
use super::{ExperimentArguments, eval};
use crate::artifact::{self, Dtype, Format, Manifest};
use crate::device::{self, Backend, Request};
use crate::predict::Predictor;
use crate::{Error, Result, data, report};

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
    let config = ExperimentArguments { config: Some(arguments.model), sets: arguments.sets, device: None, seed: None };
    let experiment = config.load(ui)?;
    let dataset = data::open(&experiment.data, experiment.seed)?;
    let (shape, classes) = (dataset.train.shape, &dataset.train.classes);
    let preprocess = dataset.preprocess.clone();
    let weights = artifact::import(&arguments.weights, &experiment.model, shape, classes.len())?;
    let source = arguments.weights.display().to_string();
    let mut manifest = Manifest::imported(experiment.model.clone(), preprocess, classes.to_vec(), &source);
    manifest.provenance.data_fingerprint.clone_from(&dataset.fingerprint);
    manifest.provenance.seed = experiment.seed;
    manifest.provenance.experiment = serde_json::to_value(&experiment)
        .map_err(|error| Error::failed("cannot encode the experiment").caused_by(error))?;
    let device = device::open(Request::Named(Backend::Flex, None))?;
    let predictor = Predictor::new(manifest.clone(), &weights, &device.device)?;
    let evaluation = eval::measure(ui, &predictor, &dataset.test)?;
    manifest.metrics.insert("test_accuracy".into(), json!(evaluation.accuracy));
    manifest.add_golden_samples(&predictor, &dataset.test)?;
    artifact::write(&arguments.out, Format::Burnpack, Dtype::F32, &manifest, &weights)?;
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "model": arguments.out, "test_accuracy": evaluation.accuracy }));
    } else {
        ui.out(&report::headline(&evaluation));
        ui.out(&format!("wrote {}", arguments.out.display()));
    }
    Ok(())
}
