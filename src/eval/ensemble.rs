//! A model made of model files, an ensemble or one model for other views of an image, measured on the images that its members
//! were trained for, where all of them agree on those.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Evaluation, Predictions, measure_trust, training_data};
use crate::artifact::{self, Dtype, Format, Manifest};
use crate::check::{Check as _, Problems};
use crate::data::{self, AugmentConfig, Dataset, TestTimeAugmentation, TestTimeAugmentationConfig, differ_in_a_mirror};
use crate::models::Composition;
use crate::predict::{self, Part, Predictor, common_views};
use crate::{Error, Result};

/// What is said of mirrored digits.
const MIRRORED: &str = "the classes are named like things that a mirror changes: digits, letters, left or right; leave --flip out \
                        unless an image and its mirror image are of the same class";

/// Why nothing is fitted where members held out different images.
const NOT_THE_SAME: &str = "its probabilities are not calibrated: each member held out other validation images, so there is none \
                            that no member learned from; train them with the same data.seed to have it calibrated";

/// Which views of an image a new model answers for.
#[derive(Clone, Copy, Debug)]
pub enum AnswersFor {
    /// Those that its members answer for.
    TheSame,
    /// These, whatever its members answer for.
    Views(TestTimeAugmentationConfig),
}

/// A model that was written.
#[derive(Debug, Serialize)]
pub struct Combined {
    /// The file.
    pub model: PathBuf,
    /// [`Weights::sha256`](crate::models::Weights::sha256) of all members' weights.
    pub weights_sha256: String,
    /// What each member says of itself.
    pub members: Vec<MemberResult>,
    /// The views of an image whose mean probability is its answer, where it is not the image alone.
    pub test_time_augmentation: Option<TestTimeAugmentation>,
    /// It on the test images of its members; absent when they are not there.
    #[serde(skip)]
    pub evaluation: Option<Evaluation>,
    /// Its accuracy on them.
    pub test_accuracy: Option<f64>,
    /// What the user should know: what could not be measured, and why.
    pub notices: Vec<String>,
}

/// One member, as it was measured when it was trained.
#[derive(Debug, Serialize)]
pub struct MemberResult {
    /// The name of its run.
    pub run: String,
    /// Its seed.
    pub seed: u64,
    /// Its accuracy on the test images, if it was measured.
    pub test_accuracy: Option<f64>,
}

