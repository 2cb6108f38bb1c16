//! What a finished run's own figures say went wrong: a run that learned nothing must not look like a success. Each finding
//! is one sentence with the number that it rests on and what to do.

use crate::Result;
use crate::data::ImageSet;
use crate::eval::Evaluation;
use crate::predict::{LayerOutput, Predictor};
use crate::run::EpochMetrics;

/// A training loss within this share of that of guessing is no learning.
const GUESSING: f64 = 0.02;

/// A loss so many times the lowest one, and so many nats above it, has diverged.
const DIVERGED: (f64, f64) = (2.0, 0.1);

/// So many points of accuracy between training and test images are worth a word.
const GAP: f64 = 0.1;

/// The fewest test images of a class of which none was right that are worth a word.
const FEWEST: usize = 5;

/// Epochs that a run must have for its course to be judged.
const COURSE: usize = 5;

/// Accuracy that is gained in the last fifth of a run when it ended too early.
const STILL_RISING: f64 = 0.01;

/// Images that are sent through the network to find units that never answer.
const PROBES: usize = 32;

/// A layer with this share of dead channels is worth a word.
const DEAD: f64 = 0.5;

/// Classes that are named before the rest is only counted.
const NAMED: usize = 5;

/// A finished run.
pub(super) struct Finished<'a> {
    pub(super) epochs: &'a [EpochMetrics],
    pub(super) best_epoch: usize,
    /// Whether there were validation images to choose the best epoch by.
    pub(super) is_validated: bool,
    /// Whether the run was ended by its own rules before its last epoch.
    pub(super) stopped_early: bool,
    pub(super) evaluation: &'a Evaluation,
}

impl Finished<'_> {
    /// What is wrong, the worst first.
    pub(super) fn findings(&self) -> Vec<String> {
        let nothing_learned = self.nothing_learned();
        let is_hopeless = nothing_learned.is_some();
        let rest = [self.diverged(), self.gap(), self.unanswered(), self.course()];
        // Who has learned nothing need not hear that he also fails on single classes.
        nothing_learned.into_iter().chain(rest.into_iter().flatten().filter(|_| !is_hopeless)).collect()
    }

    fn nothing_learned(&self) -> Option<String> {
        let evaluation = self.evaluation;
        let largest = evaluation.classes.iter().max_by_key(|class| class.images)?;
        let share = largest.images as f64 / evaluation.images.max(1) as f64;
        let guessing = (evaluation.classes.len() as f64).ln();
        let loss = self.epochs.last().map(|epoch| epoch.train_loss);
        let no_loss_gained = loss.is_some_and(|loss| loss >= guessing * (1.0 - GUESSING));
        if evaluation.accuracy_interval[0] > share && !no_loss_gained {
            return None;
        }
        let remedy = match loss {
            Some(loss) if loss < 0.5 * guessing => {
                "the training images were learned, so compare them with the test images: `kiln data CONFIG`"
            }
            _ => "lower optimizer.learning_rate by a factor of 10, and look at the images: `kiln data CONFIG`",
        };
        Some(format!(
            "the network has learned nothing that shows: {:.2} % of the test images are right, and always answering `{}` \
             gets {:.2} %{}; {remedy}",
            evaluation.accuracy * 100.0,
            largest.class,
            share * 100.0,
            loss.map_or_else(String::new, |loss| format!(
                "; the training loss ended at {loss:.3}, guessing has {guessing:.3}"
            )),
        ))
    }

    fn diverged(&self) -> Option<String> {
        let last = self.epochs.last()?;
        let lowest = self.epochs.iter().min_by(|a, b| a.train_loss.total_cmp(&b.train_loss))?;
        let (times, above) = DIVERGED;
        (last.train_loss > times * lowest.train_loss && last.train_loss > lowest.train_loss + above).then(|| {
            format!(
                "training diverged: the loss rose from {:.3} in epoch {} to {:.3} in epoch {}; lower \
                 optimizer.learning_rate",
                lowest.train_loss, lowest.epoch, last.train_loss, last.epoch
            )
        })
    }

    fn gap(&self) -> Option<String> {
        let kept = self.epochs.iter().find(|epoch| epoch.epoch == self.best_epoch)?;
        let held_out = kept.validation_accuracy.unwrap_or(self.evaluation.accuracy);
        let what = if kept.validation_accuracy.is_some() { "validation" } else { "test" };
        (kept.train_accuracy - held_out > GAP).then(|| {
            format!(
                "the network knows the training images by heart: {:.1} % of them were right, {:.1} % of the {what} \
                 images; more pictures help most, then data.augment, dropout and weight decay",
                kept.train_accuracy * 100.0,
                held_out * 100.0
            )
        })
    }

    fn unanswered(&self) -> Option<String> {
        let classes = self.evaluation.classes.iter();
        let missed: Vec<_> = classes.filter(|class| class.images >= FEWEST && class.recall == 0.0).collect();
        if missed.is_empty() {
            return None;
        }
        let shown: Vec<_> =
            missed.iter().take(NAMED).map(|class| format!("`{}` (0 of {})", class.class, class.images)).collect();
        let more = missed.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "no test image is right of {}{more}; `kiln data CONFIG` shows how many images there are to learn them from",
            shown.join(", ")
        ))
    }

    fn course(&self) -> Option<String> {
        let epochs = self.epochs;
        if epochs.len() < COURSE || !self.is_validated {
            return None;
        }
        let accuracy = |epoch: &EpochMetrics| epoch.validation_accuracy.unwrap_or(0.0);
        if self.best_epoch == 1 {
            return Some(format!(
                "the first epoch was the best of {}: {:.2} % of the validation images, {:.2} % after the last; lower \
                 optimizer.learning_rate, or hold out more images with data.validation",
                epochs.len(),
                accuracy(&epochs[0]) * 100.0,
                accuracy(epochs.last()?) * 100.0
            ));
        }
        let before = &epochs[epochs.len() - 1 - epochs.len() / 5];
        let gained = accuracy(epochs.last()?) - accuracy(before);
        (self.best_epoch == epochs.len() && !self.stopped_early && gained > STILL_RISING).then(|| {
            format!(
                "the last epoch was the best, and the validation accuracy rose by {:.1} points after epoch {}: train \
                 longer, with a higher train.epochs",
                gained * 100.0,
                before.epoch
            )
        })
    }
}

