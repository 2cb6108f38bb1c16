//! Labels that look wrong: confident learning (Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in
//! dataset labels", 2021), from answers for images that the model did not learn from.

use serde::Serialize;

use crate::eval::Predictions;

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
    /// The probability of the label, less that of the likeliest other class: -1 is the most suspect.
    pub margin: f64,
    /// Whether confident learning counts it: the suggested class is as likely here as for the images labelled so. The rest
    /// of the list are mistakes without that.
    pub confident: bool,
    /// Whether people who looked at it disagreed with the label, as far as is published.
    pub known: bool,
}

/// The published label errors among these images: none, unless they are MNIST's.
pub fn known(fingerprint: &str, predictions: &Predictions) -> Vec<usize> {
    let are_mnist = fingerprint == MNIST
        && KNOWN.iter().all(|&(index, label)| index < predictions.len() && predictions.label(index) == label);
    if are_mnist { KNOWN.iter().map(|(index, _)| *index).collect() } else { Vec::new() }
}

/// The `most` labels that look most wrong; those that confident learning counts come first, by margin.
pub fn suspects(predictions: &Predictions, known: &[usize], most: usize) -> Vec<Suspect> {
    let thresholds = thresholds(predictions);
    let mut found: Vec<Suspect> =
        (0..predictions.len()).filter_map(|index| suspect(predictions, &thresholds, known, index)).collect();
    found.sort_by(|a, b| b.confident.cmp(&a.confident).then(a.margin.total_cmp(&b.margin)));
    found.truncate(most);
    found
}

fn suspect(predictions: &Predictions, thresholds: &[f64], known: &[usize], index: usize) -> Option<Suspect> {
    let probabilities = predictions.probabilities(index);
    let label = predictions.label(index);
    let likeliest = |allowed: &dyn Fn(usize) -> bool| {
        let places = (0..probabilities.len()).filter(|&class| allowed(class));
        places.max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
    };
    let other = likeliest(&|class| class != label)?;
    let confident = likeliest(&|class| probabilities[class] >= thresholds[class]).filter(|&class| class != label);
    if confident.is_none() && predictions.is_right(index) {
        return None;
    }
    Some(Suspect {
        index,
        label,
        suggested: confident.unwrap_or(other),
        margin: probabilities[label] - probabilities[other],
        confident: confident.is_some(),
        known: known.contains(&index),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confident_contradiction_of_a_label_comes_first_and_a_right_answer_is_no_suspect() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        // Right, right, surely a dog labelled cat, barely a cat labelled dog, right.
        let logits = [4.0, 0.0, 0.0, 4.0, 0.0, 9.0, 0.1, 0.0, 0.0, 5.0];
        let predictions = Predictions::from_logits(&logits, &[0, 1, 0, 1, 1], &classes);
        let found = suspects(&predictions, &[2], 20);
        assert_eq!(found.iter().map(|suspect| suspect.index).collect::<Vec<_>>(), [2, 3]);
        assert!(found[0].confident && found[0].known && found[0].suggested == 1 && found[0].margin < -0.99);
        assert!(!found[1].known);
        assert_eq!(suspects(&predictions, &[], 1).len(), 1);
    }

    #[test]
    fn nothing_is_known_of_images_that_are_not_mnist() {
        let predictions = Predictions::from_logits(&[1.0, 0.0], &[0], &["a".to_owned(), "b".to_owned()]);
        assert!(known(MNIST, &predictions).is_empty());
    }
}
