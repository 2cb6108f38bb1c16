//! What a model answered for every image of a set: what an evaluation is counted from, and what can be joined with
//! anything else.

use std::sync::Arc;

use serde::Serialize;

use super::{CalibrationBin, Evaluation, Reliability};
use crate::artifact::OutOfDistribution;
use crate::data::ImageSet;
use crate::logits::{argmax, log_sum_exp_at, probabilities_at};
use crate::predict::Predictor;
use crate::{Error, Result};

/// Images that go through the network at a time.
const BATCH: usize = 500;

/// The answers of a model for a set of labelled images.
#[derive(Clone, Debug)]
pub struct Predictions {
    classes: Arc<[String]>,
    labels: Arc<[u16]>,
    /// `[images, classes]`, row by row.
    logits: Vec<f32>,
    /// What the logits are divided by before the softmax.
    temperature: f64,
    /// Below what an image is unlike those of training.
    limit: Option<OutOfDistribution>,
}

/// One answer as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    index: usize,
    label: &'a str,
    answer: &'a str,
    probabilities: Vec<f64>,
    loss: f64,
}

impl Predictions {
    /// Asks `predictor` about every image of `set`; `progress` is told the images done after every batch.
    ///
    /// # Errors
    /// When the set's size or classes are not the model's, it is empty, or the device fails.
    pub fn of(predictor: &Predictor, set: &ImageSet, mut progress: impl FnMut(usize)) -> Result<Self> {
        let manifest = predictor.manifest();
        let expected = manifest.preprocess.shape;
        if set.shape != expected {
            return Err(Error::usage(format!(
                "the model takes images of {expected} (channels x height x width), the data has {}",
                set.shape
            )));
        }
        if set.classes[..] != manifest.classes[..] {
            return Err(Error::usage(format!(
                "the model knows the classes {}, the data has {}",
                manifest.classes.join(", "),
                set.classes.join(", ")
            )));
        }
        if set.is_empty() {
            return Err(Error::usage("there is no image to measure on"));
        }
        let size = set.shape.len();
        let mut logits = Vec::with_capacity(set.len() * set.classes.len());
        for start in (0..set.len()).step_by(BATCH) {
            let end = (start + BATCH).min(set.len());
            logits.extend(predictor.logits(&set.pixels[start * size..end * size], end - start)?);
            progress(end);
        }
        let temperature = manifest.temperature();
        Ok(Self {
            classes: set.classes.clone(),
            labels: set.labels.clone(),
            logits,
            temperature,
            limit: manifest.out_of_distribution,
        })
    }

    /// The answers that `logits`, `[images, classes]` row by row, are for images with these `labels`, `[images]`.
    #[cfg(test)]
    pub(crate) fn from_logits(logits: &[f32], labels: &[u16], classes: &[String]) -> Self {
        let logits = logits.to_vec();
        Self { classes: classes.to_vec().into(), labels: labels.to_vec().into(), logits, temperature: 1.0, limit: None }
    }

    /// The same answers, with probabilities at another temperature.
    #[must_use]
    pub(crate) fn at(self, temperature: f64) -> Self {
        Self { temperature, ..self }
    }

    /// All logits, `[images, classes]`, row by row.
    pub(super) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The labels.
    pub(super) fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The classes by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    fn row(&self, index: usize) -> &[f32] {
        let count = self.classes.len();
        &self.logits[index * count..(index + 1) * count]
    }

    /// The label of image `index`.
    pub fn label(&self, index: usize) -> usize {
        usize::from(self.labels[index])
    }

    /// The class that the model found most likely for image `index`.
    pub fn answer(&self, index: usize) -> usize {
        argmax(self.row(index))
    }

    /// Whether the model's answer for image `index` is its label.
    pub fn is_right(&self, index: usize) -> bool {
        self.answer(index) == self.label(index)
    }

    /// One probability per class for image `index`, adding up to 1.
    pub fn probabilities(&self, index: usize) -> Vec<f64> {
        probabilities_at(self.row(index), self.temperature)
    }

    /// The cross-entropy of image `index`, in nats.
    pub fn loss(&self, index: usize) -> f64 {
        let row = self.row(index);
        log_sum_exp_at(row, self.temperature) - f64::from(row[self.label(index)]) / self.temperature
    }

    /// Everything that is counted from the answers.
    pub fn evaluation(&self) -> Evaluation {
        let warned = |limit: OutOfDistribution| (0..self.len()).filter(|index| limit.warns(self.row(*index))).count();
        Evaluation {
            out_of_distribution: self.limit.map(warned),
            ..Evaluation::new(&self.logits, &self.labels, &self.classes, self.temperature)
        }
    }

    /// The images that were answered wrongly, the highest loss first.
    pub fn worst(&self) -> Vec<usize> {
        let mut wrong: Vec<(usize, f64)> =
            (0..self.len()).filter(|&index| !self.is_right(index)).map(|index| (index, self.loss(index))).collect();
        wrong.sort_by(|a, b| b.1.total_cmp(&a.1));
        wrong.into_iter().map(|(index, _)| index).collect()
    }

    /// Confidence and accuracy in 15 equally wide bins of confidence.
    pub fn calibration(&self) -> Vec<CalibrationBin> {
        let mut reliability = Reliability::default();
        for index in 0..self.len() {
            let row = self.row(index);
            let answer = argmax(row);
            let log_sum = log_sum_exp_at(row, self.temperature);
            let confidence = (f64::from(row[answer]) / self.temperature - log_sum).exp();
            reliability.add(confidence, answer == self.label(index));
        }
        reliability.bins()
    }

    /// One JSON object per image and line: `index`, `label`, `answer`, `probabilities` by label, `loss` in nats.
    ///
    /// # Errors
    /// When a number cannot be encoded.
    pub fn to_jsonl(&self) -> Result<String> {
        let mut text = String::new();
        for index in 0..self.len() {
            let line = Line {
                index,
                label: &self.classes[self.label(index)],
                answer: &self.classes[self.answer(index)],
                probabilities: self.probabilities(index),
                loss: self.loss(index),
            };
            text += &serde_json::to_string(&line)
                .map_err(|error| Error::failed("cannot encode the predictions").caused_by(error))?;
            text.push('\n');
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions() -> Predictions {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        Predictions::from_logits(&[2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 1.0, 0.0], &[0, 1, 1, 1], &classes)
    }

    #[test]
    fn the_worst_mistakes_have_the_highest_loss_and_no_right_answer_is_among_them() {
        assert_eq!(predictions().worst(), [2, 3]);
    }

    #[test]
    fn every_line_of_the_saved_predictions_says_what_was_asked_and_answered() {
        let text = predictions().to_jsonl().unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            (&lines[2]["index"], &lines[2]["label"], &lines[2]["answer"]),
            (&2.into(), &"dog".into(), &"cat".into())
        );
        let sum: f64 = lines[2]["probabilities"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!((lines[2]["loss"].as_f64().unwrap() - 3.0_f64.exp().ln_1p()).abs() < 1e-6);
    }

    #[test]
    fn the_bins_hold_every_image_and_give_the_calibration_error() {
        let predictions = predictions();
        let bins = predictions.calibration();
        assert_eq!((bins.len(), bins.iter().map(|bin| bin.images).sum::<usize>()), (15, 4));
        let error: f64 =
            bins.iter().map(|bin| (bin.confidence - bin.accuracy).abs() * bin.images as f64).sum::<f64>() / 4.0;
        assert!((error - predictions.evaluation().calibration_error).abs() < 1e-12);
    }
}
