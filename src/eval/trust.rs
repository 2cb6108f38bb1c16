//! How far a model's answers can be trusted, measured on validation images when its file is made.

use super::{Predictions, reliability};
use crate::Result;
use crate::artifact::{Calibration, Manifest, OutOfDistribution, Score, TEMPERATURES};
use crate::data::ImageSet;
use crate::logits::log_sum_exp_at;
use crate::predict::Predictor;

/// The fewest validation images that anything is fitted on: with fewer, chance has the say.
const LEAST_IMAGES: usize = 100;

/// The share of validation images that the limit lets pass.
const PASSED: f64 = 0.99;

/// Newton's steps at most; halving the interval alone would take 40 to the last bit of an `f32`.
const STEPS: usize = 60;

/// Fits the temperature and the limit of the model that `predictor` is on `validation` and puts them into `manifest`. Gives what
/// could not be fitted, and why, in words.
///
/// # Errors
/// When the images have another size, or the device fails.
pub(crate) fn measure_trust(
    manifest: &mut Manifest,
    predictor: &Predictor,
    validation: &ImageSet,
) -> Result<Option<String>> {
    let images = validation.len();
    if images < LEAST_IMAGES {
        let found = match images {
            0 => "there are no validation images".to_owned(),
            _ => format!("it takes at least {LEAST_IMAGES} validation images, there are {images}"),
        };
        return Ok(Some(format!("{found}; pictures unlike those of training are not told either")));
    }
    let predictions = Predictions::of(predictor, validation, |_| ())?;
    manifest.out_of_distribution = Some(limit(Score::MaxProbability, &predictions));
    Ok(match fit_temperature(&predictions) {
        Ok(calibration) => {
            manifest.calibration = Some(calibration);
            None
        }
        Err(why) => Some(why),
    })
}

/// The score that all but one in a hundred of the images have at least.
fn limit(score: Score, predictions: &Predictions) -> OutOfDistribution {
    let classes = predictions.classes().len();
    let mut scores = predictions.logits().chunks_exact(classes).map(|row| score.of(row)).collect::<Vec<_>>();
    scores.sort_by(f64::total_cmp);
    let below = ((1.0 - PASSED) * scores.len() as f64).floor() as usize;
    // Downwards, so that the image it was taken from passes.
    let threshold = (scores.get(below).copied().unwrap_or_default() as f32).next_down();
    let passed = scores.iter().filter(|score| **score >= f64::from(threshold)).count();
    OutOfDistribution {
        score,
        threshold,
        images: scores.len() as u64,
        passed: passed as f64 / scores.len().max(1) as f64,
    }
}

/// The temperature at which the mean cross-entropy of `predictions` is lowest.
///
/// # Errors
/// Why none can be fitted, in words.
fn fit_temperature(predictions: &Predictions) -> Result<Calibration, String> {
    let images = predictions.len();
    let temperature = lowest(predictions);
    // At an end of the range there is no lowest point within.
    if temperature <= *TEMPERATURES.start() {
        return Err(format!(
            "the {images} validation images are all answered rightly: they do not show how sure to be"
        ));
    }
    if temperature >= *TEMPERATURES.end() {
        return Err(format!("the answers for the {images} validation images are no better than chance"));
    }
    let classes = predictions.classes().len();
    let at = |temperature: f64| {
        let (loss, reliability) = reliability(predictions.logits(), predictions.labels(), classes, temperature);
        (loss, reliability.error())
    };
    let (before, after) = (at(1.0), at(f64::from(temperature)));
    Ok(Calibration {
        temperature,
        images: images as u64,
        loss: [before.0, after.0],
        calibration_error: [before.1, after.1],
    })
}

/// The cross-entropy is convex in `1 / temperature`, so its slope has one zero, which Newton's method finds; a step that leaves
/// the interval which is known to hold it is replaced by half of that interval.
fn lowest(predictions: &Predictions) -> f32 {
    let ends = [*TEMPERATURES.end(), *TEMPERATURES.start()].map(|temperature| 1.0 / f64::from(temperature));
    let [mut low, mut high] = ends;
    if slope(predictions, high).0 <= 0.0 {
        return *TEMPERATURES.start();
    }
    if slope(predictions, low).0 >= 0.0 {
        return *TEMPERATURES.end();
    }
    let mut inverse = 1.0;
    for _ in 0..STEPS {
        let (first, second) = slope(predictions, inverse);
        if first > 0.0 {
            high = inverse
        } else {
            low = inverse
        }
        let newton = inverse - first / second;
        let next = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        if (next - inverse).abs() <= 1e-10 * inverse {
            break;
        }
        inverse = next;
    }
    (1.0 / inverse) as f32
}

