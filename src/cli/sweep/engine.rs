//! The engines that workers of a sweep are handed to, by their own commands. A worker is `kiln sweep work FOLDER`, whoever starts
//! it: it is asked to stop by SIGTERM or SIGINT, saves, and ends with 130; started again it goes on.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cli::quoted;
use crate::{Error, Result};

/// Seconds before a job's time limit at which SLURM asks it to stop: enough to save.
const NOTICE: u32 = 120;

/// Who starts the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// This process, on this machine
    Local,
    /// HyperQueue, by `hq submit`: it starts a worker again when the machine that it was on is lost
    Hyperqueue,
    /// SLURM, by `sbatch` as an array: a worker that is stopped at its time limit or preempted is queued again
    Slurm,
}

/// Workers to be started.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The program, `kiln`, as every machine finds it.
    pub program: PathBuf,
    /// The folder of the sweep, as every machine finds it.
    pub folder: PathBuf,
    /// The name of the sweep.
    pub name: String,
    /// How many workers.
    pub workers: usize,
    /// Threads of each.
    pub threads: usize,
    /// What else the engine's command is to be given.
    pub arguments: Vec<String>,
}

/// What an engine is called with: the words, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The command and its arguments.
    pub words: Vec<String>,
    /// Its standard input.
    pub input: String,
}

impl Submission {
    /// What `hq` is called with.
    pub fn hyperqueue(&self) -> Call {
        let logs = self.folder.join("engine");
        let mut words = self.words(&["hq", "submit", "--name", &self.name]);
        words.extend([
            format!("--array=1-{}", self.workers),
            format!("--cpus={}", self.threads),
            // How often its machine was lost is no fault of a worker's, which begins where the last one saved.
            "--crash-limit=unlimited".into(),
            format!("--stdout={}/hq-%{{JOB_ID}}_%{{TASK_ID}}.out", logs.display()),
            format!("--stderr={}/hq-%{{JOB_ID}}_%{{TASK_ID}}.err", logs.display()),
        ]);
        words.extend(self.arguments.iter().cloned());
        words.push("--".into());
        words.extend(self.worker());
        Call { words, input: String::new() }
    }

    /// What `sbatch` is called with.
    pub fn slurm(&self) -> Call {
        let logs = self.folder.join("engine");
        let mut words = self.words(&["sbatch", "--job-name", &self.name]);
        words.extend([
            format!("--array=1-{}", self.workers),
            format!("--cpus-per-task={}", self.threads),
            "--requeue".into(),
            format!("--signal=B:TERM@{NOTICE}"),
            "--open-mode=append".into(),
            format!("--output={}/slurm-%A_%a.log", logs.display()),
        ]);
        words.extend(self.arguments.iter().cloned());
        Call { words, input: self.script() }
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn worker(&self) -> Vec<String> {
        let threads = self.threads.to_string();
        let folder = self.folder.display().to_string();
        let program = self.program.display().to_string();
        self.words(&[&program, "sweep", "work", &folder, "--threads", &threads])
    }

    /// The batch script of one worker. The shell gets the signal, so it passes it on; `wait` returns when that happens.
    fn script(&self) -> String {
        let worker: Vec<String> = self.worker().iter().map(quoted).collect();
        format!(
            r#"#!/bin/sh
# A stop may come before there is a worker to pass it on to.
worker= stopped=
stop() {{ stopped=1; [ -z "$worker" ] || kill -TERM "$worker"; }}
trap stop TERM INT
{} &
worker=$!
[ -z "$stopped" ] || kill -TERM "$worker"
wait "$worker"; code=$?
while kill -0 "$worker" 2>/dev/null; do wait "$worker"; code=$?; done
# 130: it was stopped, and has saved. SLURM queues a job that it preempts by itself; one near its time limit has to ask, and
# one that was cancelled is not running any more and must not.
if [ "$code" = 130 ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"#,
            worker.join(" ")
        )
    }
}

impl Call {
    /// Calls the engine, and gives back what it says.
    ///
    /// # Errors
    /// When there is no such command, or it refuses.
    pub fn run(&self) -> Result<String> {
        let (name, arguments) = self.words.split_first().ok_or_else(|| Error::failed("there is no command to call"))?;
        let fail = |error: std::io::Error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let error = Error::usage(format!("cannot call `{name}`")).caused_by(error);
            if missing {
                error.tip(format!(
                    "install it, or have the workers started here: --engine local; `{name}` must be on the path"
                ))
            } else {
                error
            }
        };
        let mut child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        if let Some(mut input) = child.stdin.take() {
            // A command that reads nothing may have ended already; how it ended says the rest.
            let _ = input.write_all(self.input.as_bytes());
        }
        let output = child.wait_with_output().map_err(fail)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(Error::failed(format!("`{name}` refused the workers of the sweep"))
            .caused_by(text(&output.stderr))
            .tip("see what it was called with: --print; give it what it lacks after `--`"))
    }

    /// The call as a shell takes it.
    pub fn shown(&self) -> String {
        let words: Vec<String> = self.words.iter().map(quoted).collect();
        match self.input.is_empty() {
            true => words.join(" "),
            false => format!("{} <<'EOF'\n{}EOF", words.join(" "), self.input),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            program: "/opt/my kiln".into(),
            folder: "/net/it's/a-sweep-0001".into(),
            name: "a-sweep-0001".into(),
            workers: 3,
            threads: 2,
            arguments: vec!["--partition=gpu".into()],
        }
    }

    #[test]
    fn each_engine_is_asked_for_all_workers_at_once() {
        let words = submission().hyperqueue().words;
        assert_eq!(&words[..4], ["hq", "submit", "--name", "a-sweep-0001"]);
        assert!(words.contains(&"--array=1-3".into()) && words.contains(&"--cpus=2".into()));
        assert!(words.contains(&"--partition=gpu".into()));
        assert_eq!(
            &words[words.len() - 6..],
            ["/opt/my kiln", "sweep", "work", "/net/it's/a-sweep-0001", "--threads", "2"]
        );
        let call = submission().slurm();
        assert!(call.words.contains(&"--array=1-3".into()) && call.words.contains(&"--requeue".into()));
        assert!(
            call.input.contains(r"'/opt/my kiln' sweep work '/net/it'\''s/a-sweep-0001' --threads 2 &"),
            "{}",
            call.input
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_script_passes_a_stop_on_and_waits_until_the_worker_has_saved() {
        let folder = tempfile::tempdir().unwrap();
        let worker = folder.path().join("worker");
        std::fs::write(
            &worker,
            "#!/bin/sh\ntrap 'sleep 0.2; echo saved; exit 130' TERM\necho ready\nwhile true; do sleep 0.05; done\n",
        )
        .unwrap();
        Command::new("chmod").args(["755"]).arg(&worker).status().unwrap();
        let script = Submission { program: worker, ..submission() }.script();
        // SLURM's commands, as they are while a job runs.
        let stubs = "squeue() { echo RUNNING; }\nscontrol() { echo \"$*\"; }\nSLURM_JOB_ID=7\n";
        let path = folder.path().join("script");
        std::fs::write(&path, script.replacen('\n', &format!("\n{stubs}"), 1)).unwrap();
        let mut child = Command::new("sh").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
        assert_eq!(rest, "saved\nrequeue 7\n");
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }

    #[test]
    fn an_engine_that_is_not_there_is_named() {
        let call = Call { words: vec!["no-such-engine-here".into()], input: String::new() };
        let error = call.run().unwrap_err();
        assert!(error.to_string().contains("cannot call `no-such-engine-here`"), "{error}");
        assert!(error.tips()[0].contains("--engine local"));
    }
}
