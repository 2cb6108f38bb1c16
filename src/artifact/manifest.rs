//! What travels with the weights: how to build the network, how to feed it, what its answers mean, where it came from,
//! and what it must compute.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Dtype;
use crate::config::Experiment;
use crate::data::ImageSet;
use crate::data::preprocess::Preprocess;
use crate::models::{ModelConfig, Weights, total_parameters};
use crate::predict::Predictor;
use crate::{Error, Result, hex};

/// The version of the manifest's layout that this kiln writes, and the newest that it reads.
pub const SCHEMA_VERSION: u64 = 1;

/// Real inputs that an artifact carries with the logits they gave.
const GOLDEN_SAMPLES: usize = 16;

/// Everything an exported model says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this layout: [`SCHEMA_VERSION`].
    pub schema_version: u64,
    /// The architecture.
    pub model: ModelConfig,
    /// From pictures to network inputs.
    pub preprocess: Preprocess,
    /// The classes by label, which is the position in the logits.
    pub classes: Vec<String>,
    /// What was measured: accuracies (0 to 1), losses, counts.
    pub metrics: Map<String, Value>,
    /// Where it came from.
    pub provenance: Provenance,
    /// The type in which the weights are stored.
    pub dtype: Dtype,
    /// [`Weights::sha256`] of the weights as they are read from this file.
    pub weights_sha256: String,
    /// Inputs with the logits that the weights in this file give, computed at export.
    pub golden: Vec<GoldenSample>,
}

/// Where a model came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The kiln that exported it.
    pub kiln_version: String,
    /// Its Burn.
    pub burn_version: String,
    /// The commit of the working directory at training, if it is in a Git repository.
    pub git_commit: Option<String>,
    /// When it was exported: RFC 3339, UTC.
    pub created: String,
    /// The resolved experiment.
    pub experiment: Value,
    /// SHA-256 of the training data, or empty when unknown.
    pub data_fingerprint: String,
    /// The name of the run directory.
    pub run: String,
    /// The seed of the experiment.
    pub seed: u64,
    /// The device it was trained on.
    pub device: String,
    /// The model that training started from, if it did not start from random weights.
    pub parent: Option<String>,
}

impl Provenance {
    /// This kiln at this moment, and nothing else known.
    fn now() -> Self {
        Self {
            kiln_version: env!("CARGO_PKG_VERSION").into(),
            burn_version: super::BURN_VERSION.into(),
            git_commit: None,
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            experiment: Value::Null,
            data_fingerprint: String::new(),
            run: String::new(),
            seed: 0,
            device: String::new(),
            parent: None,
        }
    }
}

/// One input and what the network answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenSample {
    /// The pixels, `[channels, height, width]`, in hexadecimal.
    pub pixels: String,
    /// The logits, `[classes]`.
    pub logits: Vec<f32>,
}

/// What a manifest is made from when a run ends.
#[derive(Debug)]
pub struct Description<'a> {
    /// The resolved experiment.
    pub experiment: &'a Experiment,
    /// The preprocessing of the training data.
    pub preprocess: &'a Preprocess,
    /// The classes by label.
    pub classes: &'a [String],
    /// SHA-256 of the training data.
    pub fingerprint: &'a str,
    /// The name of the run directory.
    pub run: String,
    /// The device it was trained on.
    pub device: &'a str,
}

impl Manifest {
    /// A manifest without metrics and golden samples; the digest comes when it is written.
    ///
    /// # Errors
    /// When the experiment cannot be told as JSON.
    pub fn describe(description: Description) -> Result<Self> {
        let experiment = serde_json::to_value(description.experiment)
            .map_err(|error| Error::failed("the experiment cannot be written as JSON").caused_by(error))?;
        let provenance = Provenance {
            git_commit: super::git_commit(),
            experiment,
            data_fingerprint: description.fingerprint.to_owned(),
            run: description.run,
            seed: description.experiment.seed,
            device: description.device.to_owned(),
            ..Provenance::now()
        };
        let classes = description.classes.to_vec();
        Ok(Self::new(description.experiment.model.clone(), description.preprocess.clone(), classes, provenance))
    }

    /// A manifest for weights that were trained elsewhere; `source` names them.
    pub fn imported(model: ModelConfig, preprocess: Preprocess, classes: Vec<String>, source: &str) -> Self {
        Self::new(model, preprocess, classes, Provenance { parent: Some(source.to_owned()), ..Provenance::now() })
    }

