//! A sweep's file: an ordinary config with a `[sweep]` table, which says what is tried in place of some of its values. Read
//! and checked like a config, all problems at once; written out as a file that is read again.

mod read;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value as Json;

use super::document::{all, judge, patch, read_tree};
use super::sets::overlap;
use super::tree::{Node, Place, split};
use super::walk::{Located, shorten};
use super::write::inline;
use super::{Experiment, Origin};
use crate::Result;

/// The most trials of a sweep.
pub const MOST_TRIALS: usize = 1000;

/// What a sweep is asked for on the command line, besides its file and the changes by `--set`.
#[derive(Clone, Debug, Default)]
pub struct SweepAsked {
    /// Each `KEY=VALUES`: what to try for a key.
    pub over: Vec<String>,
    /// The seeds of each trial, in place of those of the file.
    pub seeds: Option<Vec<u64>>,
}

/// `[sweep]`: what is tried, and how the best is looked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepConfig {
    /// How trials are proposed.
    pub search: Search,
    /// How many there are; for a grid, as many as there are combinations.
    pub trials: usize,
    /// The seeds that each of them is trained with.
    pub seeds: Vec<u64>,
    /// The keys, and what is tried for each.
    pub over: Vec<(String, Space)>,
    /// Whether most of them are given up early.
    pub halving: Option<Halving>,
}

/// How trials are proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// Every combination of the choices.
    Grid,
    /// Drawn at random, each key for itself.
    Random,
    /// Tree-structured Parzen estimators (Bergstra et al., 2011): drawn where earlier trials were good.
    Tpe,
}

/// What is tried for a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// One of these values.
    Choices(Vec<Json>),
    /// A number between these, both included.
    Linear([f64; 2]),
    /// A number between these, evenly by its logarithm.
    Log([f64; 2]),
    /// A whole number between these, both included.
    Int([i64; 2]),
    /// A whole number between these, evenly by its logarithm.
    LogInt([i64; 2]),
}

/// Successive halving (Jamieson and Talwalkar, 2016): all trials are trained for a few epochs, the best go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Halving {
    /// The epochs of the first rung.
    pub first: usize,
    /// Of so many trials one goes on to the next rung, which is so many times as long.
    pub factor: usize,
}

/// A sweep that has been read and checked.
#[derive(Clone, Debug)]
pub struct SweepDocument {
    /// The config, with the values that nothing is tried in place of.
    pub experiment: Experiment,
    /// What is tried.
    pub sweep: SweepConfig,
    /// What should be known of how it was written.
    pub notices: Vec<String>,
}

impl SweepDocument {
    /// Reads a sweep: a config with a `[sweep]` table, or one without it and what is asked for, changed by `sets`.
    ///
    /// # Errors
    /// One usage error with every problem, each with its place and key.
    pub fn load(origin: &Origin, sets: &[String], asked: &SweepAsked) -> Result<Self> {
        let mut root = read_tree(origin)?;
        let mut notices = Vec::new();
        let problems = patch(&mut root, sets, &mut notices);
        let table = root.take("sweep");
        let judged = judge(&root, origin, problems);
        let mut options: Vec<String> = sets.iter().map(|set| format!("--set {}", shorten(set))).collect();
        let mut reader = read::Reader::new(table, asked, options.len());
        options.extend(asked.over.iter().map(|over| format!("--over {}", shorten(over))));
        let sweep = reader.sweep(judged.as_ref().ok());
        let mut problems = std::mem::take(&mut reader.problems);
        for (path, _) in &sweep.over {
            let is_same =
                |set: &&String| overlap(&split(set.split('=').next().unwrap_or_default().trim()), &split(path));
            if let Some(set) = sets.iter().find(is_same) {
                let message = format!("is set by `--set {}` as well; give one of them", shorten(set));
                problems.push(Located { place: reader.places.get(path).copied(), key: read::key_of(path), message });
            }
        }
        check_values(&root, origin, &sweep.over, &reader.places, (judged.as_ref().err(), &mut problems));
        match judged {
            Ok(mut experiment) if problems.is_empty() => {
                // The same validation images for every seed: otherwise their answers could not be compared.
                experiment.data.seed.get_or_insert(experiment.seed);
                Ok(Self { experiment, sweep, notices })
            }
            judged => {
                problems.splice(0..0, judged.err().unwrap_or_default());
                Err(all(origin, &options, problems))
            }
        }
    }

