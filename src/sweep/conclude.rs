//! The end of a sweep: the ranking, the verdict by the validation answers, and the winner measured on the test images.

use serde_json::{Map, Value as Json};

use super::folder::{RunResult, SweepFolder};
use super::halving::{Score, compared};
use super::result::{Cost, Key, RunRow, SCHEMA_VERSION, SweepResult, TestFigures, TrialRow, label};
use super::search::Trial;
use super::state::State;
use crate::compare::{Answers, Arm, Comparison, over_seeds};
use crate::data;
use crate::device;
use crate::eval::evaluate;
use crate::predict::Predictor;
use crate::{Error, Result};

/// Concludes a sweep in which nothing is left to do, and writes its `result.json`.
///
/// # Errors
/// When a file is damaged or cannot be written, or the winner cannot be measured.
pub fn conclude(state: &State) -> Result<SweepResult> {
    let result = outcome(state, true)?;
    state.folder.keep_result(&result)?;
    Ok(result)
}

impl State {
    /// The ranking so far, without a winner unless the sweep is over.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn so_far(&self) -> Result<SweepResult> {
        outcome(self, false)
    }
}

fn outcome(state: &State, is_over: bool) -> Result<SweepResult> {
    let sweep = &state.document.sweep;
    let trials = state.trials()?;
    let mut rows: Vec<TrialRow> = trials.iter().map(|trial| row(state, trial)).collect();
    rows.sort_by(|a, b| {
        let score = |row: &TrialRow| Some(Score { accuracy: row.validation_accuracy?, loss: row.validation_loss? });
        let failed = a.error.is_some().cmp(&b.error.is_some());
        failed.then(b.rung.cmp(&a.rung)).then(compared(score(a), score(b))).then(a.trial.cmp(&b.trial))
    });
    let winner = rows.first().filter(|row| is_over && row.is_complete).map(|row| row.trial);
    let finalists: Vec<&TrialRow> = rows.iter().filter(|row| row.is_complete).collect();
    let arms = finalists.iter().filter(|_| winner.is_some()).map(|row| arm(state, row)).collect::<Result<Vec<_>>>()?;
    let validation_images = state.document.experiment.data.validation;
    let comparison = if arms.len() > 1 { Some(Comparison::of_first(&arms, 0)?) } else { None };
    let test = match winner {
        Some(winner) => Some(measure(state, winner)?),
        None => None,
    };
    let key = |(path, space): &(String, crate::config::Space)| Key {
        path: path.clone(),
        space: serde_json::to_value(space).unwrap_or_default(),
    };
    Ok(SweepResult {
        schema_version: SCHEMA_VERSION,
        name: state.folder.name(),
        search: sweep.search.name().into(),
        keys: sweep.over.iter().map(key).collect(),
        seeds: sweep.seeds.clone(),
        rungs: state.rungs.clone(),
        validation_images,
        cost: cost(state, &trials, &rows),
        trials: rows,
        winner,
        comparison,
        test,
    })
}

fn row(state: &State, trial: &Trial) -> TrialRow {
    let last = state.rungs.len() - 1;
    let seeds = &state.document.sweep.seeds;
    // What all of its runs have reached; what some have is not compared with others yet.
    let rung = (0..=last).rev().find(|rung| seeds.iter().all(|seed| state.at(trial.number, *seed, *rung).is_some()));
    let runs: Vec<RunRow> =
        seeds.iter().filter_map(|seed| Some(run(trial.number, *seed, newest(state, trial.number, *seed)?))).collect();
    let error = runs.iter().find_map(|run| run.error.clone());
    // What failed has come no further than where it failed.
    let failed_at = seeds.iter().filter_map(|seed| newest_rung(state, trial.number, *seed)).max();
    let rung = if error.is_some() { failed_at } else { rung };
    let score = rung.and_then(|rung| state.score(trial.number, rung).flatten());
    let accuracies: Vec<f64> = runs.iter().filter_map(|run| run.validation_accuracy).collect();
    let values: Map<String, Json> = trial.values.iter().cloned().collect();
    TrialRow {
        trial: trial.number,
        values,
        rung: rung.map_or(0, |rung| rung + 1),
        is_complete: rung == Some(last) && error.is_none(),
        epochs: runs.iter().map(|run| run.epochs).max().unwrap_or(0),
        validation_accuracy: score.map(|score| score.accuracy),
        validation_sd: score.filter(|_| seeds.len() > 1).and_then(|_| over_seeds(&accuracies)).map(|found| found.sd),
        validation_loss: score.map(|score| score.loss),
        seconds: runs.iter().map(|run| run.seconds).sum(),
        error,
        runs,
    }
}

