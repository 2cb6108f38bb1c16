//! Labels that look wrong, among images that a model did not learn from. Three witnesses are heard: the model's own
//! probabilities (confident learning: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
//! labels", 2021), the mean of them over the image distorted as in training, and the labels of the training images that
//! the network finds most alike.
//!
//! A network's mistakes are mostly its own; few of them are the label's. What it still believes when the image is turned
//! a little, and what similar images with other labels say too, is more often right: on MNIST's test set, over 12 networks,
//! lists of 20 by the probabilities alone held 5.5 of the 15 labels that people reject, by all three 7.75.

use std::cmp::Ordering;

use serde::Serialize;

use super::Predictions;
use crate::Result;
use crate::data::ImageSet;
use crate::data::augment::{Augment, Scratch};
use crate::logits::probabilities_at;
use crate::ops;
use crate::predict::Predictor;

/// Images that are looked at again: those whose label the probabilities say least for.
const CANDIDATES: usize = 200;

/// Distorted views of each.
const VIEWS: usize = 16;

/// Nearest training images that are asked.
const NEIGHBOURS: usize = 10;

/// Training images among which they are looked for: never more than were tested, so that a second look at a few takes no
/// longer than the first at all of them, unless that is very few.
const FEWEST_OTHERS: usize = 2_000;
const MOST_OTHERS: usize = 10_000;

/// Training images whose features are in memory together.
const TOGETHER: usize = 128;

/// The fingerprint of MNIST as kiln reads it.
const MNIST: &str = "be86dc7b14ea618bf276f466980785a1caf39e82ba3bfab2d1eda65141168b13";

/// The images of MNIST's test set whose label fewer than 3 of 5 people agreed with (Northcutt, Athalye and Mueller,
/// "Pervasive label errors in test sets destabilize machine learning benchmarks", 2021; `mturk/mnist_mturk.json` of
/// github.com/cleanlab/label-errors), each with that label.
const KNOWN: [(usize, usize); 15] = [
    (947, 8),
    (1621, 0),
    (1901, 9),
    (2130, 4),
    (2462, 2),
    (2597, 5),
    (2654, 6),
    (3520, 6),
    (3558, 5),
    (5937, 5),
    (6651, 0),
    (6783, 1),
    (8527, 4),
    (9679, 6),
    (9729, 5),
];

/// An image whose label looks wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// Its place among the test images.
    pub index: usize,
    /// Its label.
    pub label: usize,
    /// The class that looks right.
    pub suggested: usize,
    /// The mean probability of the label over distorted views, less that of `suggested`, -1 to 1.
    pub margin: f64,
    /// The share of the nearest training images with its label, less the share with the suggested one, -1 to 1.
    pub neighbour_margin: f64,
    /// Whether confident learning counts it: the suggested class is as likely here as for the images labelled so.
    pub confident: bool,
    /// Whether people who looked at it disagreed with the label, as far as is published.
    pub known: bool,
}

impl Suspect {
    /// Both margins: the lower, the more suspect.
    fn standing(&self) -> f64 {
        self.margin + self.neighbour_margin
    }
}

/// The published label errors among these images: none, unless they are MNIST's.
pub(crate) fn known_label_errors(fingerprint: &str, predictions: &Predictions) -> Vec<usize> {
    let are_mnist = fingerprint == MNIST
        && KNOWN.iter().all(|&(index, label)| index < predictions.len() && predictions.label(index) == label);
    if are_mnist { KNOWN.iter().map(|(index, _)| *index).collect() } else { Vec::new() }
}

/// What a second look at test images needs.
pub(crate) struct SecondLook<'a> {
    /// The model.
    pub(crate) predictor: &'a Predictor,
    /// What `predictor` has answered about.
    pub(crate) test: &'a ImageSet,
    /// What it learned from.
    pub(crate) train: &'a ImageSet,
    /// How training distorts images; none when it does not.
    pub(crate) augment: Option<&'a Augment>,
}

