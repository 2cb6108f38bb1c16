//! Several seeds of each of two arms: the uncertainty from seeds and from images together.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::{Answers, Arm, Estimate, mean, student, variance};
use crate::seed::{Purpose, Stream};

/// Resamples: the standard error is known to about 1.6 %.
const RESAMPLES: usize = 2000;

/// The answers of two arms on the images for which some models differ; on all others every model is right, or every one
/// wrong, and none of them can make a difference.
pub(super) struct Samples {
    /// All images.
    images: usize,
    /// Whether model `s` of the first arm and model `s` of the second share their seed, for every `s`.
    pub(super) paired: bool,
    /// `[models][images that count]`: 1 for right, 0 for wrong.
    pub(super) first: Vec<Vec<f64>>,
    pub(super) second: Vec<Vec<f64>>,
}

impl Samples {
    /// The models of both arms, those with the same seed beside each other when both have the same seeds.
    pub(super) fn new(first: &Arm, second: &Arm) -> Self {
        let (first, second) = (by_seed(first), by_seed(second));
        let seeds = |models: &[&Answers]| models.iter().map(|model| model.seed).collect::<Option<Vec<u64>>>();
        let distinct = |seeds: &[u64]| seeds.iter().collect::<BTreeSet<_>>().len() == seeds.len();
        let paired = seeds(&first).is_some_and(|seeds_of_first| {
            distinct(&seeds_of_first) && seeds(&second).as_ref() == Some(&seeds_of_first)
        });
        let images = first[0].right.len();
        let all = || first.iter().chain(&second);
        let counts: Vec<usize> =
            (0..images).filter(|image| all().any(|model| model.right[*image] != first[0].right[*image])).collect();
        let of = |models: &[&Answers]| {
            let right =
                |model: &&Answers| counts.iter().map(|image| f64::from(u8::from(model.right[*image]))).collect();
            models.iter().map(right).collect()
        };
        Self { images, paired, first: of(&first), second: of(&second) }
    }

    /// The sum of the images that count, for each model.
    pub(super) fn sums(models: &[Vec<f64>]) -> Vec<f64> {
        models.iter().map(|right| right.iter().sum()).collect()
    }
}

fn by_seed(arm: &Arm) -> Vec<&Answers> {
    let mut models: Vec<&Answers> = arm.models.iter().collect();
    models.sort_by_key(|model| model.seed);
    models
}

/// The accuracy of the second arm less that of the first. Images and seeds are resampled independently of each other
/// (Owen, "The pigeonhole bootstrap", 2007), which gives the standard error; with few seeds, the interval is as much wider
/// as Student's t with Satterthwaite's degrees of freedom says.
pub(super) fn estimate(samples: &Samples, seed: u64) -> Estimate {
    let images = samples.images as f64;
    let per_model = |models: &[Vec<f64>]| Samples::sums(models).iter().map(|sum| sum / images).collect::<Vec<f64>>();
    let (first, second) = (per_model(&samples.first), per_model(&samples.second));
    let difference = mean(&second) - mean(&first);
    let error = variance(&resampled(samples, seed)).sqrt();
    let (reach, p_value) =
        student(degrees(samples, &first, &second, error), if error > 0.0 { difference / error } else { 0.0 });
    Estimate {
        difference,
        interval: [difference - reach * error, difference + reach * error],
        p_value,
        detectable: reach * error,
    }
}

/// Satterthwaite's degrees of freedom: as few as the seeds give as far as the seeds are what is uncertain.
fn degrees(samples: &Samples, first: &[f64], second: &[f64], error: f64) -> f64 {
    let parts: Vec<(f64, f64)> = if samples.paired {
        let differences: Vec<f64> = second.iter().zip(first).map(|(second, first)| second - first).collect();
        vec![(variance(&differences) / first.len() as f64, first.len() as f64 - 1.0)]
    } else {
        // An arm of one model is taken to vary as the other does.
        let spread = [first, second].map(|models| if models.len() > 1 { Some(variance(models)) } else { None });
        let known = |own: Option<f64>, other: Option<f64>| own.or(other).unwrap_or(0.0);
        let freedom = |own: &[f64], other: &[f64]| if own.len() > 1 { own.len() } else { other.len() } as f64 - 1.0;
        vec![
            (known(spread[0], spread[1]) / first.len() as f64, freedom(first, second)),
            (known(spread[1], spread[0]) / second.len() as f64, freedom(second, first)),
        ]
    };
    let from_seeds: f64 = parts.iter().map(|(variance, _)| variance).sum();
    let from_images = (error * error - from_seeds).max(0.0);
    let total = from_seeds + from_images;
    let below: f64 = parts.iter().map(|(variance, freedom)| variance * variance / freedom.max(1.0)).sum::<f64>()
        + from_images * from_images / (samples.images as f64 - 1.0).max(1.0);
    if below > 0.0 { total * total / below } else { f64::INFINITY }
}

