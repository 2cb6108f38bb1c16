//! `kiln train --seeds`: the same config once for each seed, as many at a time as there are cores; and `kiln resume` of such a
//! set. Each run is a run like any other.

mod set;
mod work;

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use serde_json::{Value, json};

use super::train::{self, DisplayArguments, Interface};
use super::ui::{Mode, Ui};
use super::{ExperimentArguments, quoted};
use crate::compare::over_seeds;
use crate::config::Experiment;
use crate::config::document::Origin;
use crate::lifecycle::Trainer;
use crate::report::duration;
use crate::{Error, Result};
use set::{Place, SeedSet};
pub use set::{finished_runs, is_set};
use work::Ended;

/// The most seeds in one set.
const MOST: usize = 1000;

/// The seeds of a set of runs: a number of them, from 1, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(Vec<u64>);

impl Seeds {
    /// Them, in their order.
    pub fn numbers(&self) -> &[u64] {
        &self.0
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |part: &str| {
            part.trim()
                .parse::<u64>()
                .map_err(|_| format!("must be a number of seeds or a list like 1,2,7, got `{text}`"))
        };
        let seeds = match text.contains(',') {
            true => {
                text.split(',').filter(|part| !part.trim().is_empty()).map(number).collect::<Result<Vec<_>, _>>()?
            }
            false => (1..=number(text)?.min(MOST as u64 + 1)).collect(),
        };
        if seeds.is_empty() || seeds.len() > MOST {
            return Err(format!("must be 1 to {MOST} seeds, got `{text}`"));
        }
        if seeds.iter().collect::<BTreeSet<_>>().len() < seeds.len() {
            return Err(format!("must name each seed once, got `{text}`"));
        }
        Ok(Self(seeds))
    }
}

/// Trains once for each seed and says what came of all.
pub fn run(
    seeds: &Seeds,
    experiment: &ExperimentArguments,
    runs: &Path,
    display: &DisplayArguments,
    ui: &Ui,
) -> Result<()> {
    // Whatever is wrong with the config, the data or the device is said once, before anything begins.
    let trainer = Trainer::new(experiment.load(ui)?)?;
    let set = SeedSet::create(runs, trainer.experiment(), seeds)?;
    begin(&set, trainer, display, ui)
}

/// Goes on with the set in `folder`: with every run of it that stopped, and those that never began.
pub fn resume(folder: &Path, display: &DisplayArguments, ui: &Ui) -> Result<()> {
    if display.ui != Interface::Lines {
        return Err(Error::usage("the dashboard shows one run, and this is a set of them").tip("leave out --ui tui"));
    }
    let set = SeedSet::open(folder)?;
    let trainer = Trainer::new(Experiment::load(&Origin::Run(set.experiment()), &[])?)?;
    begin(&set, trainer, display, ui)
}

/// Does what is left of `set`, whose experiment `trainer` has, and says what came of all of it.
fn begin(set: &SeedSet, trainer: Trainer, display: &DisplayArguments, ui: &Ui) -> Result<()> {
    ui.lines(&trainer.plan().render());
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    drop(trainer);
    let (mut outcomes, mut tasks) = (Vec::new(), Vec::new());
    for (seed, place) in set.places()? {
        match place {
            Place::Done(summary) => outcomes.push(Ended { seed, outcome: Ok(summary) }),
            Place::Left(task) => tasks.push(task),
        }
    }
    let done = match outcomes.len() {
        0 => String::new(),
        done => format!(" ({done} of {} are finished)", set.seeds.len()),
    };
    let jobs = work::jobs(tasks.len());
    let folder = set.folder.display();
    ui.say(&format!("seeds          {} runs in {folder}, {jobs} at a time{done}", tasks.len()));
    let board = display.board.then(|| train::beside(&set.folder)).transpose()?;
    board.iter().for_each(|board| ui.say(&format!("board          http://{}/", board.address())));
    ui.say("");
    outcomes.iter().for_each(|one| say(one, ui));
    let interrupted = work::all(tasks, |one| {
        say(&one, ui);
        outcomes.push(one);
    });
    if let Some(board) = board {
        // One who looks and does not listen is not waited for.
        drop(board.stop());
    }
    outcomes.sort_by_key(|one| set.seeds.iter().position(|seed| *seed == one.seed));
    conclude(&outcomes, set, interrupted, display.require_accuracy, ui)
}

