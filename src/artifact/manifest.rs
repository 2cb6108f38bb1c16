//! What travels with the weights: how to build the network, how to feed it, what its answers mean, where it came from,
//! and what it must compute.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::limits::{check_size, check_values, printable, shown};
use super::{COPY_AGAIN, Calibration, Dtype, OutOfDistribution};
use crate::check::{Check as _, Problems};
use crate::config::Experiment;
use crate::data::preprocess::Preprocess;
use crate::data::{DataConfig, TestTimeAugmentation, View};
use crate::models::{Composition, ModelConfig, Weights, total_parameters};
use crate::{Error, Result};

/// The version of the manifest's layout that this kiln writes, and the newest that it reads.
pub const SCHEMA_VERSION: u64 = 2;

/// Everything an exported model says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this layout, at most `SCHEMA_VERSION`. Version 1 has neither ensembles nor views, nor what is measured for
    /// trust.
    pub schema_version: u64,
    /// The architecture, or those of an ensemble.
    pub model: Composition,
    /// From pictures to network inputs.
    pub preprocess: Preprocess,
    /// The views of an image whose mean probability is the answer; absent where the image alone is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_time_augmentation: Option<TestTimeAugmentation>,
    /// The classes by label, which is the position in the logits.
    pub classes: Vec<String>,
    /// What was measured: accuracies (0 to 1), losses, counts.
    pub metrics: Map<String, Value>,
    /// What its probabilities are computed with; absent where there were no validation images to fit it on, and in files of
    /// version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The limit below which a picture is unlike those of training; absent as the calibration is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_distribution: Option<OutOfDistribution>,
    /// Where it came from.
    pub provenance: Provenance,
    /// The type in which the weights are stored.
    pub dtype: Dtype,
    /// [`Weights::sha256`] of the weights as they are read from this file.
    pub weights_sha256: String,
    /// Inputs with the logits that this file answers with, computed at export.
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
    /// Which kernels trained it on the CPU: `kiln`, or `stock` for Burn's own; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// [`Weights::sha256`] of the model that it learned from besides the labels, if there was one; of that and its views where
    /// it answered for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_sha256: Option<String>,
    /// The models that an ensemble was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberProvenance>,
}

/// Where a member of an ensemble came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberProvenance {
    /// The name of its run directory.
    pub run: String,
    /// The seed of its experiment.
    pub seed: u64,
    /// [`Weights::sha256`] of its own weights.
    pub weights_sha256: String,
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
            kernels: None,
            teacher_sha256: None,
            members: Vec::new(),
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
pub(crate) struct Description<'a> {
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
    /// The model that training started from, if it did not start from random weights.
    pub parent: Option<String>,
}

impl Manifest {
    /// The views that the model is asked about, one where it is the image itself.
    pub(crate) fn views(&self) -> Vec<View> {
        let shape = self.preprocess.shape;
        self.test_time_augmentation.as_ref().map_or_else(|| vec![View::of_itself(shape)], |views| views.views(shape))
    }

    /// What to call it in a sentence: "convnet", "ensemble of 5 for 10 views of an image".
    pub fn words(&self) -> String {
        let model = self.model.words();
        match &self.test_time_augmentation {
            None => model,
            Some(views) => format!("{model} for {} views of an image", views.count()),
        }
    }

    /// The batches that it was trained on over and over, as a test: such a model is no result.
    pub(crate) fn overfit_batches(&self) -> Option<u64> {
        self.provenance.experiment.pointer("/train/overfit_batches")?.as_u64()
    }

    /// A manifest without metrics and golden samples; the digest comes when it is written.
    ///
    /// # Errors
    /// When the experiment cannot be told as JSON, or no model file can hold what is described, as [`Manifest::check`]
    /// says. So a run that describes its model before it trains learns of that in time.
    pub(crate) fn describe(description: Description) -> Result<Self> {
        let experiment = serde_json::to_value(description.experiment)
            .map_err(|error| Error::failed("the experiment cannot be written as JSON").caused_by(error))?;
        let provenance = Provenance {
            git_commit: super::git_commit(),
            experiment,
            data_fingerprint: description.fingerprint.to_owned(),
            run: printable(&description.run),
            seed: description.experiment.seed,
            device: description.device.to_owned(),
            parent: description.parent.as_deref().map(printable),
            ..Provenance::now()
        };
        let classes = description.classes.to_vec();
        let manifest =
            Self::new(description.experiment.model.clone(), description.preprocess.clone(), classes, provenance);
        manifest.check()?;
        Ok(manifest)
    }

    /// A manifest for weights that were trained elsewhere; `source` names them.
    pub(crate) fn imported(model: ModelConfig, preprocess: Preprocess, classes: Vec<String>, source: &str) -> Self {
        Self::new(model, preprocess, classes, Provenance { parent: Some(printable(source)), ..Provenance::now() })
    }

    /// A manifest for an ensemble of the networks `model`, of which `like` is one: with its images, classes and golden samples,
    /// whose logits are still its own. `parents` names them all.
    pub(crate) fn ensemble(model: Composition, like: &Self, members: Vec<MemberProvenance>, parents: &str) -> Self {
        let own = &like.provenance;
        let provenance = Provenance {
            git_commit: super::git_commit(),
            experiment: own.experiment.clone(),
            data_fingerprint: own.data_fingerprint.clone(),
            seed: own.seed,
            device: own.device.clone(),
            parent: Some(printable(parents)),
            members,
            ..Provenance::now()
        };
        let manifest = Self::new(model, like.preprocess.clone(), like.classes.clone(), provenance);
        Self { golden: like.golden.clone(), ..manifest }
    }

