//! How much of the difference between trials each key explains by itself: its main effect. One-way analysis of variance over the
//! values of the key, with the share of the variance corrected for the number of groups (epsilon squared; Kelley, 1935), and the
//! chance of so large a share by luck, by permutation. In a full grid this is the main effect of functional ANOVA (Hutter,
//! Hoos and Leyton-Brown, 2014); it does not see what two keys do together.

use std::collections::BTreeMap;

use rand::RngExt as _;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::result::Key;
use crate::seed::{Purpose, Stream};

/// The fewest trials that anything is said of.
pub const FEWEST: usize = 8;

/// The most values of a numeric key that are groups of their own; more are cut into as many groups as [`CUT`].
const MOST_VALUES: usize = 5;

/// The groups that many numbers are cut into.
const CUT: usize = 3;

/// Permutations behind a chance.
const PERMUTATIONS: usize = 2000;

/// What a key explains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// The key.
    pub path: String,
    /// The share of the variance over trials that its values explain, 0 to 1; absent where nothing can be said.
    pub share: Option<f64>,
    /// How often a key that means nothing would explain as much.
    pub p_value: Option<f64>,
    /// Groups of values that were compared.
    pub groups: usize,
}

/// The importance of each key, in their order, by the values and the score of each trial; none where there are too few trials.
pub fn importance(keys: &[Key], trials: &[(&Map<String, Json>, f64)]) -> Option<Vec<Importance>> {
    if trials.len() < FEWEST {
        return None;
    }
    let scores: Vec<f64> = trials.iter().map(|(_, score)| *score).collect();
    let of = |(number, key): (usize, &Key)| {
        let values: Vec<&Json> = trials.iter().filter_map(|(values, _)| values.get(&key.path)).collect();
        let groups = if values.len() == trials.len() { grouped(&values) } else { Vec::new() };
        let count = groups.iter().max().map_or(0, |last| last + 1);
        let share = share(&groups, &scores, count);
        let p_value = share.map(|share| chance(&groups, &scores, (count, share), number));
        Importance { path: key.path.clone(), share: share.map(|share| share.max(0.0)), p_value, groups: count }
    };
    Some(keys.iter().enumerate().map(of).collect())
}

/// The group of each value, from 0: one for each value where they are few or no numbers, else thirds of the numbers.
fn grouped(values: &[&Json]) -> Vec<usize> {
    let mut distinct: BTreeMap<String, usize> = BTreeMap::new();
    for value in values {
        let next = distinct.len();
        distinct.entry(value.to_string()).or_insert(next);
    }
    let numbers: Option<Vec<f64>> = values.iter().map(|value| value.as_f64()).collect();
    match numbers {
        Some(numbers) if distinct.len() > MOST_VALUES => {
            // Equal numbers are in one group: it follows from how many are smaller.
            let below = |number: f64| numbers.iter().filter(|other| **other < number).count();
            numbers.iter().map(|number| below(*number) * CUT / numbers.len()).collect()
        }
        _ => values.iter().map(|value| distinct[&value.to_string()]).collect(),
    }
}

/// Epsilon squared, which may be below 0; nothing where there are no groups to compare or no differences to explain.
fn share(groups: &[usize], scores: &[f64], count: usize) -> Option<f64> {
    let trials = scores.len();
    if count < 2 || trials <= count {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let squares = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let total = squares(scores);
    let within: f64 = (0..count)
        .map(|group| {
            let inside: Vec<f64> =
                scores.iter().zip(groups).filter(|(_, of)| **of == group).map(|(score, _)| *score).collect();
            squares(&inside)
        })
        .sum();
    (total > 0.0).then(|| 1.0 - (within / (trials - count) as f64) / (total / (trials - 1) as f64))
}

/// The share of permuted scores that the groups explain as much of.
fn chance(groups: &[usize], scores: &[f64], (count, found): (usize, f64), key: usize) -> f64 {
    let stream = Stream::new(0, Purpose::Resample);
    let as_much = (0..PERMUTATIONS)
        .filter(|permutation| {
            let mut rng = stream.at(key, *permutation);
            let mut shuffled = scores.to_vec();
            for last in (1..shuffled.len()).rev() {
                shuffled.swap(last, rng.random_range(0..=last));
            }
            // Sums in another order differ in the last bits.
            share(groups, &shuffled, count).is_some_and(|share| share >= found - 1e-12)
        })
        .count();
    (as_much + 1) as f64 / (PERMUTATIONS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(path: &str) -> Key {
        Key { path: path.into(), space: Json::Null }
    }

    /// A grid of a rate that matters, a kind that matters less, and a number that means nothing.
    fn trials() -> Vec<(Map<String, Json>, f64)> {
        let mut trials = Vec::new();
        for (place, rate) in [0.1, 0.01, 0.001].into_iter().enumerate() {
            for (bonus, kind) in ["a", "b"].into_iter().enumerate() {
                for nothing in 0..3 {
                    let values = json!({ "rate": rate, "kind": kind, "nothing": nothing });
                    let score =
                        0.9 + 0.03 * place as f64 + 0.01 * bonus as f64 + 0.001 * (nothing * nothing % 2) as f64;
                    trials.push((values.as_object().unwrap().clone(), score));
                }
            }
        }
        trials
    }

    #[test]
    fn what_matters_explains_more_than_what_does_not() {
        let trials = trials();
        let borrowed: Vec<_> = trials.iter().map(|(values, score)| (values, *score)).collect();
        let found = importance(&[key("rate"), key("kind"), key("nothing")], &borrowed).unwrap();
        let share = |place: usize| found[place].share.unwrap();
        assert!(share(0) > 0.9 && share(0) > share(1) && share(1) >= share(2), "{found:?}");
        assert!(found[0].p_value.unwrap() < 0.001 && found[2].p_value.unwrap() > 0.5, "{found:?}");
        assert_eq!((found[0].groups, found[1].groups), (3, 2));
        assert_eq!(importance(&[key("rate")], &borrowed[..FEWEST - 1]), None);
        // A key that some trials lack, one with a single value, and scores that are all the same say nothing.
        let level: Vec<_> = trials.iter().map(|(values, _)| (values, 0.5)).collect();
        for (keys, trials) in [([key("gone")], &borrowed), ([key("rate")], &level)] {
            assert_eq!(importance(&keys, trials).unwrap()[0].share, None);
        }
    }

    #[test]
    fn many_numbers_are_cut_into_thirds_and_equal_ones_stay_together() {
        let numbers: Vec<Json> = (0..9).map(Json::from).collect();
        assert_eq!(grouped(&numbers.iter().collect::<Vec<_>>()), [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        let numbers: Vec<Json> = [0, 0, 0, 0, 0, 1, 2, 3, 4, 5].map(Json::from).into();
        let groups = grouped(&numbers.iter().collect::<Vec<_>>());
        assert!(groups[..5].iter().all(|group| *group == 0) && groups[9] == 2, "{groups:?}");
    }
}
