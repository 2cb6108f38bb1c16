//! The run directory: where everything about one run is kept, under which names, and who may write to it.
//!
//! ```text
//! runs/mnist-0007/
//!   config.toml      the resolved experiment, accepted back as a config
//!   run.json         what ran, where, on what, and how it ended
//!   metrics.jsonl    one object per epoch
//!   model.bpk        the artifact of the best epoch
//!   checkpoints/     what a run is resumed from
//!   lock             held while a process trains here
//! ```

pub mod file;
pub mod lock;
pub mod record;

use std::fs;
use std::path::{Path, PathBuf};

pub use record::{RunRecord, Status};

use crate::{Error, Result};

/// One run's directory. Creating one never reuses a directory that exists.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Creates `ROOT/NAME-0001`, or the next number that is free.
    ///
    /// # Errors
    /// When `root` cannot be written to.
    pub fn create(root: &Path, name: &str) -> Result<Self> {
        let cannot = |path: &Path, error: std::io::Error| {
            Error::usage(format!("cannot create the run directory `{}`", path.display()))
                .caused_by(error)
                .tip("choose another place with --runs DIR")
        };
        fs::create_dir_all(root).map_err(|error| cannot(root, error))?;
        let mut number = highest_number(root, name) + 1;
        loop {
            let path = root.join(format!("{name}-{number:04}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(cannot(&path, error)),
            }
        }
    }

    /// Opens the directory of an earlier run.
    ///
    /// # Errors
    /// When `path` is no run directory: it must hold `config.toml`.
    pub fn open(path: &Path) -> Result<Self> {
        let run = Self { path: path.to_owned() };
        if run.config().is_file() {
            return Ok(run);
        }
        let found = if path.is_dir() {
            "a folder without `config.toml`"
        } else if path.exists() {
            "a file"
        } else {
            "nothing"
        };
        Err(Error::usage(format!("`{}` is no run directory: found {found}", path.display()))
            .tip("give a directory that `kiln train` made, for example runs/mnist-0001"))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved experiment.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// What ran and how it ended.
    pub fn record(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// One JSON object per epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The artifact of the best epoch.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.bpk")
    }

    /// The checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The lock file.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
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

    #[test]
    fn numbers_go_on_after_the_highest_and_never_reuse_a_directory() {
        let root = tempfile::tempdir().unwrap();
        assert!(RunDir::create(root.path(), "a").unwrap().path().ends_with("a-0001"));
        fs::create_dir(root.path().join("a-0007")).unwrap();
        fs::create_dir(root.path().join("a-b-0099")).unwrap();
        assert!(RunDir::create(root.path(), "a").unwrap().path().ends_with("a-0008"));
    }

    #[test]
    fn opening_something_else_says_what_was_found() {
        let root = tempfile::tempdir().unwrap();
        let error = RunDir::open(&root.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("found nothing"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
