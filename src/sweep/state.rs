//! How far a sweep is, and what is to be done next: a function of its file and of what has been reached.

use super::folder::{Results, RunResult, SweepFolder};
use super::halving::{Score, promoted, rungs};
use super::search::{Trial, trials};
use crate::config::{Experiment, SweepDocument};
use crate::{Error, Result};

/// A sweep as it is known.
#[derive(Debug)]
pub struct State {
    /// Where it is.
    pub folder: SweepFolder,
    /// What is tried.
    pub document: SweepDocument,
    pub(super) results: Results,
    /// The epochs at whose ends the rungs are.
    pub(super) rungs: Vec<usize>,
}

/// A piece of work: one run, trained to the end of one rung.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The number of the trial, from 1.
    pub trial: usize,
    /// Its values.
    pub values: Vec<(String, serde_json::Value)>,
    /// The seed.
    pub seed: u64,
    /// The rung, from 0.
    pub rung: usize,
    /// The epoch to train to; past the end of a run: to its end.
    pub epoch: usize,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// What can be done now, by anyone and in any order.
    pub jobs: Vec<Job>,
    /// Whether nothing is left to do, now and later.
    pub is_over: bool,
}

impl State {
    /// A sweep in its folder, as far as it is.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn open(folder: SweepFolder) -> Result<Self> {
        let document = folder.document()?;
        let rungs = rungs(document.sweep.halving, document.experiment.train.epochs);
        let mut state = Self { folder, document, results: Results::new(), rungs };
        state.refresh()?;
        Ok(state)
    }

    /// Reads what was reached since the last look, and says what is to be done.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn refresh(&mut self) -> Result<Due> {
        loop {
            let due = self.due()?;
            let before = self.results.len();
            let runs: Vec<(usize, u64)> = due.jobs.iter().map(|job| (job.trial, job.seed)).collect();
            self.folder.read(&runs, self.rungs.len(), &mut self.results)?;
            // What came may make more known to look for.
            if self.results.len() == before {
                return Ok(due);
            }
        }
    }

    /// What each run has reached, in the order of trials, seeds and rungs: the rung from 1, and of how many.
    pub fn reached(&self) -> impl Iterator<Item = ((usize, u64, usize), &RunResult)> {
        self.results.iter().map(|((trial, seed, rung), result)| ((*trial, *seed, *rung), result))
    }

    /// The values of a trial that is known.
    ///
    /// # Errors
    /// When the trials cannot be told.
    pub fn values(&self, trial: usize) -> Result<Vec<(String, serde_json::Value)>> {
        let known = self.trials()?;
        let found = known.into_iter().find(|known| known.number == trial);
        found.map(|trial| trial.values).ok_or_else(|| Error::failed(format!("there is no trial {trial}")))
    }

    /// The experiment of a job.
    ///
    /// # Errors
    /// When its values give no config.
    pub fn experiment(&self, job: &Job) -> Result<Experiment> {
        self.document.trial(&job.values, job.seed)
    }

    /// The trials whose values give no config together, as far as they are known beforehand, and why.
    ///
    /// # Errors
    /// When the trials cannot be told.
    pub fn contradictions(document: &SweepDocument) -> Result<Vec<(usize, String)>> {
        let wrong = |trial: Trial| Some((trial.number, document.trial(&trial.values, 0).err()?.line()));
        Ok(trials(document, &|_| None)?.into_iter().filter_map(wrong).collect())
    }

    /// The epochs at whose ends the rungs are.
    pub fn rungs(&self) -> &[usize] {
        &self.rungs
    }

    pub(super) fn trials(&self) -> Result<Vec<Trial>> {
        trials(&self.document, &|number| self.score(number, self.rungs.len() - 1))
    }

    fn due(&self) -> Result<Due> {
        let trials = &self.trials()?;
        let factor = self.document.sweep.halving.map_or(1, |halving| halving.factor);
        let mut contenders: Vec<usize> = trials.iter().map(|trial| trial.number).collect();
        for (rung, epoch) in self.rungs.iter().enumerate() {
            let is_last = rung + 1 == self.rungs.len();
            let jobs = contenders.iter().flat_map(|&number| {
                let seeds = self.document.sweep.seeds.iter();
                let missing = seeds.filter(move |seed| self.at(number, **seed, rung).is_none());
                missing.map(move |seed| Job {
                    trial: number,
                    values: trials[number - 1].values.clone(),
                    seed: *seed,
                    rung,
                    epoch: if is_last { usize::MAX } else { *epoch },
                })
            });
            let jobs: Vec<Job> = jobs.collect();
            if !jobs.is_empty() {
                return Ok(Due { jobs, is_over: false });
            }
            if !is_last {
                let reached: Vec<(usize, Option<Score>)> =
                    contenders.iter().map(|number| (*number, self.score(*number, rung).flatten())).collect();
                contenders = promoted(&reached, factor);
            }
        }
        Ok(Due { jobs: Vec::new(), is_over: true })
    }

    /// What a run reached by the end of a rung. One that is done, or failed, has reached what it will for all later ones.
    pub(super) fn at(&self, trial: usize, seed: u64, rung: usize) -> Option<&RunResult> {
        let up_to = (trial, seed, 0)..=(trial, seed, rung);
        let ((.., found), result) = self.results.range(up_to).next_back()?;
        (*found == rung || result.is_done || result.error.is_some()).then_some(result)
    }

    /// The mean over the seeds: nothing while one is missing, and nothing inside when one failed.
    pub(super) fn score(&self, trial: usize, rung: usize) -> Option<Option<Score>> {
        let seeds = &self.document.sweep.seeds;
        let results: Vec<&RunResult> = seeds.iter().map(|seed| self.at(trial, *seed, rung)).collect::<Option<_>>()?;
        let mean = |of: fn(&RunResult) -> Option<f64>| -> Option<f64> {
            let values: Vec<f64> = results.iter().map(|result| of(result)).collect::<Option<_>>()?;
            Some(values.iter().sum::<f64>() / values.len() as f64)
        };
        let (accuracy, loss) = (mean(|result| result.validation_accuracy), mean(|result| result.validation_loss));
        Some(accuracy.zip(loss).map(|(accuracy, loss)| Score { accuracy, loss }))
    }
}