/// The first and second derivative of the mean cross-entropy by `inverse`, which multiplies the logits: mean and variance of
/// the logits under the softmax.
fn slope(predictions: &Predictions, inverse: f64) -> (f64, f64) {
    let classes = predictions.classes().len();
    let (mut first, mut second) = (0.0, 0.0);
    for (row, &label) in predictions.logits().chunks_exact(classes).zip(predictions.labels()) {
        let log_sum = log_sum_exp_at(row, 1.0 / inverse);
        let (mut mean, mut square) = (0.0, 0.0);
        for &logit in row {
            let logit = f64::from(logit);
            let probability = (logit * inverse - log_sum).exp();
            mean += probability * logit;
            square += probability * logit * logit;
        }
        first += mean - f64::from(row[usize::from(label)]);
        second += square - mean * mean;
    }
    let images = predictions.len().max(1) as f64;
    (first / images, second / images)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers whose logits are `by` times those that would be calibrated: of every hundred with probability p, about 100 p are
    /// right.
    fn overconfident(by: f32) -> Predictions {
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for step in 1..=40_usize {
            let probability = 0.5 + step as f64 / 100.0;
            let logit = (probability / (1.0 - probability)).ln() as f32;
            for image in 0..100 {
                logits.extend([by * logit, 0.0]);
                labels.push(u16::from(image >= (100.0 * probability).round() as usize));
            }
        }
        Predictions::from_logits(&logits, &labels, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn the_temperature_undoes_what_the_logits_were_multiplied_by_and_no_answer_changes() {
        for by in [0.5, 1.0, 3.0] {
            let predictions = overconfident(by);
            let calibration = fit_temperature(&predictions).unwrap();
            assert!((calibration.temperature / by - 1.0).abs() < 1e-3, "{by}: {calibration:?}");
            assert!(calibration.calibration_error[1] < 0.005, "{calibration:?}");
            assert!(calibration.loss[1] <= calibration.loss[0]);
            let before = (0..predictions.len()).map(|index| predictions.answer(index)).collect::<Vec<_>>();
            let after = predictions.at(f64::from(calibration.temperature));
            assert!((0..after.len()).all(|index| after.answer(index) == before[index]));
            let evaluation = after.evaluation();
            assert_eq!(evaluation.calibration_error, calibration.calibration_error[1]);
            assert_eq!(
                evaluation.uncalibrated.map(|before| before.loss),
                Some(calibration.loss[0]).filter(|_| calibration.temperature != 1.0)
            );
        }
    }

    #[test]
    fn images_that_do_not_show_how_sure_to_be_give_no_temperature() {
        let classes = ["a".to_owned(), "b".to_owned()];
        let right = Predictions::from_logits(&[9.0, 0.0].repeat(200), &[0].repeat(200), &classes);
        assert!(fit_temperature(&right).unwrap_err().contains("all answered rightly"));
        let wrong = Predictions::from_logits(&[9.0, 0.0].repeat(200), &[1].repeat(200), &classes);
        assert!(fit_temperature(&wrong).unwrap_err().contains("no better than chance"));
    }

    #[test]
    fn the_limit_lets_all_but_one_in_a_hundred_pass() {
        let logits = (0..1000).flat_map(|image| [image as f32 / 10.0, 0.0]).collect::<Vec<_>>();
        let predictions = Predictions::from_logits(&logits, &[0].repeat(1000), &["a".to_owned(), "b".to_owned()]);
        let limit = limit(Score::MaxProbability, &predictions);
        assert_eq!((limit.images, limit.passed), (1000, 0.99));
        assert!(limit.warns(&logits[18..20]) && !limit.warns(&logits[20..22]));
    }
}