/// The `most` labels that look most wrong, those that most speaks against first.
///
/// # Errors
/// When the device fails.
pub(crate) fn suspects(
    predictions: &Predictions,
    look: &SecondLook,
    known: &[usize],
    most: usize,
) -> Result<Vec<Suspect>> {
    let candidates = candidates(predictions);
    let views = look.views(&candidates, predictions)?;
    let votes = look.votes(&candidates)?;
    let thresholds = thresholds(predictions);
    let mut found: Vec<Suspect> = candidates
        .iter()
        .zip(views.iter().zip(&votes))
        .map(|(&index, (probabilities, votes))| {
            suspect((index, predictions.label(index)), probabilities, votes, &thresholds, known)
        })
        .filter(|suspect| suspect.standing() < 0.0)
        .collect();
    found.sort_by(|a, b| a.standing().total_cmp(&b.standing()).then(a.index.cmp(&b.index)));
    found.truncate(most);
    Ok(found)
}

/// The images whose label is least likely beside the likeliest other class.
fn candidates(predictions: &Predictions) -> Vec<usize> {
    let margin = |index: usize| margin(&predictions.probabilities(index), predictions.label(index)).0;
    let mut margins: Vec<(f64, usize)> = (0..predictions.len()).map(|index| (margin(index), index)).collect();
    margins.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    margins.into_iter().take(CANDIDATES).map(|(_, index)| index).collect()
}

/// The probability of `label` less that of the likeliest other class, and that class.
fn margin(probabilities: &[f64], label: usize) -> (f64, usize) {
    let others = (0..probabilities.len()).filter(|&class| class != label);
    let other = others.max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap_or(label);
    (probabilities[label] - probabilities[other], other)
}

fn suspect(
    (index, label): (usize, usize),
    probabilities: &[f64],
    votes: &[f64],
    thresholds: &[f64],
    known: &[usize],
) -> Suspect {
    let (margin, suggested) = margin(probabilities, label);
    let sure = (0..probabilities.len()).filter(|&class| probabilities[class] >= thresholds[class]);
    Suspect {
        index,
        label,
        suggested,
        margin,
        neighbour_margin: votes[label] - votes[suggested],
        confident: sure.max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])) == Some(suggested),
        known: known.contains(&index),
    }
}

/// For each class the mean probability that it gets for the images labelled so; infinite without such images.
fn thresholds(predictions: &Predictions) -> Vec<f64> {
    let mut sums = vec![(0.0, 0_usize); predictions.classes().len()];
    for index in 0..predictions.len() {
        let label = predictions.label(index);
        sums[label].0 += predictions.probabilities(index)[label];
        sums[label].1 += 1;
    }
    sums.into_iter().map(|(sum, count)| if count == 0 { f64::INFINITY } else { sum / count as f64 }).collect()
}

impl SecondLook<'_> {
    /// For each of the images `candidates` the mean probabilities over itself and its distorted views.
    fn views(&self, candidates: &[usize], predictions: &Predictions) -> Result<Vec<Vec<f64>>> {
        let classes = self.test.classes.len();
        let mut sums: Vec<Vec<f64>> = candidates.iter().map(|&index| predictions.probabilities(index)).collect();
        let Some(augment) = self.augment else { return Ok(sums) };
        let temperature = self.predictor.manifest().temperature();
        let size = self.test.shape.len();
        let mut pixels = vec![0; candidates.len() * size];
        let mut scratch = Scratch::default();
        for view in 0..VIEWS {
            for (&index, pixels) in candidates.iter().zip(pixels.chunks_exact_mut(size)) {
                augment.apply(self.test.image(index), (view, index), &mut scratch, pixels);
            }
            let logits = self.predictor.logits(&pixels, candidates.len())?;
            for (sums, logits) in sums.iter_mut().zip(logits.chunks_exact(classes)) {
                for (sum, probability) in sums.iter_mut().zip(probabilities_at(logits, temperature)) {
                    *sum += probability;
                }
            }
        }
        sums.iter_mut().flatten().for_each(|sum| *sum /= (1 + VIEWS) as f64);
        Ok(sums)
    }

    /// For each of the images `candidates` the share of each class among the labels of its nearest training images, by the
    /// angle between their features.
    fn votes(&self, candidates: &[usize]) -> Result<Vec<Vec<f64>>> {
        let features = |set: &ImageSet, indices: &[usize]| -> Result<_> {
            let count = indices.len().max(1);
            let mut features = self.predictor.features(&set.select(indices).pixels)?;
            let length = features.len() / count;
            features.chunks_exact_mut(length.max(1)).for_each(normalise);
            Ok((features, length.max(1)))
        };
        let (of_candidates, length) = features(self.test, candidates)?;
        let most = self.test.len().clamp(FEWEST_OTHERS, MOST_OTHERS);
        let step = self.train.len().div_ceil(most).max(1);
        let others: Vec<usize> = (0..self.train.len()).step_by(step).collect();
        let mut nearest = vec![Vec::with_capacity(NEIGHBOURS + 1); candidates.len()];
        for indices in others.chunks(TOGETHER) {
            let (of_others, _) = features(self.train, indices)?;
            let alike = ops::products_of_rows(&of_others, &of_candidates, length);
            for (&index, alike) in indices.iter().zip(alike.chunks_exact(candidates.len())) {
                for (nearest, alike) in nearest.iter_mut().zip(alike) {
                    keep_nearest(nearest, (*alike, usize::from(self.train.labels[index])));
                }
            }
        }
        let shares = |nearest: &Vec<(f32, usize)>| {
            let mut shares = vec![0.0; self.test.classes.len()];
            nearest.iter().for_each(|(_, label)| shares[*label] += 1.0 / nearest.len() as f64);
            shares
        };
        Ok(nearest.iter().map(shares).collect())
    }
}

