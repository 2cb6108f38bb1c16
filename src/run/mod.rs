//! What a run leaves on disk: under which names, written how, and who may write. The files and nothing else: which of them
//! changes when is the business of [`lifecycle`](crate::lifecycle).
//!
//! ```text
//! runs/mnist-0007/
//!   lock             held while a process trains here; taken before anything is read or written
//!   config.toml      the resolved experiment, accepted back as a config
//!   run.json         what ran, where, on what, and how it ended
//!   checkpoints/     what a run is resumed from; each holds the whole truth about the run at that moment
//!   metrics.jsonl    one object per epoch
//!   progress.jsonl   one object every half second or more, for those who look on; nothing depends on it
//!   model.bpk        the artifact of the best epoch
//!   report.html      the finished run on one page
//!   curves.csv       the metrics once more, as a table
//!   tensorboard/     event files, where the config asks for them; one for each process that trained
//! ```

pub(crate) mod checkpoints;
pub(crate) mod events;
mod fault;
pub(crate) mod file;
pub(crate) mod lock;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod state;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use record::{MeasuredOn, RunRecord, Standing, Status};
pub use state::{EpochMetrics, MetricSums};

use crate::{Error, Result};
use lock::RunLock;

/// How the folders begin in which runs are made before they get their names.
const UNNAMED: &str = ".kiln-new-";

/// The paths of one run's directory.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
}

/// A run directory that is being made: under a name that no command sees, and locked.
#[derive(Debug)]
pub(crate) struct NewRun {
    /// Where its files are put.
    pub(crate) dir: RunDir,
    lock: Option<RunLock>,
}

impl RunDir {
    /// The directory at `path`, whatever is there.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens the directory of an earlier run.
    ///
    /// # Errors
    /// When `path` is not the directory of a run, which holds `run.json` or `config.toml`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let run = Self::at(path.to_owned());
        if run.config().is_file() || run.record().is_file() || run.checkpoints().is_dir() {
            return Ok(run);
        }
        let found = if path.is_dir() {
            "a folder with neither `run.json`, `config.toml` nor `checkpoints`"
        } else if path.exists() {
            "a file"
        } else {
            "nothing"
        };
        Err(Error::usage(format!("`{}` is not a run directory: found {found}", path.display()))
            .tip("give a directory that `kiln train` made, for example runs/mnist-0001"))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved experiment.
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// What ran and how it ended.
    pub(crate) fn record(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// One JSON object per epoch.
    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// How training goes inside its epochs.
    pub(crate) fn progress(&self) -> PathBuf {
        self.path.join("progress.jsonl")
    }

    /// The artifact of the best epoch.
    pub(crate) fn model(&self) -> PathBuf {
        self.path.join("model.bpk")
    }

    /// The run on one page.
    pub(crate) fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The metrics as comma-separated values.
    pub(crate) fn curves(&self) -> PathBuf {
        self.path.join("curves.csv")
    }

    /// The event files for TensorBoard.
    pub(crate) fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// The checkpoints.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The lock file.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Deletes what killed processes left half-written here.
    pub(crate) fn sweep(&self, _held: &RunLock) {
        file::sweep(&self.path);
    }
}

impl NewRun {
    /// Begins a run directory within `root`, which is made when missing. Those that killed processes began are deleted.
    ///
    /// # Errors
    /// When `root` cannot be written to.
    pub(crate) fn begin(root: &Path) -> Result<Self> {
        let make = || -> io::Result<PathBuf> {
            fs::create_dir_all(root)?;
            fault::point("create the run directory")?;
            let made = tempfile::Builder::new().prefix(UNNAMED).make_in(root, |path| fs::create_dir(path))?;
            Ok(made.into_temp_path().keep()?)
        };
        loop {
            let dir = RunDir::at(make().map_err(|error| cannot_create(root, error))?);
            fault::point("lock the run directory").map_err(|error| cannot_create(root, error))?;
            // Until it is locked, another process may take it for one that was left, and delete it.
            match RunLock::acquire(&dir) {
                Ok(lock) if dir.lock().is_file() => {
                    let new = Self { dir, lock: Some(lock) };
                    new.sweep_abandoned(root);
                    return Ok(new);
                }
                Err(error) if dir.path().is_dir() => return Err(error),
                _ => {}
            }
        }
    }

    /// Gives it its name in one step: `ROOT/NAME-0001`, or the next number that is free. It is a run from here on.
    ///
    /// # Errors
    /// When the directory cannot be renamed.
    pub(crate) fn finish(mut self, root: &Path, name: &str) -> Result<(RunDir, RunLock)> {
        file::sync_folder(self.dir.path()).map_err(|error| cannot_create(self.dir.path(), error))?;
        // From here on the directory that goes when anything fails is this one.
        self.dir = RunDir::at(give_number(self.dir.path(), root, name)?);
        file::sync_folder(root).map_err(|error| cannot_create(root, error))?;
        self.named()
    }

