//! A finished model measured on labelled images, as plain data. Nothing here prints, and nothing here sees a tensor.

mod coverage;
mod ensemble;
mod import;
mod outsiders;
mod predictions;
mod suspects;
mod trust;

use serde::{Deserialize, Serialize};

pub use coverage::Coverage;
pub use ensemble::{Combined, MemberResult, ensemble};
pub use import::import;
pub use outsiders::Outsiders;
pub use predictions::Predictions;
pub(crate) use suspects::{SecondLook, Suspect, known_label_errors, suspects};
pub(crate) use trust::measure_trust;

use crate::artifact::Manifest;
use crate::data::{self, Dataset, ImageSet};
use crate::logits::{argmax, log_sum_exp_at};
use crate::predict::Predictor;
use crate::{Error, Result};

/// The data that a model was trained on, opened anew.
///
/// # Errors
/// When the model file does not tell them, they cannot be read, or are no longer what they were: an accuracy measured on
/// those would pass for the model's own.
pub fn training_data(manifest: &Manifest) -> Result<Dataset> {
    let provenance = &manifest.provenance;
    let dataset = data::open(&manifest.training_data()?, provenance.seed)?;
    let expected = &provenance.data_fingerprint;
    if expected.is_empty() || dataset.has_fingerprint(expected) {
        return Ok(dataset);
    }
    Err(Error::usage("the data is not what the model was trained on")
        .caused_by(format!("its SHA-256 was {expected}, now it is {}", dataset.fingerprint)))
}

/// Everything measured in one pass over a set of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images measured on.
    pub images: usize,
    /// Images classified correctly: the highest logit is at the label.
    pub correct: usize,
    /// Their share: top-1 accuracy.
    pub accuracy: f64,
    /// The 95 % Wilson score interval of the accuracy (Wilson, 1927): what another sample of as many images would
    /// plausibly give.
    pub accuracy_interval: [f64; 2],
    /// The mean of the classes' recalls: each class counts the same, however many images it has. Of classes with images.
    #[serde(default)]
    pub balanced_accuracy: f64,
    /// The mean of the classes' F1, of classes with images.
    #[serde(default)]
    pub macro_f1: f64,
    /// Mean cross-entropy per image, in nats.
    pub loss: f64,
    /// Expected calibration error over 15 equally wide bins (Guo et al., 2017): how far confidence is from accuracy.
    pub calibration_error: f64,
    /// Both without the model's temperature; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncalibrated: Option<Uncalibrated>,
    /// Images that the model takes for unlike those of training; absent where it has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_distribution: Option<usize>,
    /// How accurate the surest answers are, from all of them to nine in ten.
    #[serde(default)]
    pub coverage: Vec<Coverage>,
    /// One row per class.
    pub classes: Vec<ClassMetrics>,
    /// `confusion[label][prediction]` counts images.
    pub confusion: Vec<Vec<usize>>,
    /// The mistakes, the most confident first.
    pub mistakes: Vec<Mistake>,
}

/// What is measured of probabilities, at a temperature of 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uncalibrated {
    /// Mean cross-entropy per image, in nats.
    pub loss: f64,
    /// Expected calibration error.
    pub calibration_error: f64,
}

/// How one class fared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class.
    pub class: String,
    /// Images with this label.
    pub images: usize,
    /// Of those, the share classified correctly.
    pub recall: f64,
    /// Of the images predicted to be of this class, the share that are.
    pub precision: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
}

/// One image that was classified wrongly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Its place in the set.
    pub index: usize,
    /// What it is labelled.
    pub label: String,
    /// What the model took it for.
    pub prediction: String,
    /// With what probability.
    pub confidence: f64,
}

/// Measures `predictor` on `set`; `progress` is told the images done after every batch.
///
/// # Errors
/// When the set's size or classes are not the model's.
pub fn evaluate(predictor: &Predictor, set: &ImageSet, progress: impl FnMut(usize)) -> Result<Evaluation> {
    Ok(Predictions::of(predictor, set, progress)?.evaluation())
}

impl Evaluation {
    /// Whether a class has more than twice the images of another, so that accuracy says little of the smaller one.
    pub fn is_unequal(&self) -> bool {
        let counts = || self.classes.iter().map(|class| class.images).filter(|images| *images > 0);
        counts().max() > counts().min().map(|least| 2 * least)
    }

    /// Measures from `logits`, `[images, classes]` row by row, and the true `labels`, `[images]`.
    pub fn from_logits(logits: &[f32], labels: &[u16], classes: &[String]) -> Self {
        Self::new(logits, labels, classes, 1.0)
    }

    /// The same with probabilities at `temperature`.
    pub(crate) fn new(logits: &[f32], labels: &[u16], classes: &[String], temperature: f64) -> Self {
        let count = classes.len();
        let mut confusion = vec![vec![0; count]; count];
        let (loss, reliability) = reliability(logits, labels, count, temperature);
        let uncalibrated = (temperature != 1.0).then(|| {
            let (loss, reliability) = self::reliability(logits, labels, count, 1.0);
            Uncalibrated { loss, calibration_error: reliability.error() }
        });
        let (mut correct, mut mistakes, mut answers) = (0, Vec::new(), Vec::with_capacity(labels.len()));
        for (index, (row, &label)) in logits.chunks_exact(count).zip(labels).enumerate() {
            let label = usize::from(label);
            let (predicted, confidence) = answer(row, temperature);
            confusion[label][predicted] += 1;
            answers.push((confidence, predicted == label));
            if predicted == label {
                correct += 1;
            } else {
                let (label, prediction) = (classes[label].clone(), classes[predicted].clone());
                mistakes.push(Mistake { index, label, prediction, confidence });
            }
        }
        mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let images = labels.len();
        let classes = class_metrics(&confusion, classes);
        Self {
            images,
            correct,
            accuracy: correct as f64 / images as f64,
            accuracy_interval: wilson(correct, images),
            balanced_accuracy: mean_of_classes(&classes, |class| class.recall),
            macro_f1: mean_of_classes(&classes, |class| class.f1),
            loss,
            calibration_error: reliability.error(),
            uncalibrated,
            out_of_distribution: None,
            coverage: Coverage::table(&answers),
            classes,
            confusion,
            mistakes,
        }
    }
}