    /// The experiment with these values and this seed.
    ///
    /// # Errors
    /// When they give no config.
    pub fn trial(&self, values: &[(String, Json)], seed: u64) -> Result<Experiment> {
        let sets: Vec<String> = values.iter().map(|(key, value)| format!("{key}={}", inline(value))).collect();
        let text = Origin::Text("the sweep's config".into(), self.experiment.to_toml());
        Ok(Experiment { seed, ..Experiment::load(&text, &sets)? })
    }

    /// The complete file, which is read back as the same sweep.
    pub fn to_toml(&self) -> String {
        let SweepConfig { search, trials, seeds, over, halving } = &self.sweep;
        let mut text = self.experiment.to_toml();
        let _ = write!(text, "\n[sweep]\nsearch = \"{}\"\n", search.name());
        if *search != Search::Grid {
            let _ = writeln!(text, "trials = {trials}");
        }
        let _ = writeln!(text, "seeds = {seeds:?}\n\n[sweep.over]");
        for (key, space) in over {
            let _ = writeln!(text, "\"{key}\" = {}", space.to_toml());
        }
        if let Some(Halving { first, factor }) = halving {
            let _ = write!(text, "\n[sweep.halving]\nfirst = {first}\nfactor = {factor}\n");
        }
        text
    }
}

impl Search {
    /// What a file calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random => "random",
            Self::Tpe => "tpe",
        }
    }
}

impl Space {
    fn to_toml(&self) -> String {
        match self {
            Self::Choices(values) => inline(&Json::Array(values.clone())),
            Self::Linear([low, high]) => format!("{{ linear = [{low:?}, {high:?}] }}"),
            Self::Log([low, high]) => format!("{{ log = [{low:?}, {high:?}] }}"),
            Self::Int([low, high]) => format!("{{ int = [{low}, {high}] }}"),
            Self::LogInt([low, high]) => format!("{{ log_int = [{low}, {high}] }}"),
        }
    }

    /// Values that tell whether all of them can be used: every choice, or both ends.
    fn samples(&self) -> Vec<Json> {
        match self {
            Self::Choices(values) => values.clone(),
            Self::Linear(ends) | Self::Log(ends) => ends.map(Json::from).into(),
            Self::Int(ends) | Self::LogInt(ends) => ends.map(Json::from).into(),
        }
    }
}

/// Adds what is wrong with each value that may be tried, but for what is wrong without it.
fn check_values(
    root: &Node,
    origin: &Origin,
    over: &[(String, Space)],
    places: &BTreeMap<String, Place>,
    (known, problems): (Option<&Vec<Located>>, &mut Vec<Located>),
) {
    let known: BTreeSet<(&str, &str)> =
        known.into_iter().flatten().map(|problem| (&*problem.key, &*problem.message)).collect();
    for (path, space) in over {
        // Of one with which something is wrong already, nothing more is said.
        if problems.iter().any(|problem| problem.key == read::key_of(path)) {
            continue;
        }
        let mut said = BTreeSet::new();
        for value in space.samples() {
            let mut changed = root.clone();
            let shown = inline(&value);
            let found = patch(&mut changed, &[format!("{path}={shown}")], &mut Vec::new());
            for problem in judge(&changed, origin, found).err().unwrap_or_default() {
                let is_known = known.contains(&(&*problem.key, &*problem.message));
                if is_known || !said.insert((problem.key.clone(), problem.message.clone())) {
                    continue;
                }
                let message = if problem.key == *path || split(&problem.key) == split(path) {
                    problem.message
                } else {
                    format!("with {}, `{}`: {}", shorten(&shown), problem.key, problem.message)
                };
                problems.push(Located { place: places.get(path).copied(), key: read::key_of(path), message });
            }
        }
    }
}

#[cfg(test)]
mod tests;