    /// Gives it exactly the name `path`, in one step. It is a run from here on.
    ///
    /// # Errors
    /// When something is there already, or the directory cannot be renamed.
    pub(crate) fn finish_at(mut self, path: &Path) -> Result<(RunDir, RunLock)> {
        let cannot = |error: io::Error| cannot_create(path, error);
        file::sync_folder(self.dir.path()).map_err(cannot)?;
        fault::point("name the run directory").map_err(cannot)?;
        if path.symlink_metadata().is_ok() {
            return Err(cannot(io::ErrorKind::AlreadyExists.into()));
        }
        fs::rename(self.dir.path(), path).map_err(cannot)?;
        self.dir = RunDir::at(path.to_owned());
        file::sync_folder(path.parent().unwrap_or(path)).map_err(cannot)?;
        self.named()
    }

    fn named(&mut self) -> Result<(RunDir, RunLock)> {
        match self.lock.take() {
            Some(lock) => Ok((self.dir.clone(), lock)),
            None => Err(Error::failed("a new run has lost its lock")),
        }
    }

    /// Deletes the unnamed directories in `root` whose makers are gone: a living one holds its lock.
    fn sweep_abandoned(&self, root: &Path) {
        let Ok(entries) = fs::read_dir(root) else { return };
        let unnamed = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(UNNAMED));
        for path in unnamed.map(|entry| entry.path()).filter(|path| path != self.dir.path()) {
            // The lock is held until the directory is gone, so that nobody begins to use it.
            if RunLock::is_held(&RunDir::at(path.clone())) {
                continue;
            }
            if let Ok(_lock) = RunLock::acquire(&RunDir::at(path.clone())) {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

impl Drop for NewRun {
    fn drop(&mut self) {
        // What never became a run is not left behind.
        if self.lock.is_some() {
            let _ = fs::remove_dir_all(self.dir.path());
        }
    }
}

/// Renames the directory `from` to `ROOT/NAME-0001`, or the next number that is free.
///
/// # Errors
/// When it cannot be renamed.
pub(crate) fn give_number(from: &Path, root: &Path, name: &str) -> Result<PathBuf> {
    let mut number = highest_number(root, name).saturating_add(1);
    loop {
        let path = root.join(format!("{name}-{number:04}"));
        fault::point("name the run directory").map_err(|error| cannot_create(&path, error))?;
        // An empty directory would be replaced without a word.
        let taken = path.symlink_metadata().is_ok();
        match if taken { Err(io::ErrorKind::AlreadyExists.into()) } else { fs::rename(from, &path) } {
            Ok(()) => return Ok(path),
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {
                number = number.saturating_add(1);
            }
            Err(error) => return Err(cannot_create(&path, error)),
        }
    }
}

fn cannot_create(path: &Path, error: io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let result = Error::usage(format!("cannot create the run directory `{}`", path.display())).caused_by(error);
    result.tip(if full { "the disk is full: free some space" } else { "choose another place with --runs DIR" })
}

/// The highest number N for which `ROOT/NAME-N` exists, or 0.
fn highest_number(root: &Path, name: &str) -> u32 {
    let Ok(entries) = fs::read_dir(root) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(name)?.strip_prefix('-')?.parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(root: &Path, name: &str) -> RunDir {
        NewRun::begin(root).unwrap().finish(root, name).unwrap().0
    }

    #[test]
    fn numbers_go_on_after_the_highest_and_never_reuse_a_directory() {
        let root = tempfile::tempdir().unwrap();
        assert!(create(root.path(), "a").path().ends_with("a-0001"));
        fs::create_dir(root.path().join("a-0007")).unwrap();
        fs::create_dir(root.path().join("a-b-0099")).unwrap();
        assert!(create(root.path(), "a").path().ends_with("a-0008"));
    }

    #[test]
    fn a_run_that_is_never_finished_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        drop(NewRun::begin(root.path()).unwrap());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_maker_left_goes_and_what_a_living_one_makes_stays() {
        let root = tempfile::tempdir().unwrap();
        let (dead, unlocked) = (root.path().join(".kiln-new-dead"), root.path().join(".kiln-new-unlocked"));
        for path in [&dead, &unlocked] {
            fs::create_dir(path).unwrap();
        }
        fs::write(dead.join("lock"), "4000000000\n").unwrap();
        let living = NewRun::begin(root.path()).unwrap();
        assert!(!dead.exists() && !unlocked.exists());
        let _second = NewRun::begin(root.path()).unwrap();
        assert!(living.dir.path().exists());
    }

    #[test]
    fn opening_something_else_says_what_was_found() {
        let root = tempfile::tempdir().unwrap();
        let error = RunDir::open(&root.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("found nothing"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
