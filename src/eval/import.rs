//! Weights that PyTorch trained become a model file, measured on the images they are for.

use std::path::Path;

use burn::tensor::Device;
use serde_json::json;

use super::{Evaluation, evaluate, measure_trust};
use crate::artifact::{self, Dtype, Format, Manifest};
use crate::config::Experiment;
use crate::predict::Predictor;
use crate::{Error, Result, data};

/// Reads the weights of `experiment.model` from the safetensors file `weights`, measures them on the test images of
/// `experiment.data`, and writes the model file `out`, replacing what is there. `progress` is told how many images are
/// measured, and of how many.
///
/// # Errors
/// When the weights are another model's, the data cannot be read, or the file cannot be written.
pub fn import(
    weights: &Path,
    experiment: &Experiment,
    out: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Evaluation> {
    let dataset = data::open(&experiment.data, experiment.seed)?;
    let (shape, classes) = (dataset.train.shape, dataset.train.classes.to_vec());
    let imported = artifact::import(weights, &experiment.model, shape, classes.len())?;
    let source = weights.display().to_string();
    let mut manifest = Manifest::imported(experiment.model.clone(), dataset.preprocess.clone(), classes, &source);
    manifest.provenance.data_fingerprint.clone_from(&dataset.fingerprint);
    manifest.provenance.seed = experiment.seed;
    manifest.provenance.experiment = serde_json::to_value(experiment)
        .map_err(|error| Error::failed("cannot encode the experiment").caused_by(error))?;
    let predictor = Predictor::new(manifest.clone(), &imported, &Device::flex())?;
    measure_trust(&mut manifest, &predictor, &dataset.validation)?;
    let predictor = predictor.describing(manifest.clone());
    let evaluation = evaluate(&predictor, &dataset.test, |done| progress(done, dataset.test.len()))?;
    manifest.metrics.insert("test_accuracy".into(), json!(evaluation.accuracy));
    manifest.add_golden_samples(&predictor, &dataset.test)?;
    artifact::write(out, Format::Burnpack, Dtype::F32, &manifest, &imported)?;
    Ok(evaluation)
}
