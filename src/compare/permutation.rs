//! Whether the seeds of two arms could be exchanged without anyone noticing.

use rand::RngExt as _;

use super::bootstrap::Samples;
use super::mean;
use crate::seed::{Purpose, Stream};

/// Up to so many ways to exchange, all are tried; else so many are drawn.
const MOST: usize = 20_000;

/// The least chance that the test can give: with few seeds it cannot tell even the largest difference from luck.
pub(super) fn least(samples: &Samples) -> f64 {
    let (first, second) = (samples.first.len(), samples.second.len());
    let all = if samples.paired { 1 << first.min(20) } else { ways(first + second, first.min(second)) };
    // Either arm may be the better one.
    2.0 / all as f64
}

/// The share of the exchanges that give a difference at least as large as the real one. Models with the same seed change
/// places with each other (a test of signs); where the seeds differ, any model may go to either arm.
pub(super) fn p_value(samples: &Samples, seed: u64) -> f64 {
    let (first, second) = (Samples::sums(&samples.first), Samples::sums(&samples.second));
    if samples.paired {
        let differences: Vec<f64> = second.iter().zip(&first).map(|(second, first)| second - first).collect();
        signs(&differences, seed)
    } else {
        regrouped(&first, &second, seed)
    }
}

/// Sums of whole numbers are exact, so that equal differences are equal.
fn at_least(value: f64, real: f64) -> bool {
    value.abs() >= real.abs() - 1e-9
}

fn signs(differences: &[f64], seed: u64) -> f64 {
    let real: f64 = differences.iter().sum();
    let flipped = |flips: u64| -> f64 {
        let sign = |place: usize| if flips >> (place % 64) & 1 == 1 { -1.0 } else { 1.0 };
        differences.iter().enumerate().map(|(place, difference)| sign(place) * difference).sum()
    };
    if differences.len() < 15 {
        let all = 1_u64 << differences.len();
        return (0..all).filter(|flips| at_least(flipped(*flips), real)).count() as f64 / all as f64;
    }
    let stream = Stream::new(seed, Purpose::Resample);
    let drawn = |draw: usize| {
        let mut rng = stream.at(1, draw);
        differences.iter().map(|difference| if rng.random_range(0..2) == 0 { -*difference } else { *difference }).sum()
    };
    share((0..MOST).filter(|draw| at_least(drawn(*draw), real)).count())
}

/// Of draws, the real one included.
fn share(found: usize) -> f64 {
    (found as f64 + 1.0) / (MOST as f64 + 1.0)
}

fn regrouped(first: &[f64], second: &[f64], seed: u64) -> f64 {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let (total, size) = (all.iter().sum::<f64>(), first.len());
    // The difference of the means follows from the sum of one group.
    let difference = |sum: f64| (total - sum) / (all.len() - size) as f64 - sum / size as f64;
    let real = mean(second) - mean(first);
    if ways(all.len(), size) <= MOST {
        let (mut found, mut tried) = (0, 0);
        groups(&all, size, 0.0, &mut |sum| {
            tried += 1;
            found += usize::from(at_least(difference(sum), real));
        });
        return found as f64 / tried as f64;
    }
    let stream = Stream::new(seed, Purpose::Resample);
    let drawn = |draw: usize| {
        let (mut rng, mut left) = (stream.at(2, draw), all.clone());
        difference((0..size).map(|_| left.swap_remove(rng.random_range(0..left.len()))).sum())
    };
    share((0..MOST).filter(|draw| at_least(drawn(*draw), real)).count())
}

/// The number of ways to choose `chosen` of `all`; more than [`MOST`] if it is more.
fn ways(all: usize, chosen: usize) -> usize {
    (0..chosen).fold(1, |ways, step| if ways > MOST { ways } else { ways * (all - step) / (step + 1) })
}

/// Tells the sum of every choice of `left` of `values`.
fn groups(values: &[f64], left: usize, sum: f64, tell: &mut impl FnMut(f64)) {
    if left == 0 {
        tell(sum);
    } else if let Some((one, rest)) = values.split_first() {
        groups(rest, left - 1, sum + one, tell);
        if rest.len() >= left {
            groups(rest, left, sum, tell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_seeds_are_exchanged_in_every_way() {
        // Of 8 ways to set the signs, all + and all - give the largest sum.
        assert_eq!(signs(&[3.0, 1.0, 2.0], 1), 0.25);
        assert_eq!(signs(&[0.0, 0.0, 0.0], 1), 1.0);
        // Of the 20 ways to choose three of six, two are as extreme.
        assert_eq!(regrouped(&[1.0, 2.0, 3.0], &[7.0, 8.0, 9.0], 1), 0.1);
        assert_eq!(regrouped(&[1.0, 2.0], &[5.0], 1), 1.0 / 3.0);
        assert_eq!([ways(6, 3), ways(20, 10).min(MOST + 1)], [20, MOST + 1]);
    }

    #[test]
    fn many_seeds_are_drawn_and_the_real_one_counts() {
        let sure: Vec<f64> = vec![1.0; 30];
        assert!(signs(&sure, 1) < 1e-4);
        let even: Vec<f64> = (0..30).map(|seed| if seed % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(signs(&even, 1), 1.0);
        let (low, high): (Vec<f64>, Vec<f64>) = (vec![1.0; 12], vec![2.0; 12]);
        assert!(regrouped(&low, &high, 1) < 1e-4);
        assert_eq!(regrouped(&low, &low, 1), 1.0);
    }
}