/// The first layer of which more than half of the channels are 0 for every image that is tried (dead ReLUs; Lu et al.,
/// "Dying ReLU and initialization", 2019).
///
/// # Errors
/// When the device fails.
pub(super) fn dead_units(predictor: &Predictor, images: &ImageSet) -> Result<Option<String>> {
    let probes = images.len().min(PROBES);
    let mut layers: Vec<Channels> = Vec::new();
    for probe in 0..probes {
        let outputs = predictor.layer_outputs(images.image(probe * images.len() / probes))?;
        layers.resize_with(outputs.len(), Channels::default);
        layers.iter_mut().zip(outputs).for_each(|(layer, output)| layer.add(&output));
    }
    let found = layers.iter().find(|layer| layer.is_rectified && layer.dead() as f64 > DEAD * layer.lived.len() as f64);
    Ok(found.map(|layer| {
        format!(
            "{} of {} channels behind `{}` are 0 for every one of {probes} test images (dead ReLUs); lower \
             optimizer.learning_rate, or add norms: model.norm = \"batch\"",
            layer.dead(),
            layer.lived.len(),
            layer.name
        )
    }))
}

/// Which channels of a layer have ever been anything else than 0.
#[derive(Default)]
struct Channels {
    name: String,
    lived: Vec<bool>,
    /// Whether no value was below 0, as behind a ReLU.
    is_rectified: bool,
}

impl Channels {
    fn add(&mut self, output: &LayerOutput) {
        let channels = output.shape.first().copied().unwrap_or(0).max(1);
        if self.lived.is_empty() {
            *self = Self { name: output.name.clone(), lived: vec![false; channels], is_rectified: true };
        }
        self.is_rectified &= output.values.iter().all(|value| *value >= 0.0);
        let of_channel = (output.values.len() / channels).max(1);
        for (lived, values) in self.lived.iter_mut().zip(output.values.chunks(of_channel)) {
            *lived |= values.iter().any(|value| *value != 0.0);
        }
    }

