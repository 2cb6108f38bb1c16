//! `kiln train --seeds`: the same config once for each seed, as many at a time as there are cores. Each run is a process of
//! its own, so one that fails takes no other with it, and each can be resumed like any run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};

use super::ExperimentArguments;
use super::train::{self, DisplayArguments};
use super::ui::{Mode, Ui};
use crate::compare::over_seeds;
use crate::lifecycle::Trainer;
use crate::report::duration;
use crate::train::observer::StopHandle;
use crate::{Error, Result};

/// The most seeds in one set.
const MOST: usize = 1000;

/// The seeds of a set of runs: a number of them, from 1, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(Vec<u64>);

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

impl Seeds {
    /// Each of them.
    pub fn numbers(&self) -> &[u64] {
        &self.0
    }
}

/// How one run of the set ended.
struct Ended {
    seed: u64,
    outcome: Result<Value>,
}

/// The runs under way, and whether more are to begin.
#[derive(Default)]
struct Running {
    left: Vec<u64>,
    processes: Vec<u32>,
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
    ui.say(&trainer.plan().render());
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let folder = create(runs, &trainer.experiment().name)?;
    drop(trainer);
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = cores.min(seeds.0.len());
    ui.say(&format!("seeds          {} runs in {}, {jobs} at a time", seeds.0.len(), folder.display()));
    let board = display.board.then(|| train::beside(&folder)).transpose()?;
    board.iter().for_each(|board| ui.say(&format!("board          http://{}/", board.address())));
    ui.say("");

    let left = seeds.0.iter().rev().copied().collect();
    let running = Arc::new(Mutex::new(Running { left, processes: Vec::new() }));
    let stop = forward_interrupts(&running);
    let (sender, ended) = channel();
    let command = |seed: u64| command(experiment, &folder, seed, cores / jobs);
    let mut outcomes = Vec::new();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, running) = (sender.clone(), &running);
            scope.spawn(move || work(running, &sender, &command));
        }
        drop(sender);
        for one in ended {
            say(&one, ui);
            outcomes.push(one);
        }
    });
    if let Some(board) = board {
        // One who looks and does not listen is not waited for.
        drop(board.stop());
    }
    outcomes.sort_by_key(|one| seeds.0.iter().position(|seed| *seed == one.seed));
    conclude(&outcomes, &folder, stop.is_stopped(), display.require_accuracy, ui)
}

/// A folder of its own in `runs`, which no earlier set has.
fn create(runs: &Path, name: &str) -> Result<PathBuf> {
    let fail = |path: &Path, error: std::io::Error| {
        Error::failed(format!("cannot create the folder `{}`", path.display())).caused_by(error)
    };
    std::fs::create_dir_all(runs).map_err(|error| fail(runs, error))?;
    for number in 1.. {
        let folder = runs.join(format!("{name}-seeds-{number:04}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(&folder, error)),
        }
    }
    Err(Error::failed("there is no number left for a folder"))
}

/// The first interrupt lets each run finish its iteration and save, the second ends it at once; no further run begins.
fn forward_interrupts(running: &Arc<Mutex<Running>>) -> StopHandle {
    let (stop, running) = (StopHandle::new(), running.clone());
    let of_handler = stop.clone();
    let _ = ctrlc::set_handler(move || {
        of_handler.stop();
        let mut running = locked(&running);
        running.left.clear();
        Ui::new(Mode::Json).say("\nfinishing the iterations under way and saving; once more to leave at once");
        for process in &running.processes {
            terminate(*process);
        }
    });
    stop
}

fn locked(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks a process to end; where there are no signals it gets the terminal's own.
fn terminate(process: u32) {
    #[cfg(unix)]
    let _ = Command::new("kill").args(["-TERM", &process.to_string()]).stderr(Stdio::null()).status();
    #[cfg(not(unix))]
    let _ = process;
}

/// Begins one run after another until none is left.
fn work(running: &Mutex<Running>, sender: &Sender<Ended>, command: &(impl Fn(u64) -> Result<Command> + Sync)) {
    loop {
        let (seed, child) = {
            let mut running = locked(running);
            let Some(seed) = running.left.pop() else { return };
            let child = command(seed).and_then(|mut command| {
                command.spawn().map_err(|error| Error::failed("cannot start a run").caused_by(error))
            });
            running.processes.extend(child.as_ref().map(Child::id));
            (seed, child)
        };
        let outcome = child.and_then(|child| {
            let process = child.id();
            let output = child.wait_with_output();
            locked(running).processes.retain(|other| *other != process);
            finished(&output.map_err(|error| Error::failed("a run cannot be waited for").caused_by(error))?)
        });
        if sender.send(Ended { seed, outcome }).is_err() {
            return;
        }
    }
}

/// The summary that a run printed.
fn finished(output: &Output) -> Result<Value> {
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::failed("a run's summary cannot be read").caused_by(error));
    }
    let said = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it ended without a word");
    let error = if output.status.code() == Some(130) { Error::interrupted(said) } else { Error::failed(said) };
    let tips = text.lines().filter_map(|line| line.strip_prefix("tip: "));
    Err(tips.fold(error, |error, tip| error.tip(tip)))
}

/// `kiln train` for one seed, with its share of the threads.
fn command(experiment: &ExperimentArguments, folder: &Path, seed: u64, threads: usize) -> Result<Command> {
    let program = std::env::current_exe()
        .map_err(|error| Error::failed("the program does not know where it is").caused_by(error))?;
    let mut command = Command::new(program);
    command.arg("train").args(&experiment.config).arg("--runs").arg(folder).args([
        "--seed",
        &seed.to_string(),
        "--json",
    ]);
    command.args(experiment.sets.iter().flat_map(|set| ["--set", set]));
    command.args(experiment.device.iter().flat_map(|device| ["--device", device]));
    command.env("RAYON_NUM_THREADS", threads.max(1).to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C in a terminal goes to this process alone, which passes it on once.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
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
    folder: &Path,
    interrupted: bool,
    require_accuracy: Option<f64>,
    ui: &Ui,
) -> Result<()> {
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
        ui.aside(&format!("next           kiln compare {} OTHER", folder.display()));
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
    let missing = outcomes.iter().filter(|one| one.outcome.is_err()).count();
    if interrupted {
        return Err(Error::interrupted(format!("stopped: {} runs are finished", done.len()))
            .tip("`kiln resume RUN` goes on with each run that was stopped"));
    }
    if missing > 0 {
        return Err(Error::failed(format!(
            "{missing} of {} runs failed; the figures are of the others",
            outcomes.len()
        )));
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
