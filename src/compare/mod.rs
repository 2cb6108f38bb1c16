//! Whether one result is better than another by more than luck, from the answers of models for the same test images.
//!
//! A model's accuracy depends on luck twice: on the images that happen to be in the test set, and on the seed that it was
//! trained with. Two single models can be told apart as models, by the images on which they disagree (McNemar). What
//! trained them, a config, can be told apart by several seeds of each; then the interval covers both kinds of luck
//! (Bouthillier et al., "Accounting for variance in machine learning benchmarks", 2021).

mod bootstrap;
mod paired;
mod permutation;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

pub use paired::McNemar;

use crate::{Error, Result};

/// The chance at which a difference that is none is called one.
pub const LEVEL: f64 = 0.05;

/// What is compared: one model, or several that differ in their seed alone.
#[derive(Clone, Debug)]
pub struct Arm {
    /// What it is called.
    pub name: String,
    /// Its models.
    pub models: Vec<Answers>,
}

/// Which images a model answered rightly.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The seed that it was trained with, if it is known.
    pub seed: Option<u64>,
    /// `[images]`, the same images in the same order for every model.
    pub right: Vec<bool>,
}

/// Two or more arms compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// The number of test images.
    pub images: usize,
    /// The arms as they were given.
    pub arms: Vec<Summary>,
    /// Every two of them, or the first with each other one.
    pub pairs: Vec<Pair>,
}

/// What an arm reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// What it is called.
    pub name: String,
    /// The accuracy of each of its models, 0..=1.
    pub accuracies: Vec<f64>,
    /// The seeds of its models, where they are known.
    pub seeds: Vec<Option<u64>>,
    /// The mean accuracy.
    pub mean: f64,
    /// The standard deviation over seeds, with `models - 1` below; absent for one model.
    pub sd: Option<f64>,
}

/// How two arms differ.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// The first arm, by its place.
    pub a: usize,
    /// The second.
    pub b: usize,
    /// The accuracy of `b` less that of `a`.
    pub difference: f64,
    /// The 95 % interval of the difference.
    pub interval: [f64; 2],
    /// The chance of a difference at least as large if there were none.
    pub p_value: f64,
    /// The same by Holm's method (1979), for as many pairs as there are. Equal to `p_value` for one pair.
    pub p_adjusted: f64,
    /// The chance by a permutation test over the seeds, exact for few of them. Absent where there are too few of them for
    /// it to fall below [`LEVEL`], whatever the difference.
    pub p_permutation: Option<f64>,
    /// The images on which two single models disagree.
    pub mcnemar: Option<McNemar>,
    /// A true difference below this would not show with these images and seeds.
    pub detectable: f64,
    /// Whether the difference is more than luck.
    pub distinguishable: bool,
}

/// A difference with its uncertainty.
struct Estimate {
    difference: f64,
    interval: [f64; 2],
    p_value: f64,
    detectable: f64,
}

impl Comparison {
    /// Compares every two of `arms`. `seed` decides what is resampled.
    ///
    /// # Errors
    /// A usage error when there are fewer than two arms, one is empty, or they answer different numbers of images.
    pub fn new(arms: &[Arm], seed: u64) -> Result<Self> {
        let images = check(arms)?;
        let places = (0..arms.len()).flat_map(|a| (a + 1..arms.len()).map(move |b| (a, b)));
        let mut pairs: Vec<Pair> = places.map(|(a, b)| pair(arms, (a, b), seed)).collect();
        let family = pairs.len();
        adjust(&mut pairs, family);
        Ok(Self { images, arms: arms.iter().map(Summary::of).collect(), pairs })
    }

    /// Compares the first of `arms`, which was chosen from all of them as the best, with each other one. Choosing is looking
    /// at every two of them, so the chances are corrected for as many.
    ///
    /// # Errors
    /// As [`Comparison::new`].
    pub fn of_first(arms: &[Arm], seed: u64) -> Result<Self> {
        let images = check(arms)?;
        let mut pairs: Vec<Pair> = (1..arms.len()).map(|other| pair(arms, (0, other), seed)).collect();
        adjust(&mut pairs, arms.len() * (arms.len() - 1) / 2);
        Ok(Self { images, arms: arms.iter().map(Summary::of).collect(), pairs })
    }

    /// The arm with the highest mean accuracy; of equals, the first.
    pub fn best(&self) -> usize {
        (0..self.arms.len()).rev().max_by(|a, b| self.arms[*a].mean.total_cmp(&self.arms[*b].mean)).unwrap_or(0)
    }
}