/// The difference in each resample.
fn resampled(samples: &Samples, seed: u64) -> Vec<f64> {
    let stream = Stream::new(seed, Purpose::Resample);
    let counted = samples.first[0].len();
    let mut weights = vec![0.0; counted];
    (0..RESAMPLES)
        .map(|resample| {
            let mut rng = stream.at(0, resample);
            weights.fill_with(|| poisson(rng.random()));
            let accuracies = |models: &[Vec<f64>]| -> Vec<f64> {
                let sum =
                    |right: &Vec<f64>| right.iter().zip(&weights).map(|(right, weight)| right * weight).sum::<f64>();
                models.iter().map(|right| sum(right) / samples.images as f64).collect()
            };
            let (first, second) = (accuracies(&samples.first), accuracies(&samples.second));
            let mut draw = |count: usize| (0..count).map(|_| rng.random_range(0..count)).collect::<Vec<usize>>();
            if samples.paired {
                let differences: Vec<f64> = second.iter().zip(&first).map(|(second, first)| second - first).collect();
                return of_seeds(&differences, &draw(differences.len()), None);
            }
            let spread = |own: &[f64], other: &[f64]| if own.len() > 1 { None } else { Some(variance(other).sqrt()) };
            let (drawn_first, drawn_second) = (draw(first.len()), draw(second.len()));
            // One model says nothing of how its seed matters: it is moved as the seeds of the other arm scatter.
            let mut sign = || if rng.random_range(0..2) == 0 { -1.0 } else { 1.0 };
            let moved = [
                spread(&first, &second).map(|spread| spread * sign()),
                spread(&second, &first).map(|spread| spread * sign()),
            ];
            of_seeds(&second, &drawn_second, moved[1]) - of_seeds(&first, &drawn_first, moved[0])
        })
        .collect()
}

/// How often one of very many images is in a resample of as many: Poisson's distribution with a mean of 1, of which `share`
/// is a uniform draw. So images can be drawn one by one, and those that do not count not at all.
fn poisson(share: f64) -> f64 {
    let (mut times, mut chance) = (0.0, (-1.0_f64).exp());
    let mut below = chance;
    while share >= below && times < 20.0 {
        times += 1.0;
        chance /= times;
        below += chance;
    }
    times
}

/// The mean over the `drawn` models, whose distance from the mean over all of them is made as large as it would be for as
/// many new seeds: a resample of k scatters less by a factor of (k - 1) / k in its variance. `moved` is the distance
/// instead for one model.
fn of_seeds(values: &[f64], drawn: &[usize], moved: Option<f64>) -> f64 {
    let (centre, count) = (mean(values), values.len() as f64);
    match moved {
        Some(moved) => centre + moved,
        None if values.len() > 1 => {
            let drawn = drawn.iter().map(|place| values[*place]).sum::<f64>() / count;
            centre + (count / (count - 1.0)).sqrt() * (drawn - centre)
        }
        None => centre,
    }
}

#[cfg(test)]
mod tests {
    use super::poisson;

    #[test]
    fn an_image_is_drawn_once_on_average() {
        let draws: Vec<f64> = (0..100_000).map(|draw| poisson((f64::from(draw) + 0.5) / 100_000.0)).collect();
        let share = |times: f64| draws.iter().filter(|draw| **draw == times).count() as f64 / 100_000.0;
        assert!((draws.iter().sum::<f64>() / 100_000.0 - 1.0).abs() < 1e-3);
        assert!((share(0.0) - 0.367_88).abs() < 1e-4 && (share(2.0) - 0.183_94).abs() < 1e-4);
        assert_eq!(poisson(1.0), 20.0);
    }
}
