//! Which values the trials try. A function of the file, and with `tpe` of what earlier trials reached: nothing is drawn that
//! depends on who asks or when.

use rand::RngExt as _;
use serde_json::Value as Json;
use tpe::density_estimation::DefaultEstimatorBuilder;
use tpe::{TpeOptimizer, TpeOptimizerBuilder};

use super::halving::{Score, ranked};
use super::space::{point, stretch, value};
use crate::config::{Search, Space, SweepDocument};
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// Trials that `tpe` proposes at a time, from all that is known of the generations before. The first is drawn at random.
const GENERATION: usize = 8;

/// The share of the earlier trials that `tpe` takes for good ones, as in Bergstra et al. (2013).
const GOOD: f64 = 0.25;

/// A value for each key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    /// From 1.
    pub(super) number: usize,
    /// By the keys' paths, in the order of the file.
    pub(super) values: Vec<(String, Json)>,
}

/// The trials that are known by now. `scores` says what a trial reached at its end: nothing yet, or a score, or that it
/// failed.
///
/// # Errors
/// When a range cannot be searched.
pub(super) fn trials(document: &SweepDocument, scores: &dyn Fn(usize) -> Option<Option<Score>>) -> Result<Vec<Trial>> {
    let sweep = &document.sweep;
    let points = match sweep.search {
        Search::Grid => return Ok(grid(&sweep.over)),
        Search::Random => (0..sweep.trials).map(|index| at_random(document, index)).collect(),
        Search::Tpe => by_tpe(document, scores)?,
    };
    let named = |(index, points): (usize, Vec<f64>)| {
        let values = sweep.over.iter().zip(points).map(|((path, space), at)| (path.clone(), value(space, at)));
        Trial { number: index + 1, values: values.collect() }
    };
    Ok(points.into_iter().enumerate().map(named).collect())
}

/// Every combination, the last key the fastest.
fn grid(over: &[(String, Space)]) -> Vec<Trial> {
    let mut all: Vec<Vec<(String, Json)>> = vec![Vec::new()];
    for (path, space) in over {
        let Space::Choices(values) = space else { continue };
        let with = |known: Vec<(String, Json)>| {
            values.iter().map(move |value| [&known[..], &[(path.clone(), value.clone())]].concat())
        };
        all = all.into_iter().flat_map(with).collect();
    }
    all.into_iter().enumerate().map(|(index, values)| Trial { number: index + 1, values }).collect()
}

fn at_random(document: &SweepDocument, index: usize) -> Vec<f64> {
    let mut rng = Stream::new(document.experiment.seed, Purpose::Sweep).at(0, index);
    let draw = |(_, space): &(String, Space)| {
        let ([start, end], share) = (stretch(space), rng.random::<f64>());
        (start + share * (end - start)).min(end.next_down())
    };
    document.sweep.over.iter().map(draw).collect()
}

/// Generation after generation, as far as the earlier ones are known.
fn by_tpe(document: &SweepDocument, scores: &dyn Fn(usize) -> Option<Option<Score>>) -> Result<Vec<Vec<f64>>> {
    let total = document.sweep.trials;
    let mut points: Vec<Vec<f64>> = (0..total.min(GENERATION)).map(|index| at_random(document, index)).collect();
    while points.len() < total {
        let known: Option<Vec<(usize, Option<Score>)>> =
            (1..=points.len()).map(|number| Some((number, scores(number)?))).collect();
        let Some(known) = known else { break };
        // Only their order counts: ties in accuracy are told apart by the loss, and what failed comes last.
        let order = ranked(&known);
        let generation = points.len() / GENERATION;
        let stream = Stream::new(document.experiment.seed, Purpose::Sweep);
        let mut optimizers =
            document.sweep.over.iter().map(|(_, space)| optimizer(space)).collect::<Result<Vec<_>>>()?;
        for (rank, number) in order.iter().enumerate() {
            for (optimizer, at) in optimizers.iter_mut().zip(&points[number - 1]) {
                optimizer.tell(*at, rank as f64).map_err(|error| cannot(&error))?;
            }
        }
        for index in points.len()..total.min(points.len() + GENERATION) {
            let mut rng = stream.at(generation, index);
            let mut proposed = Vec::new();
            for (optimizer, (_, space)) in optimizers.iter_mut().zip(&document.sweep.over) {
                let at = optimizer.ask(&mut rng).map_err(|error| cannot(&error))?;
                // What is trained is the value, which may be rounded.
                proposed.push(point(space, &value(space, at)));
            }
            points.push(proposed);
        }
    }
    Ok(points)
}