    /// The same model for other views, with nothing measured on tests and golden samples whose logits are still the old ones.
    #[must_use]
    pub(crate) fn for_views(&self, views: Option<TestTimeAugmentation>) -> Self {
        let Provenance { kiln_version, burn_version, created, .. } = Provenance::now();
        let mut manifest =
            Self { test_time_augmentation: views, calibration: None, out_of_distribution: None, ..self.clone() };
        manifest.schema_version = SCHEMA_VERSION;
        manifest.provenance = Provenance { kiln_version, burn_version, created, ..manifest.provenance };
        manifest.metrics.retain(|name, _| !name.starts_with("test_"));
        manifest
    }

    fn new(
        model: impl Into<Composition>,
        preprocess: Preprocess,
        classes: Vec<String>,
        provenance: Provenance,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            model: model.into(),
            preprocess,
            test_time_augmentation: None,
            classes,
            metrics: Map::new(),
            calibration: None,
            out_of_distribution: None,
            provenance,
            dtype: Dtype::F32,
            weights_sha256: String::new(),
            golden: Vec::new(),
        }
    }

    /// The data that the model was trained on, as its experiment has them. The seed that belongs to them is the
    /// provenance's.
    ///
    /// # Errors
    /// A usage error when the manifest does not tell them, or tells of some that no config may ask for.
    pub(crate) fn training_data(&self) -> Result<DataConfig> {
        let unusable = || {
            Error::usage("the model file does not say what data it was trained on")
                .tip("name the data with --data CONFIG")
        };
        let mut data = self.provenance.experiment.get("data").cloned().ok_or_else(unusable)?;
        // What distorted the images is no part of them, and earlier versions said it in another form.
        data.as_object_mut().map(|data| data.remove("augment"));
        let data = serde_json::from_value::<DataConfig>(data).map_err(|error| unusable().caused_by(error))?;
        let mut problems = Problems::default();
        problems.within("data", |problems| data.check(problems));
        match problems.into_vec().first() {
            None => Ok(data),
            Some(problem) => Err(unusable().caused_by(format!("`{}`: {}", problem.key, problem.message))),
        }
    }

    /// The pixels of all golden samples.
    ///
    /// # Errors
    /// A usage error when one is not what the preprocessing takes.
    pub fn golden_images(&self) -> Result<Vec<Vec<u8>>> {
        let size = self.preprocess.shape.len();
        let decode = |(index, sample): (usize, &GoldenSample)| match hex::decode(&sample.pixels) {
            Ok(pixels) if pixels.len() == size && sample.logits.len() == self.classes.len() => Ok(pixels),
            _ => Err(Error::usage(format!(
                "golden sample {} must hold {size} pixels and {} logits",
                index + 1,
                self.classes.len()
            ))),
        };
        self.golden.iter().enumerate().map(decode).collect()
    }

    pub(super) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::failed("the manifest cannot be written as JSON").caused_by(error))
    }

    /// Reads a manifest and checks that it can be used.
    pub(super) fn from_json(text: &str) -> Result<Self> {
        let unusable = |error: serde_json::Error| Error::usage("the manifest is not readable").caused_by(error);
        check_size(text)?;
        let value = serde_json::from_str::<Value>(text).map_err(unusable)?;
        let version = value.get("schema_version").and_then(Value::as_u64);
        if !version.is_some_and(|version| (1..=SCHEMA_VERSION).contains(&version)) {
            let found = value.get("schema_version").map_or("none".to_owned(), Value::to_string);
            let found = shown(&found);
            let error =
                Error::usage(format!("the manifest's schema version must be 1 to {SCHEMA_VERSION}, got {found}"));
            let made_by = value.pointer("/provenance/kiln_version").and_then(Value::as_str).unwrap_or("a newer one");
            return Err(match version {
                Some(newer) if newer > SCHEMA_VERSION => error.tip(format!(
                    "it was written by kiln {}, this is {}: update kiln",
                    shown(made_by),
                    env!("CARGO_PKG_VERSION")
                )),
                _ => error.tip("export the model again from its run"),
            });
        }
        let manifest = serde_json::from_str::<Self>(text).map_err(unusable)?;
        // A key that this version does not know could change what the network computes.
        for (part, known) in [("model", json!(manifest.model)), ("preprocess", json!(manifest.preprocess))] {
            if let Some(key) = unknown_key(&value[part], &known) {
                let key = shown(key);
                return Err(Error::usage(format!(
                    "the manifest's `{part}` holds a key that this kiln does not know: `{key}`"
                )));
            }
        }
        manifest.check()?;
        Ok(manifest)
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
        check_values(weights)?;
        self.model.load(&self.preprocess, classes, weights, &Device::flex())?;
        let digest = weights.sha256();
        if digest != self.weights_sha256 {
            return Err(Error::usage(format!(
                "the weights are damaged: their SHA-256 must be {}, got {digest}",
                self.weights_sha256
            ))
            .tip(COPY_AGAIN));
        }
        Ok(())
    }
}

/// A key of `found`, at any depth, that `known` does not have at the same place.
fn unknown_key<'a>(found: &'a Value, known: &Value) -> Option<&'a str> {
    match (found, known) {
        (Value::Object(found), Value::Object(known)) => found.iter().find_map(|(key, found)| match known.get(key) {
            None => Some(key.as_str()),
            Some(known) => unknown_key(found, known),
        }),
        (Value::Array(found), Value::Array(known)) => {
            found.iter().zip(known).find_map(|(found, known)| unknown_key(found, known))
        }
        _ => None,
    }
}