    fn dead(&self) -> usize {
        self.lived.iter().filter(|lived| !**lived).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(courses: &[(f64, f64, Option<f64>)]) -> Vec<EpochMetrics> {
        let epoch = |(index, (train_loss, train_accuracy, validation_accuracy)): (usize, &(f64, f64, Option<f64>))| {
            EpochMetrics {
                epoch: index + 1,
                iteration: 10 * (index + 1),
                learning_rate: 0.1,
                train_loss: *train_loss,
                train_accuracy: *train_accuracy,
                validation_loss: validation_accuracy.map(|_| 1.0),
                validation_accuracy: *validation_accuracy,
                validation_balanced_accuracy: None,
                validation_macro_f1: None,
                score: None,
                weights_sha256: String::new(),
                images_per_second: 1.0,
                seconds: 1.0,
            }
        };
        courses.iter().enumerate().map(epoch).collect()
    }

    /// 40 images of each of 2 classes, of which so many are answered rightly.
    fn evaluation(right: [usize; 2]) -> Evaluation {
        let answer = |label: usize, right: bool| if (label == 0) == right { [2.0, 0.0] } else { [0.0, 2.0] };
        let images = (0..2).flat_map(|label| (0..40).map(move |image| (label, image)));
        let logits: Vec<f32> = images.clone().flat_map(|(label, image)| answer(label, image < right[label])).collect();
        let labels: Vec<u16> = images.map(|(label, _)| label as u16).collect();
        Evaluation::from_logits(&logits, &labels, &["cat".to_owned(), "dog".to_owned()])
    }

    fn findings(courses: &[(f64, f64, Option<f64>)], best_epoch: usize, right: [usize; 2]) -> Vec<String> {
        let (epochs, evaluation) = (epochs(courses), evaluation(right));
        let is_validated = courses[0].2.is_some();
        let run = Finished { epochs: &epochs, best_epoch, is_validated, stopped_early: false, evaluation: &evaluation };
        run.findings()
    }

    #[test]
    fn a_good_run_has_nothing_to_be_said_of() {
        let course: Vec<_> = (0..10).map(|epoch| (0.5 - 0.04 * f64::from(epoch), 0.95, Some(0.94))).collect();
        assert_eq!(findings(&course, 7, [38, 38]), [""; 0]);
        assert_eq!(findings(&[(0.1, 0.99, None)], 1, [40, 36]), [""; 0]);
    }

    #[test]
    fn a_run_that_learned_nothing_says_so_with_numbers_and_a_remedy() {
        insta::assert_compact_debug_snapshot!(findings(&[(0.7, 0.5, Some(0.5))], 1, [40, 0]), @r#"["the network has learned nothing that shows: 50.00 % of the test images are right, and always answering `dog` gets 50.00 %; the training loss ended at 0.700, guessing has 0.693; lower optimizer.learning_rate by a factor of 10, and look at the images: `kiln data CONFIG`"]"#);
        let learned_by_heart = findings(&[(0.01, 1.0, Some(0.5))], 1, [20, 20]);
        assert!(learned_by_heart[0].contains("compare them with the test images"), "{learned_by_heart:?}");
    }

    #[test]
    fn each_fault_is_found_alone() {
        let one = |courses: &[_], best_epoch, right| {
            let found = findings(courses, best_epoch, right);
            assert_eq!(found.len(), 1, "{found:?}");
            found.into_iter().next().unwrap()
        };
        insta::assert_snapshot!(one(&[(0.2, 0.9, Some(0.9)), (0.6, 0.7, Some(0.7))], 1, [38, 38]), @"training diverged: the loss rose from 0.200 in epoch 1 to 0.600 in epoch 2; lower optimizer.learning_rate");
        insta::assert_snapshot!(one(&[(0.1, 0.99, Some(0.8))], 1, [32, 32]), @"the network knows the training images by heart: 99.0 % of them were right, 80.0 % of the validation images; more pictures help most, then data.augment, dropout and weight decay");
        insta::assert_snapshot!(one(&[(0.1, 0.99, None)], 1, [32, 32]), @"the network knows the training images by heart: 99.0 % of them were right, 80.0 % of the test images; more pictures help most, then data.augment, dropout and weight decay");
        let worse: Vec<_> = (0..6).map(|epoch| (0.3, 0.9, Some(0.9 - 0.01 * f64::from(epoch)))).collect();
        insta::assert_snapshot!(one(&worse, 1, [36, 36]), @"the first epoch was the best of 6: 90.00 % of the validation images, 85.00 % after the last; lower optimizer.learning_rate, or hold out more images with data.validation");
        let better: Vec<_> = (0..10).map(|epoch| (0.3, 0.8, Some(0.7 + 0.01 * f64::from(epoch)))).collect();
        insta::assert_snapshot!(one(&better, 10, [36, 36]), @"the last epoch was the best, and the validation accuracy rose by 2.0 points after epoch 8: train longer, with a higher train.epochs");
    }

    #[test]
    fn a_class_that_is_never_right_is_named() {
        let classes = ["a", "b", "c"].map(str::to_owned);
        let logits: Vec<f32> = [[9.0, 0.0, 0.0]; 20].into_iter().chain([[0.0, 9.0, 0.0]; 25]).flatten().collect();
        let labels: Vec<u16> = [vec![0; 20], vec![1; 20], vec![2; 5]].concat();
        let evaluation = Evaluation::from_logits(&logits, &labels, &classes);
        let epochs = epochs(&[(0.1, 0.9, None)]);
        let run = Finished {
            epochs: &epochs,
            best_epoch: 1,
            is_validated: false,
            stopped_early: false,
            evaluation: &evaluation,
        };
        insta::assert_compact_debug_snapshot!(run.findings(), @r#"["no test image is right of `c` (0 of 5); `kiln data CONFIG` shows how many images there are to learn them from"]"#);
    }

    #[test]
    fn channels_that_are_always_zero_are_counted() {
        let output =
            |values: &[f32]| LayerOutput { name: "relu".into(), shape: vec![3, 1, 2], values: values.to_vec() };
        let mut channels = Channels::default();
        channels.add(&output(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
        channels.add(&output(&[0.0, 0.0, 0.0, 0.0, 0.5, 0.0]));
        assert_eq!((channels.dead(), channels.is_rectified), (1, true));
        channels.add(&output(&[0.0, -1.0, 0.0, 0.0, 0.5, 0.0]));
        assert_eq!((channels.dead(), channels.is_rectified), (0, false));
    }
}