fn newest(state: &State, trial: usize, seed: u64) -> Option<&RunResult> {
    state.results.range((trial, seed, 0)..=(trial, seed, usize::MAX)).next_back().map(|(_, result)| result)
}

fn newest_rung(state: &State, trial: usize, seed: u64) -> Option<usize> {
    state.results.range((trial, seed, 0)..=(trial, seed, usize::MAX)).next_back().map(|((.., rung), _)| *rung)
}

fn run(trial: usize, seed: u64, result: &RunResult) -> RunRow {
    RunRow {
        seed,
        run: SweepFolder::run(trial, seed),
        epochs: result.epochs,
        iterations: result.iterations,
        best_epoch: result.best_epoch,
        validation_accuracy: result.validation_accuracy,
        validation_loss: result.validation_loss,
        weights_sha256: result.weights_sha256.clone(),
        seconds: result.seconds,
        error: result.error.clone(),
    }
}

/// A trial's answers for the validation images, one model for each seed.
fn arm(state: &State, row: &TrialRow) -> Result<Arm> {
    let model = |seed: &u64| {
        let newest = state.results.range((row.trial, *seed, 0)..=(row.trial, *seed, usize::MAX)).next_back();
        let Some((key, _)) = newest else { return Err(Error::failed("a run has no result")) };
        let found = state.folder.answers(*key)?;
        let right = found.labels.iter().zip(&found.answers).map(|(label, answer)| label == answer);
        Ok(Answers { seed: Some(*seed), right: right.collect() })
    };
    let models = state.document.sweep.seeds.iter().map(model).collect::<Result<_>>()?;
    Ok(Arm { name: label(row.trial, &row.values), models })
}

/// The winner's models on the test images: the one look at them.
fn measure(state: &State, winner: usize) -> Result<TestFigures> {
    let experiment = &state.document.experiment;
    let dataset = data::open(&experiment.data, experiment.seed)?;
    let device = device::open(experiment.device.parse()?)?;
    let mut accuracies = Vec::new();
    for seed in &state.document.sweep.seeds {
        let model = state.folder.path().join(SweepFolder::run(winner, *seed)).join("model.bpk");
        let predictor = Predictor::open_on(&model, &device.device)?;
        accuracies.push(evaluate(&predictor, &dataset.test, |_| ())?.accuracy);
    }
    let figures = over_seeds(&accuracies).ok_or_else(|| Error::failed("the winner has no run"))?;
    let sd = (accuracies.len() > 1).then_some(figures.sd);
    Ok(TestFigures { images: dataset.test.len(), accuracies, mean: figures.mean, sd })
}

fn cost(state: &State, trials: &[Trial], rows: &[TrialRow]) -> Cost {
    let runs = || rows.iter().flat_map(|row| &row.runs);
    let own = |trial: &Trial| {
        let given = trial.values.iter().find(|(path, _)| path == "train.epochs").and_then(|(_, value)| value.as_u64());
        given.map_or(state.document.experiment.train.epochs, |epochs| epochs as usize)
    };
    Cost {
        epochs: runs().map(|run| run.epochs).sum(),
        full_epochs: trials.iter().map(own).sum::<usize>() * state.document.sweep.seeds.len(),
        iterations: runs().map(|run| run.iterations).sum(),
    }
}
