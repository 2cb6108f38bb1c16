//! A worker: finds something to do, claims it, has it trained in a process of its own, and writes down what it reached, until
//! nothing is left. Whatever happens to the process that trains is a row of the sweep, not its end.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{Claim, PATIENCE, Watch};
use super::conclude::conclude;
use super::folder::{Answers, RunResult, SweepFolder};
use super::state::{Job, State};
use crate::run::file;
use crate::{Error, Result};

/// How often a worker looks whether the process that trains has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long a worker that finds nothing to do waits at first, and at most.
const WAIT: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// Lets a worker stop in good order.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the process that trains a trial prints when it ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutput {
    /// It has come to the end of its rung.
    Reached {
        /// What it reached.
        result: RunResult,
        /// The label of each validation image.
        labels: Vec<usize>,
        /// What the model took it for.
        answers: Vec<usize>,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
        /// Epochs done before.
        epochs: usize,
        /// Iterations done before.
        iterations: usize,
    },
    /// It was stopped, and has saved.
    Stopped,
}

/// Works on a sweep.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The sweep.
    pub folder: SweepFolder,
    /// The program that trains a trial: `PROGRAM sweep trial …`.
    pub program: PathBuf,
    /// How many work in this process at a time.
    pub workers: usize,
    /// Threads that they may use together. What a trial computes does not depend on their number.
    pub threads: usize,
    /// Stops it.
    pub stop: Stop,
}

/// How the process that trained ended.
enum Ended {
    Output(TrialOutput),
    /// By a signal, which this says.
    Killed(String),
}

