//! The runs of a set as processes of their own: as many at a time as there are cores, one that fails takes no other with it,
//! and an interrupt lets each save.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cli::ui::{Mode, Ui};
use crate::train::observer::StopHandle;
use crate::{Error, Result};

/// What is to be done for one seed.
pub(super) struct Task {
    pub(super) seed: u64,
    /// The words after `kiln`.
    pub(super) words: Vec<PathBuf>,
}

/// How one run of the set ended.
pub(super) struct Ended {
    pub(super) seed: u64,
    pub(super) outcome: Result<Value>,
}

/// The runs under way, and those that are left.
#[derive(Default)]
struct Running {
    left: Vec<Task>,
    processes: Vec<u32>,
}

/// How many of `tasks` go on at a time.
pub(super) fn jobs(tasks: usize) -> usize {
    cores().min(tasks).max(1)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Does every task and tells `say` of each that ends. Says as well whether it was interrupted.
pub(super) fn all(tasks: Vec<Task>, mut say: impl FnMut(Ended)) -> bool {
    let jobs = jobs(tasks.len());
    let running = Arc::new(Mutex::new(Running { left: tasks.into_iter().rev().collect(), processes: Vec::new() }));
    let stop = forward_interrupts(&running);
    let (sender, ended) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, running) = (sender.clone(), &running);
            scope.spawn(move || work(running, &sender, cores() / jobs));
        }
        drop(sender);
        ended.into_iter().for_each(&mut say);
    });
    stop.is_stopped()
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
fn work(running: &Mutex<Running>, sender: &Sender<Ended>, threads: usize) {
    loop {
        let (seed, child) = {
            let mut running = locked(running);
            let Some(task) = running.left.pop() else { return };
            let child = command(&task, threads).and_then(|mut command| {
                command.spawn().map_err(|error| Error::failed("cannot start a run").caused_by(error))
            });
            running.processes.extend(child.as_ref().map(Child::id));
            (task.seed, child)
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
    // The run says as JSON what went wrong; one that was killed says nothing, or said it on stderr.
    let told = serde_json::from_slice::<Value>(&output.stdout).ok().and_then(|value| value.get("error").cloned());
    let of_json = told.as_ref().and_then(|error| error["message"].as_str());
    let said = of_json.or_else(|| text.lines().rev().find_map(|line| line.strip_prefix("error: ")));
    let said = said.unwrap_or("it ended without a word");
    let error = if output.status.code() == Some(130) { Error::interrupted(said) } else { Error::failed(said) };
    let told_tips = told.as_ref().and_then(|error| error["tips"].as_array()).into_iter().flatten();
    let tips: Vec<&str> = told_tips.filter_map(Value::as_str).collect();
    Err(tips.into_iter().fold(error, |error, tip| error.tip(tip)))
}

/// The process of one task, with its share of the threads.
fn command(task: &Task, threads: usize) -> Result<Command> {
    let program = crate::cli::program()?;
    let mut command = Command::new(program);
    command.args(&task.words).arg("--json");
    command.env("RAYON_NUM_THREADS", threads.max(1).to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C in a terminal goes to this process alone, which passes it on once.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}
