//! Workers at work on a sweep in this process, and a line for every run that ends, whoever trained it.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::super::ui::Ui;
use super::{WorkerArguments, page, tell};
use crate::device::Opened;
use crate::report::SweepColumns;
use crate::sweep::{State, Stop, SweepFolder, Worker};
use crate::{Error, Result};

/// How often the results are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How many workers there are, and how many threads they may use together.
#[derive(Clone, Copy, Debug)]
pub struct Team {
    workers: usize,
    threads: usize,
}

impl Team {
    /// As many as are asked for, or as there are cores, which they share; on a GPU, which has no shares, one.
    pub fn of(arguments: WorkerArguments, device: &Opened) -> Self {
        let most = if device.backend.is_cpu() { cores() } else { 1 };
        Self { workers: arguments.workers.map_or(most, usize::from), threads: cores() }
    }

    /// One, with so many threads, or as many as there are cores.
    pub fn alone(threads: Option<usize>) -> Self {
        Self { workers: 1, threads: threads.unwrap_or_else(cores) }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Works until nothing is left to do, and says what came of it.
pub fn work(folder: &SweepFolder, team: Team, ui: &Ui) -> Result<()> {
    if let Some(result) = folder.result()? {
        return tell(folder, &result, ui);
    }
    let program = crate::cli::program()?;
    let mut state = State::open(folder.clone())?;
    let mut told: BTreeSet<(usize, u64, usize)> = state.reached().map(|(key, _)| key).collect();
    if !told.is_empty() {
        ui.say(&format!("done already   {} results", told.len()));
    }
    let keys = state.document.sweep.over.iter().map(|(path, _)| &**path);
    let columns = SweepColumns::new(keys, state.document.sweep.seeds.len() > 1);
    ui.say("");
    ui.aside(&columns.heading());
    let stop = stop_on_interrupt();
    let worker =
        Worker { folder: folder.clone(), program, workers: team.workers, threads: team.threads, stop: stop.clone() };
    let ended: Vec<Result<bool>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..team.workers).map(|_| scope.spawn(|| worker.work())).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            // What cannot be read is said by the workers.
            let _ = tell_new(&mut state, &columns, &mut told, ui);
            thread::sleep(LOOK);
        }
        let lost = |_| Err(Error::failed("a worker was stopped by a panic"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(lost)).collect()
    });
    tell_new(&mut state, &columns, &mut told, ui)?;
    if let Some(result) = folder.result()? {
        let written = page::write(folder, &result);
        tell(folder, &result, ui)?;
        match written {
            Ok(path) => ui.say(&format!("report         {} (open it in a browser)", path.display())),
            Err(error) => ui.warn(&format!("the page could not be written: {}", error.line())),
        }
        return Ok(());
    }
    let path = crate::cli::quoted(folder.path());
    let go_on = format!("go on where it stopped: kiln sweep resume {path}");
    if let Some(error) = ended.into_iter().find_map(Result::err) {
        return Err(error.tip(go_on));
    }
    Err(Error::interrupted(format!("stopped with {} results", told.len())).tip(go_on))
}

/// A line for each result that is new.
fn tell_new(
    state: &mut State,
    columns: &SweepColumns,
    told: &mut BTreeSet<(usize, u64, usize)>,
    ui: &Ui,
) -> Result<()> {
    state.refresh()?;
    for (key, result) in state.reached() {
        if told.insert(key) {
            let (trial, seed, _) = key;
            let values = state.values(trial)?;
            let whole = state.document.trial(&values, seed).map_or(0, |experiment| experiment.train.epochs);
            ui.say(&columns.line((trial, seed), &values, whole, result));
        }
    }
    Ok(())
}

/// The first interrupt lets each run finish its iteration and save, the second leaves at once.
fn stop_on_interrupt() -> Stop {
    let stop = Stop::default();
    let of_handler = stop.clone();
    // A handler that cannot be installed leaves the system's own: the process ends, the checkpoints remain.
    let _ = ctrlc::set_handler(move || {
        if of_handler.is_stopped() {
            crate::cli::ui::leave();
        }
        of_handler.stop();
        let says = Ui::new(super::super::ui::Mode::Json);
        says.say("\nfinishing the iterations under way and saving; once more to leave at once");
    });
    stop
}