impl Worker {
    /// Works until nothing is left to do, and concludes; says whether it came to that.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn work(&self) -> Result<bool> {
        let mut state = State::open(self.folder.clone())?;
        let mut watch = Watch::new(PATIENCE);
        let mut wait = WAIT[0];
        while !self.stop.is_stopped() {
            let due = state.refresh()?;
            if due.is_over {
                if self.folder.result()?.is_some() {
                    return Ok(true);
                }
                if let Some(_claim) = watch.take(&self.folder.conclusion())? {
                    conclude(&state)?;
                    return Ok(true);
                }
            } else if self.take_one(&state, &due.jobs, &mut watch)? {
                wait = WAIT[0];
                continue;
            }
            // Another one is at work on all that there is.
            thread::sleep(wait);
            wait = (wait * 2).min(WAIT[1]);
        }
        Ok(false)
    }

    /// Does the first job that nobody does; says whether there was one.
    fn take_one(&self, state: &State, jobs: &[Job], watch: &mut Watch) -> Result<bool> {
        for job in jobs {
            let Some(claim) = watch.take(&self.folder.job(job.trial, job.seed))? else { continue };
            // It may have been done between the look and the claim.
            let mut results = Default::default();
            self.folder.read(&[(job.trial, job.seed)], job.rung + 1, &mut results)?;
            if !results.contains_key(&(job.trial, job.seed, job.rung)) {
                // Where little is left to do, each trial gets more of the cores.
                let threads = (self.threads / self.workers.min(jobs.len())).max(1);
                self.train(state, (job, threads), &claim)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Trains one job and writes down what came of it, unless it was stopped or is no longer ours.
    fn train(&self, state: &State, (job, threads): (&Job, usize), claim: &Claim) -> Result<()> {
        let key = (job.trial, job.seed, job.rung);
        let experiment = match state.experiment(job) {
            Ok(experiment) => experiment,
            Err(error) => return self.folder.publish(key, &failed(error.line(), 0, 0), None),
        };
        let folder = self.folder.job(job.trial, job.seed);
        file::write_atomic(&folder.join("config.toml"), experiment.to_toml().as_bytes())?;
        let ended = self.train_apart(job, threads, claim)?;
        if !claim.is_ours() {
            return Ok(());
        }
        match ended {
            Ended::Output(TrialOutput::Stopped) => Ok(()),
            Ended::Output(TrialOutput::Reached { result, labels, answers }) => {
                self.folder.publish(key, &result, Some(&Answers { labels, answers }))
            }
            Ended::Output(TrialOutput::Failed { error, epochs, iterations }) => {
                self.folder.publish(key, &failed(error, epochs, iterations), None)
            }
            // The memory may have been short for a moment; who is killed twice would be again.
            Ended::Killed(how) => {
                let mark = folder.join(format!("killed-{}", job.rung + 1));
                if self.stop.is_stopped() {
                    return Ok(());
                }
                if mark.exists() {
                    return self.folder.publish(
                        key,
                        &failed(format!("its process was killed twice, {how}"), 0, 0),
                        None,
                    );
                }
                file::write_atomic(&mark, how.as_bytes())
            }
        }
    }

    /// Trains in a process of its own, which stops and saves when this one stops, loses its claim, or dies.
    fn train_apart(&self, job: &Job, threads: usize, claim: &Claim) -> Result<Ended> {
        let mut child = self.start(job, threads)?;
        let (mut input, output) = (child.stdin.take(), child.stdout.take());
        let reading = thread::spawn(move || {
            let mut text = String::new();
            let read = output.map(|mut output| output.read_to_string(&mut text));
            read.is_some_and(|read| read.is_ok()).then_some(text)
        });
        let status = loop {
            let waited = child.try_wait();
            if let Some(status) = waited.map_err(|error| cannot("wait for a trial", error))? {
                break status;
            }
            if self.stop.is_stopped() || claim.is_lost() {
                drop(input.take());
            }
            thread::sleep(LOOK);
        };
        let text = reading.join().ok().flatten().unwrap_or_default();
        Ok(ended(status, &text))
    }

    fn start(&self, job: &Job, threads: usize) -> Result<Child> {
        let folder = self.folder.job(job.trial, job.seed);
        let run = self.folder.path().join(SweepFolder::run(job.trial, job.seed));
        if let Some(parent) = run.parent() {
            fs::create_dir_all(parent).map_err(|error| cannot("make the folder of a trial", error))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
        let log: File = log.map_err(|error| cannot("open the log of a trial", error))?;
        let mut command = Command::new(&self.program);
        command.args(["sweep", "trial"]).arg(folder.join("config.toml")).arg(run);
        command.args(["--epoch", &job.epoch.to_string()]);
        command.env("RAYON_NUM_THREADS", threads.to_string()).env("NO_COLOR", "1");
        // It ends when its input does, which this process holds.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        command.spawn().map_err(|error| cannot("start a trial", error))
    }
}

fn cannot(what: &str, error: std::io::Error) -> Error {
    Error::failed(format!("cannot {what}")).caused_by(error)
}

/// What a process that has ended says, by what it printed or by how it ended.
fn ended(status: ExitStatus, text: &str) -> Ended {
    if let Some(output) = text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        return Ended::Output(output);
    }
    match status.code() {
        // The user asked twice to leave at once.
        Some(130) => Ended::Output(TrialOutput::Stopped),
        Some(code) => {
            let error = format!("its process ended with {code} and without a word");
            Ended::Output(TrialOutput::Failed { error, epochs: 0, iterations: 0 })
        }
        None => Ended::Killed(format!("by {}; the memory may not be enough", signal(status))),
    }
}

fn signal(status: ExitStatus) -> String {
    #[cfg(unix)]
    let number = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let number: Option<i32> = None;
    match number {
        Some(number) => format!("signal {number}"),
        None => status.to_string(),
    }
}

fn failed(error: String, epochs: usize, iterations: usize) -> RunResult {
    RunResult {
        epochs,
        iterations,
        is_done: false,
        best_epoch: None,
        validation_accuracy: None,
        validation_loss: None,
        weights_sha256: None,
        seconds: 0.0,
        error: Some(error),
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::config::{Origin, SweepAsked, SweepDocument};

    /// A sweep of two trials whose program is this shell script.
    fn worker(folder: &Path, script: &str) -> Worker {
        let text =
            "[data]\nkind = \"synthetic\"\nvalidation = 50\n[sweep.over]\n\"optimizer.learning_rate\" = [0.1, 0.2]\n";
        let origin = Origin::Text("test".into(), text.into());
        let document = SweepDocument::load(&origin, &[], &SweepAsked::default()).unwrap();
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Worker {
            folder: SweepFolder::create(folder, &document).unwrap(),
            program,
            workers: 1,
            threads: 1,
            stop: Stop::default(),
        }
    }

    fn errors(worker: &Worker) -> Vec<String> {
        let result = worker.folder.result().unwrap().unwrap();
        assert_eq!(result.winner, None);
        result.trials.into_iter().map(|row| row.error.unwrap()).collect()
    }

    #[test]
    fn what_is_killed_is_tried_once_more_and_then_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(folder.path(), "echo called >> \"$(dirname \"$0\")/calls\"; kill -9 $$");
        assert!(worker.work().unwrap());
        assert_eq!(
            errors(&worker),
            ["its process was killed twice, by signal 9; the memory may not be enough"; 2].map(str::to_owned)
        );
        assert_eq!(fs::read_to_string(folder.path().join("calls")).unwrap().lines().count(), 4);
        assert!(worker.work().unwrap(), "what is over stays over");
    }

    #[test]
    fn what_ends_without_a_word_is_a_row_too() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(folder.path(), "exit 7");
        assert!(worker.work().unwrap());
        assert_eq!(errors(&worker), ["its process ended with 7 and without a word"; 2].map(str::to_owned));
    }

    #[test]
    fn a_worker_that_is_stopped_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        // It ends when its input does.
        let worker = worker(folder.path(), "cat > /dev/null; echo '\"stopped\"'");
        let stop = worker.stop.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            stop.stop();
        });
        assert!(!worker.work().unwrap());
        assert_eq!(State::open(worker.folder.clone()).unwrap().reached().count(), 0);
        assert!(Watch::new(PATIENCE).take(&worker.folder.job(1, 42)).unwrap().is_some(), "its claim is given back");
    }
}