/// Puts one more into `nearest`, the most alike first, of which [`NEIGHBOURS`] are kept. Of equals the earlier stays.
fn keep_nearest(nearest: &mut Vec<(f32, usize)>, other: (f32, usize)) {
    // Most are too far away, which one comparison tells.
    let is_nearer = |(alike, _): &(f32, usize)| alike.total_cmp(&other.0) != Ordering::Less;
    if nearest.len() < NEIGHBOURS || !nearest.last().is_some_and(is_nearer) {
        nearest.insert(nearest.partition_point(is_nearer), other);
        nearest.truncate(NEIGHBOURS);
    }
}

/// To length 1; zeros stay.
fn normalise(values: &mut [f32]) {
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_images_that_are_not_mnist() {
        let predictions = Predictions::from_logits(&[1.0, 0.0], &[0], &["a".to_owned(), "b".to_owned()]);
        assert!(known_label_errors(MNIST, &predictions).is_empty());
    }

    #[test]
    fn candidates_are_those_whose_label_has_least_for_it() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        // Right, right, surely a dog labelled cat, barely a cat labelled dog, right.
        let logits = [4.0, 0.0, 0.0, 4.0, 0.0, 9.0, 0.1, 0.0, 0.0, 5.0];
        let predictions = Predictions::from_logits(&logits, &[0, 1, 0, 1, 1], &classes);
        assert_eq!(candidates(&predictions), [2, 3, 0, 1, 4]);
    }

    #[test]
    fn a_suspect_has_the_network_and_its_neighbours_against_its_label() {
        let thresholds = [0.9, 0.9, f64::INFINITY];
        let found = suspect((7, 0), &[0.03, 0.95, 0.02], &[0.2, 0.7, 0.1], &thresholds, &[7]);
        assert_eq!((found.suggested, found.confident, found.known), (1, true, true));
        assert!((found.margin + 0.92).abs() < 1e-9 && (found.neighbour_margin + 0.5).abs() < 1e-9);
        let unsure = suspect((8, 0), &[0.4, 0.6, 0.0], &[1.0, 0.0, 0.0], &thresholds, &[7]);
        assert!(!unsure.confident && !unsure.known && unsure.standing() > 0.0);
    }

    #[test]
    fn the_nearest_are_kept_in_order() {
        let mut nearest = Vec::new();
        for place in 0..40_usize {
            keep_nearest(&mut nearest, ((place * 7 % 40) as f32, place));
        }
        let alike: Vec<f32> = nearest.iter().map(|(alike, _)| *alike).collect();
        assert_eq!(alike, (30..40).rev().map(|value| value as f32).collect::<Vec<_>>());
    }
}