fn optimizer(space: &Space) -> Result<TpeOptimizer<DefaultEstimatorBuilder>> {
    let [start, end] = stretch(space);
    let range = tpe::range(start, end).map_err(|error| cannot(&error))?;
    let estimator = match space {
        Space::Choices(_) => tpe::histogram_estimator(),
        _ => tpe::parzen_estimator(),
    };
    TpeOptimizerBuilder::new().gamma(GOOD).build(estimator, range).map_err(|error| cannot(&error))
}

fn cannot(error: &dyn std::fmt::Display) -> Error {
    Error::failed("the next trials cannot be proposed").caused_by(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, SweepAsked};

    fn document(table: &str) -> SweepDocument {
        let text = format!("[data]\nvalidation = 50\n{table}");
        SweepDocument::load(&Origin::Text("test".into(), text), &[], &SweepAsked::default()).unwrap()
    }

    fn numbers(trials: &[Trial], key: usize) -> Vec<f64> {
        trials.iter().map(|trial| trial.values[key].1.as_f64().unwrap()).collect()
    }

    #[test]
    fn a_grid_has_every_combination_in_the_order_of_the_file() {
        let document =
            document("[sweep.over]\n\"train.batch_size\" = [50, 100]\n\"optimizer.learning_rate\" = [0.1, 0.2, 0.3]\n");
        let trials = trials(&document, &|_| None).unwrap();
        assert_eq!(numbers(&trials, 0), [50.0, 50.0, 50.0, 100.0, 100.0, 100.0]);
        assert_eq!(numbers(&trials, 1), [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]);
        assert_eq!(trials[5].number, 6);
    }

    #[test]
    fn random_trials_follow_from_the_seed_and_spread_over_the_decades() {
        let document = document(
            "[sweep]\nsearch = \"random\"\ntrials = 300\n[sweep.over]\n\"optimizer.learning_rate\" = { log = [1e-4, 1e-1] }\n",
        );
        let found = trials(&document, &|_| None).unwrap();
        assert_eq!(found, trials(&document, &|_| None).unwrap());
        let rates = numbers(&found, 0);
        assert!(rates.iter().all(|rate| (1e-4..=1e-1).contains(rate)));
        for decade in [1e-4, 1e-3, 1e-2] {
            let inside = rates.iter().filter(|rate| (decade..decade * 10.0).contains(*rate)).count();
            assert!((70..130).contains(&inside), "{inside} from {decade} on");
        }
    }

    #[test]
    fn tpe_proposes_by_generations_and_goes_where_it_was_good() {
        let document = document(
            "[sweep]\nsearch = \"tpe\"\ntrials = 60\n[sweep.over]\n\"optimizer.learning_rate\" = { log = [1e-4, 1e-1] }\n\"train.batch_size\" = [50, 100]\n",
        );
        // Good are rates near 0.01 with batches of 100.
        let quality = |trial: &Trial| {
            let (rate, size) = (trial.values[0].1.as_f64().unwrap(), trial.values[1].1.as_f64().unwrap());
            Score { accuracy: -(rate.log10() + 2.0).abs() - if size < 75.0 { 0.5 } else { 0.0 }, loss: 0.0 }
        };
        let mut known: Vec<Trial> = Vec::new();
        loop {
            let before = known.len();
            let scores = |number: usize| {
                let trial = known.get(number - 1)?;
                Some((number != 5).then(|| quality(trial)))
            };
            let next = trials(&document, &scores).unwrap();
            assert_eq!(next, trials(&document, &scores).unwrap());
            assert_eq!(next[..before], known[..], "a proposal is never taken back");
            if next.len() == before {
                break;
            }
            assert!(next.len() == before + GENERATION || next.len() == 60);
            known = next;
        }
        assert_eq!(known.len(), 60);
        let far = |trials: &[Trial]| {
            numbers(trials, 0).iter().map(|rate| (rate.log10() + 2.0).abs()).sum::<f64>() / trials.len() as f64
        };
        assert!(far(&known[40..]) < 0.6 * far(&known[..20]), "{} {}", far(&known[40..]), far(&known[..20]));
        assert!(numbers(&known[40..], 1).iter().filter(|size| **size == 100.0).count() > 12);
    }
}