fn say(one: &Ended, ui: &Ui) {
    match &one.outcome {
        Ok(summary) => ui.say(&format!(
            "seed {:<9} {:.2} %  {}  {}",
            one.seed,
            accuracy(summary) * 100.0,
            duration(summary["train_seconds"].as_f64().unwrap_or(0.0)),
            summary["run_dir"].as_str().unwrap_or_default()
        )),
        Err(error) => ui.warn(&format!("seed {}: {}", one.seed, error.render().trim_start_matches("error: "))),
    }
}

fn accuracy(summary: &Value) -> f64 {
    summary["test_accuracy"].as_f64().unwrap_or(f64::NAN)
}

/// Mean, spread and what comes next; an error when a run is missing.
fn conclude(
    outcomes: &[Ended],
    set: &SeedSet,
    interrupted: bool,
    require_accuracy: Option<f64>,
    ui: &Ui,
) -> Result<()> {
    let folder = &set.folder;
    let done: Vec<(u64, &Value)> =
        outcomes.iter().filter_map(|one| Some((one.seed, one.outcome.as_ref().ok()?))).collect();
    let accuracies: Vec<f64> = done.iter().map(|(_, summary)| accuracy(summary)).collect();
    let figures = over_seeds(&accuracies);
    if let Some(figures) = &figures {
        let [low, high] = figures.interval.map(|end| end * 100.0);
        ui.say("");
        ui.heading(&format!(
            "test accuracy  {:.2} ± {:.2} % (mean ± sd over {} seeds; 95 % interval of the mean {low:.2} to {high:.2} %)",
            figures.mean * 100.0,
            figures.sd * 100.0,
            done.len()
        ));
        ui.aside(&format!("next           kiln compare {} OTHER", quoted(folder)));
    }
    match ui.mode() {
        Mode::Json => ui.json(&json!({
            "folder": folder,
            "seeds": done.iter().map(|(seed, _)| seed).collect::<Vec<_>>(),
            "test_accuracies": accuracies,
            "mean": figures.as_ref().map(|figures| figures.mean),
            "sd": figures.as_ref().map(|figures| figures.sd),
            "interval": figures.as_ref().map(|figures| figures.interval),
            "runs": done.iter().map(|(_, summary)| summary).collect::<Vec<_>>(),
        })),
        Mode::Quiet => ui.out(&folder.display().to_string()),
        Mode::Text => {}
    }
    let missing = set.seeds.len() - done.len();
    let go_on = format!("go on with all of them: kiln resume {}", quoted(folder));
    if interrupted {
        return Err(
            Error::interrupted(format!("stopped: {} of {} runs are finished", done.len(), set.seeds.len())).tip(go_on)
        );
    }
    if missing > 0 {
        return Err(Error::failed(format!(
            "{missing} of {} runs failed; the figures are of the others",
            set.seeds.len()
        ))
        .tip(go_on));
    }
    train::check_accuracy(figures.map_or(f64::NAN, |figures| figures.mean), require_accuracy)
}

#[cfg(test)]
mod tests {
    use super::Seeds;

    #[test]
    fn seeds_are_a_number_or_a_list() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("3"), Ok(vec![1, 2, 3]));
        assert_eq!(seeds("7, 1,"), Ok(vec![7, 1]));
        assert_eq!(seeds("0").unwrap_err(), "must be 1 to 1000 seeds, got `0`");
        assert_eq!(seeds("18446744073709551615").unwrap_err(), "must be 1 to 1000 seeds, got `18446744073709551615`");
        assert_eq!(seeds("1,1").unwrap_err(), "must name each seed once, got `1,1`");
        assert!(seeds("-1").is_err() && seeds("1,x").is_err() && seeds(",").is_err() && seeds("").is_err());
    }
}