/// Makes one model file, `out`, of the model files `models`, which answers for the views that `answers_for` says, replacing what
/// is there, and verifies it. Of a single model it makes the same for other views. `progress` is told how many images are
/// measured, and of how many.
///
/// # Errors
/// When the models do not belong together, one cannot be read, or the file cannot be written.
pub fn ensemble(
    models: &[PathBuf],
    answers_for: AnswersFor,
    out: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Combined> {
    let parts = models.iter().map(|model| Part::read(model)).collect::<Result<Vec<_>>>()?;
    let members = parts.iter().map(|part| member(&part.manifest)).collect::<Vec<_>>();
    let dataset = common_data(&parts);
    let views = match answers_for {
        AnswersFor::TheSame => common_views(&parts)?,
        AnswersFor::Views(config) => resolve(&config, &parts, dataset.as_ref())?,
    };
    let (mut manifest, weights) = predict::ensemble(&parts, views)?;
    let mut notices = Vec::new();
    if matches!(answers_for, AnswersFor::Views(config) if config.flip) && differ_in_a_mirror(&manifest.classes) {
        notices.push(MIRRORED.into());
    }
    let predictor = Predictor::new(manifest.clone(), &weights, &Device::flex())?;
    let mut evaluation = None;
    match dataset {
        Ok(dataset) => {
            if held_out_the_same(&parts, &dataset)? {
                let problem = measure_trust(&mut manifest, &predictor, &dataset.validation)?;
                notices.extend(problem.map(|why| format!("its probabilities are not calibrated: {why}")));
            } else {
                notices.push(NOT_THE_SAME.into());
            }
            let total = dataset.test.len();
            let predictions = Predictions::of(&predictor, &dataset.test, |done| progress(done, total))?;
            let measured = predictions.at(manifest.temperature()).evaluation();
            manifest.metrics.insert("test_accuracy".into(), json!(measured.accuracy));
            manifest.metrics.insert("test_loss".into(), json!(measured.loss));
            manifest.metrics.insert("test_correct".into(), json!(measured.correct));
            manifest.metrics.insert("test_total".into(), json!(measured.images));
            evaluation = Some(measured);
        }
        Err(error) => {
            if parts.len() > 1 {
                // What cannot be measured now must not look like the data of one member later.
                manifest.provenance.experiment = Value::Null;
                manifest.provenance.data_fingerprint.clear();
            }
            notices.push(format!("it is neither calibrated nor measured: {}", error.line()));
        }
    }
    artifact::write(out, Format::Burnpack, Dtype::F32, &manifest, &weights)?;
    let (manifest, weights) = artifact::read(out)?;
    let verification = predict::verify(&manifest, &weights, &Device::flex())?;
    if verification.labels_agree != verification.samples {
        return Err(Error::failed("the written file does not compute what it was made to"));
    }
    Ok(Combined {
        model: out.to_owned(),
        weights_sha256: manifest.weights_sha256,
        members,
        test_time_augmentation: manifest.test_time_augmentation,
        test_accuracy: evaluation.as_ref().map(|evaluation| evaluation.accuracy),
        evaluation,
        notices,
    })
}

fn member(manifest: &Manifest) -> MemberResult {
    let provenance = &manifest.provenance;
    let test_accuracy = manifest.metrics.get("test_accuracy").and_then(Value::as_f64);
    MemberResult { run: provenance.run.clone(), seed: provenance.seed, test_accuracy }
}

/// The views that `config` asks for, with what fills them as it filled the images that the first of the members was trained on.
///
/// # Errors
/// A usage error when the views do not fit the images, or it takes images to know what fills them that are not there.
fn resolve(
    config: &TestTimeAugmentationConfig,
    parts: &[Part],
    dataset: Result<&Dataset, &Error>,
) -> Result<Option<TestTimeAugmentation>> {
    let Some(Part { manifest, .. }) = parts.first() else { return Ok(None) };
    let mut problems = Problems::default();
    config.check(&mut problems);
    config.check_for(manifest.preprocess.shape, &mut problems);
    if let Some(problem) = problems.into_vec().first() {
        let what = match problem.key.as_str() {
            "shift_pixels" => "shift",
            "shift_directions" => "number of directions",
            _ => "fill",
        };
        return Err(Error::usage(format!("the {what} {}", problem.message)));
    }
    if let Some(views) = config.resolve_alone(manifest.preprocess.shape.channels) {
        return Ok(views);
    }
    let dataset = dataset.map_err(|error| {
        Error::usage(format!("what fills the pixels that a shift leaves is not known: {}", error.line()))
            .tip("say it: --fill edge, --fill reflect, or a pixel value, --fill 0")
    })?;
    let augment = manifest.provenance.experiment.pointer("/data/augment").cloned().unwrap_or_default();
    let augment: Vec<AugmentConfig> = serde_json::from_value(augment).unwrap_or_default();
    Ok(config.resolve(&augment, &dataset.train))
}

/// The images that all members were trained for, if they are the same.
fn common_data(parts: &[Part]) -> Result<Dataset> {
    let Some((first, others)) = parts.split_first() else { return Err(Error::usage("there is no model")) };
    let fingerprint = |part: &Part| part.manifest.provenance.data_fingerprint.clone();
    let source = |part: &Part| part.manifest.training_data().map(|data| json!(data.source));
    let own = source(first)?;
    for other in others {
        if source(other)? != own || fingerprint(other) != fingerprint(first) {
            return Err(Error::usage("its members were trained on different data"));
        }
    }
    training_data(&first.manifest)
}

/// Whether the members held out the same images as `dataset`, the first one's: others were learned from by some of them.
///
/// # Errors
/// When the images of a member cannot be read.
fn held_out_the_same(parts: &[Part], dataset: &Dataset) -> Result<bool> {
    // Members of an ensemble that is there already may have held out others; one that is measured says that they did not.
    let measured = |part: &Part| part.manifest.out_of_distribution.is_some();
    if parts.iter().any(|part| matches!(part.manifest.model, Composition::Ensemble(_)) && !measured(part)) {
        return Ok(false);
    }
    let own = &dataset.validation;
    let mut known: Vec<(u64, Value)> = Vec::new();
    for part in parts {
        let (data, seed) = (part.manifest.training_data()?, part.manifest.provenance.seed);
        let division = (data.seed_within(seed), json!(data));
        if known.contains(&division) {
            continue;
        }
        if !known.is_empty() {
            let other = data::open(&data, seed)?.validation;
            if other.labels != own.labels || other.pixels != own.pixels {
                return Ok(false);
            }
        }
        known.push(division);
    }
    Ok(true)
}