/// The likeliest class and its probability.
fn answer(row: &[f32], temperature: f64) -> (usize, f64) {
    let predicted = argmax(row);
    (predicted, (f64::from(row[predicted]) / temperature - log_sum_exp_at(row, temperature)).exp())
}

/// The mean cross-entropy, and how confidence and accuracy agree.
fn reliability(logits: &[f32], labels: &[u16], classes: usize, temperature: f64) -> (f64, Reliability) {
    let mut reliability = Reliability::default();
    let mut loss = 0.0;
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let label = usize::from(label);
        let (predicted, confidence) = answer(row, temperature);
        loss += log_sum_exp_at(row, temperature) - f64::from(row[label]) / temperature;
        reliability.add(confidence, predicted == label);
    }
    (loss / labels.len() as f64, reliability)
}

/// The mean of a figure over the classes with images.
fn mean_of_classes(classes: &[ClassMetrics], of: impl Fn(&ClassMetrics) -> f64) -> f64 {
    let tested: Vec<f64> = classes.iter().filter(|class| class.images > 0).map(of).collect();
    tested.iter().sum::<f64>() / tested.len().max(1) as f64
}

fn class_metrics(confusion: &[Vec<usize>], classes: &[String]) -> Vec<ClassMetrics> {
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let images = confusion[class].iter().sum();
            let predicted = confusion.iter().map(|row| row[class]).sum();
            let hits = confusion[class][class];
            ClassMetrics {
                class: name.clone(),
                images,
                recall: ratio(hits, images),
                precision: ratio(hits, predicted),
                f1: ratio(2 * hits, images + predicted),
            }
        })
        .collect()
}

/// The 95 % Wilson score interval of `correct` successes in `images` trials.
pub(crate) fn wilson(correct: usize, images: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if images == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (images as f64, correct as f64 / images as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

const BINS: usize = 15;

/// The images whose answer had about the same confidence: confidence is the probability of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// The bin holds confidences from here, and below `to` (1 is in the last bin).
    pub from: f64,
    /// The end of the bin.
    pub to: f64,
    /// Images in it.
    pub images: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// The share of them that was answered correctly; 0 without images.
    pub accuracy: f64,
}

#[derive(Default)]
struct Reliability {
    bins: [(usize, f64, usize); BINS],
}

impl Reliability {
    fn add(&mut self, confidence: f64, correct: bool) {
        let bin = &mut self.bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += confidence;
        bin.2 += usize::from(correct);
    }

    fn bins(&self) -> Vec<CalibrationBin> {
        let edge = |bin: usize| bin as f64 / BINS as f64;
        let bin = |(place, &(images, confidence, correct)): (usize, &(usize, f64, usize))| CalibrationBin {
            from: edge(place),
            to: edge(place + 1),
            images,
            confidence: confidence / images.max(1) as f64,
            accuracy: correct as f64 / images.max(1) as f64,
        };
        self.bins.iter().enumerate().map(bin).collect()
    }

    fn error(&self) -> f64 {
        let total: usize = self.bins.iter().map(|bin| bin.0).sum();
        self.bins.iter().map(|(_, confidence, correct)| (confidence - *correct as f64).abs()).sum::<f64>()
            / total.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_small_case_by_hand() {
        let classes = ["a".to_owned(), "b".to_owned()];
        let logits = [2.0, 0.0, 0.0, 1.0, 3.0, 0.0];
        let evaluation = Evaluation::from_logits(&logits, &[0, 1, 1], &classes);
        assert_eq!((evaluation.images, evaluation.correct), (3, 2));
        assert_eq!(evaluation.confusion, [[1, 0], [1, 1]]);
        let softplus = |x: f64| x.exp().ln_1p();
        let expected = (softplus(-2.0) + softplus(-1.0) + softplus(3.0)) / 3.0;
        assert!((evaluation.loss - expected).abs() < 1e-6);
        assert_eq!(evaluation.classes[0].recall, 1.0);
        assert_eq!(evaluation.classes[0].precision, 0.5);
        assert_eq!(evaluation.classes[1].recall, 0.5);
        assert_eq!(evaluation.balanced_accuracy, 0.75);
        // F1 is 2/3 for each: one hit, one image or answer too many.
        assert!((evaluation.macro_f1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((evaluation.mistakes.len(), evaluation.mistakes[0].index), (1, 2));
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // 9,900 of 10,000: 0.98785..0.99177 (Brown, Cai and DasGupta's formula, by hand).
        let [low, high] = wilson(9900, 10_000);
        assert!((low - 0.987_859).abs() < 1e-5 && (high - 0.991_770).abs() < 1e-5, "{low} {high}");
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        assert!(wilson(10, 10)[1] <= 1.0);
    }

    #[test]
    fn certain_and_always_right_is_perfectly_calibrated() {
        let classes = ["a".to_owned(), "b".to_owned()];
        let evaluation = Evaluation::from_logits(&[100.0, 0.0, 0.0, 100.0], &[0, 1], &classes);
        assert!(evaluation.calibration_error < 1e-9);
        assert!(evaluation.loss < 1e-9);
    }
}