    fn new(model: ModelConfig, preprocess: Preprocess, classes: Vec<String>, provenance: Provenance) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            model,
            preprocess,
            classes,
            metrics: Map::new(),
            provenance,
            dtype: Dtype::F32,
            weights_sha256: String::new(),
            golden: Vec::new(),
        }
    }

    /// Takes 16 images, spread evenly over `set`, with the logits that `predictor` gives, as golden samples.
    ///
    /// # Errors
    /// When the device fails or the set's images have another size.
    pub fn add_golden_samples(&mut self, predictor: &Predictor, set: &ImageSet) -> Result<()> {
        let count = GOLDEN_SAMPLES.min(set.len());
        let images = (0..count).map(|sample| set.image(sample * set.len() / count).to_vec()).collect::<Vec<_>>();
        self.golden = golden(predictor, &images)?;
        Ok(())
    }

    /// The pixels of all golden samples.
    ///
    /// # Errors
    /// A usage error when one is not what the preprocessing takes.
    pub fn golden_images(&self) -> Result<Vec<Vec<u8>>> {
        let size = self.preprocess.shape.len();
        let decode = |(index, sample): (usize, &GoldenSample)| match hex::decode(&sample.pixels) {
            Some(pixels) if pixels.len() == size && sample.logits.len() == self.classes.len() => Ok(pixels),
            _ => Err(Error::usage(format!(
                "golden sample {} must hold {size} pixels and {} logits",
                index + 1,
                self.classes.len()
            ))),
        };
        self.golden.iter().enumerate().map(decode).collect()
    }

    /// The same manifest for other weights: golden samples computed anew, on the CPU.
    pub(super) fn recomputed(&self, weights: &Weights) -> Result<Self> {
        let predictor = Predictor::new(self.clone(), weights, &Device::flex())?;
        Ok(Self { golden: golden(&predictor, &self.golden_images()?)?, ..self.clone() })
    }

    pub(super) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::failed("the manifest cannot be written as JSON").caused_by(error))
    }

    /// Reads a manifest and checks that it can be used.
    pub(super) fn from_json(text: &str) -> Result<Self> {
        let unusable = |error: serde_json::Error| Error::usage("the manifest is not readable").caused_by(error);
        let value = serde_json::from_str::<Value>(text).map_err(unusable)?;
        let version = value.get("schema_version").and_then(Value::as_u64);
        if version != Some(SCHEMA_VERSION) {
            let found = value.get("schema_version").map_or("none".to_owned(), Value::to_string);
            let error = Error::usage(format!("the manifest's schema version must be {SCHEMA_VERSION}, got {found}"));
            let made_by = value.pointer("/provenance/kiln_version").and_then(Value::as_str).unwrap_or("a newer one");
            return Err(match version {
                Some(newer) if newer > SCHEMA_VERSION => error.tip(format!(
                    "it was written by kiln {made_by}, this is {}: update kiln",
                    env!("CARGO_PKG_VERSION")
                )),
                _ => error.tip("export the model again from its run"),
            });
        }
        let manifest = serde_json::from_str::<Self>(text).map_err(unusable)?;
        // A key that this version does not know could change what the network computes.
        let known = serde_json::from_str::<Value>(&manifest.to_json()?).map_err(unusable)?;
        for part in ["model", "preprocess"] {
            if !same_keys(&known[part], &value[part]) {
                return Err(Error::usage(format!("the manifest's `{part}` holds keys that this kiln does not know")));
            }
        }
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        let channels = self.preprocess.shape.channels;
        let (mean, std) = (&self.preprocess.mean, &self.preprocess.std);
        if mean.len() != channels || std.len() != channels {
            return Err(Error::usage(format!(
                "the manifest's `preprocess` must hold {channels} means and deviations, got {} and {}",
                mean.len(),
                std.len()
            )));
        }
        if !mean.iter().all(|mean| mean.is_finite()) || !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(Error::usage("the manifest's `preprocess` holds a deviation or mean that is no usable number"));
        }
        self.model.layers(self.preprocess.shape, self.classes.len())?;
        self.golden_images().map(|_| ())
    }

    /// Checks that `weights` are those that this manifest describes, all of them and nothing else.
    pub(super) fn check_weights(&self, weights: &Weights) -> Result<()> {
        let (shape, classes) = (self.preprocess.shape, self.classes.len());
        let expected = total_parameters(&self.model.layers(shape, classes)?);
        let found = weights.iter().map(|(_, tensor)| tensor.values.len()).sum::<usize>();
        // Before anything of the described size is allocated.
        if found < expected {
            return Err(Error::usage(format!("the network has {expected} parameters, the file holds {found}")));
        }
        self.model.init(shape, classes, &Device::flex())?.load(weights)?;
        let digest = weights.sha256();
        if digest != self.weights_sha256 {
            return Err(Error::usage(format!(
                "the weights are damaged: their SHA-256 must be {}, got {digest}",
                self.weights_sha256
            ))
            .tip("copy the file again, or export the model again from its run"));
        }
        Ok(())
    }
}

fn golden(predictor: &Predictor, images: &[Vec<u8>]) -> Result<Vec<GoldenSample>> {
    let logits = predictor.logits(&images.concat(), images.len())?;
    let classes = predictor.manifest().classes.len();
    let sample =
        |(pixels, logits): (&Vec<u8>, &[f32])| GoldenSample { pixels: hex::encode(pixels), logits: logits.to_vec() };
    Ok(images.iter().zip(logits.chunks(classes)).map(sample).collect())
}

/// Whether two values have the same objects with the same keys, whatever their numbers are.
fn same_keys(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_keys(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_keys(a, b)),
        _ => true,
    }
}