/// The number of images.
fn check(arms: &[Arm]) -> Result<usize> {
    if arms.len() < 2 {
        return Err(Error::usage(format!("a comparison needs at least 2 models or sets of runs, got {}", arms.len())));
    }
    if let Some(empty) = arms.iter().find(|arm| arm.models.is_empty()) {
        return Err(Error::usage(format!("`{}` has no model", empty.name)));
    }
    let images = arms[0].models[0].right.len();
    if images == 0 || arms.iter().flat_map(|arm| &arm.models).any(|model| model.right.len() != images) {
        return Err(Error::usage("models can be compared on the same test images alone"));
    }
    Ok(images)
}

impl Summary {
    fn of(arm: &Arm) -> Self {
        let accuracies: Vec<f64> = arm.models.iter().map(Answers::accuracy).collect();
        let mean = mean(&accuracies);
        Self {
            name: arm.name.clone(),
            sd: (accuracies.len() > 1).then(|| variance(&accuracies).sqrt()),
            seeds: arm.models.iter().map(|model| model.seed).collect(),
            mean,
            accuracies,
        }
    }
}

impl Answers {
    fn accuracy(&self) -> f64 {
        self.right.iter().filter(|right| **right).count() as f64 / self.right.len() as f64
    }
}

fn pair(arms: &[Arm], (a, b): (usize, usize), seed: u64) -> Pair {
    let (first, second) = (&arms[a], &arms[b]);
    let (estimate, mcnemar, p_permutation) = match (&first.models[..], &second.models[..]) {
        ([one], [other]) => {
            let (estimate, mcnemar) = paired::estimate(&one.right, &other.right);
            (estimate, Some(mcnemar), None)
        }
        _ => {
            let samples = bootstrap::Samples::new(first, second);
            let p_permutation = (permutation::least(&samples) < LEVEL).then(|| permutation::p_value(&samples, seed));
            (bootstrap::estimate(&samples, seed), None, p_permutation)
        }
    };
    Pair {
        a,
        b,
        difference: estimate.difference,
        interval: estimate.interval,
        p_value: estimate.p_value,
        p_adjusted: estimate.p_value,
        p_permutation,
        mcnemar,
        detectable: estimate.detectable,
        distinguishable: false,
    }
}

/// Holm, "A simple sequentially rejective multiple test procedure" (1979), of a family of which these may be a part; and
/// with it the verdicts.
fn adjust(pairs: &mut [Pair], family: usize) {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|a, b| pairs[*a].p_value.total_cmp(&pairs[*b].p_value));
    let mut highest = 0.0_f64;
    for (rank, &place) in order.iter().enumerate() {
        let count = (family - rank) as f64;
        highest = highest.max((pairs[place].p_value * count).min(1.0));
        let pair = &mut pairs[place];
        pair.p_adjusted = highest;
        let excludes_none = pair.interval[0] > 0.0 || pair.interval[1] < 0.0;
        // Two tests with different assumptions have to agree.
        let agrees = pair.p_permutation.is_none_or(|p_value| p_value < LEVEL);
        pair.distinguishable = highest < LEVEL && excludes_none && agrees;
    }
}

/// What several seeds reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverSeeds {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, with `seeds - 1` below; 0 for one seed.
    pub sd: f64,
    /// The 95 % interval of the mean over all seeds that there could be, by Student's t; for one seed, the whole of 0..=1.
    pub interval: [f64; 2],
}

/// Mean and spread of accuracies, 0..=1, of models that differ in their seed. None of none.
pub fn over_seeds(accuracies: &[f64]) -> Option<OverSeeds> {
    if accuracies.is_empty() {
        return None;
    }
    let (mean, sd) = (mean(accuracies), variance(accuracies).sqrt());
    let reach = student(accuracies.len() as f64 - 1.0, 0.0).0 * sd / (accuracies.len() as f64).sqrt();
    let interval = if accuracies.len() > 1 { [(mean - reach).max(0.0), (mean + reach).min(1.0)] } else { [0.0, 1.0] };
    Some(OverSeeds { mean, sd, interval })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The unbiased sample variance; 0 for one value.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let sum: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    sum / (values.len() as f64 - 1.0).max(1.0)
}

/// How many standard errors an interval of 95 % reaches, and the two-sided chance of `statistic`, under Student's t; from
/// 1,000 degrees of freedom on, where the two differ by less than 0.2 %, under a normal distribution.
fn student(degrees: f64, statistic: f64) -> (f64, f64) {
    let of = |distribution: &dyn ContinuousCDF<f64, f64>| {
        (distribution.inverse_cdf(1.0 - LEVEL / 2.0), 2.0 * distribution.sf(statistic.abs()))
    };
    match StudentsT::new(0.0, 1.0, degrees.max(1.0)) {
        Ok(student) if degrees < 1000.0 => of(&student),
        _ => of(&Normal::standard()),
    }
}

#[cfg(test)]
mod tests;
