//! What a set of seeds leaves on disk besides its runs, so that it can go on as a set: which seeds, of which experiment. Both
//! are written before the first run begins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Seeds;
use super::work::Task;
use crate::config::Experiment;
use crate::lifecycle::Run;
use crate::run::lock::RunLock;
use crate::run::{RunDir, RunRecord, Status, file};
use crate::{Error, Result};

/// The version of the layout of `seeds.json`.
const SCHEMA_VERSION: u32 = 1;

/// The seeds, in order; a folder with this file is a set.
const SEEDS: &str = "seeds.json";

/// The experiment, whose seed each run replaces. Not `config.toml`, which only a run has.
const EXPERIMENT: &str = "experiment.toml";

#[derive(Serialize, Deserialize)]
struct SeedsFile {
    schema_version: u32,
    seeds: Vec<u64>,
}

/// A set of seeds whose folder no other process uses.
pub(super) struct SeedSet {
    pub(super) folder: PathBuf,
    pub(super) seeds: Vec<u64>,
    _lock: RunLock,
}

/// Where the run of one seed stands.
pub(super) enum Place {
    /// It is finished: its summary.
    Done(Value),
    /// There is something to do.
    Left(Task),
}

/// Whether the folder at `path` is a set of seeds.
pub fn is_set(path: &Path) -> bool {
    path.join(SEEDS).is_file()
}

/// The runs of the set in `folder`, in the order of its seeds.
///
/// # Errors
/// When one of them is not finished, or the set cannot be read.
pub fn finished_runs(folder: &Path) -> Result<Vec<PathBuf>> {
    SeedSet::open(folder)?.finished()
}

impl SeedSet {
    /// Makes a folder of its own in `runs`, which no earlier set has, for `experiment` with these seeds.
    pub(super) fn create(runs: &Path, experiment: &Experiment, seeds: &Seeds) -> Result<Self> {
        let folder = new_folder(runs, &experiment.name)?;
        let lock = RunLock::acquire(&RunDir::at(folder.clone()))?;
        file::write_atomic(&folder.join(EXPERIMENT), experiment.to_toml().as_bytes())?;
        let seeds = SeedsFile { schema_version: SCHEMA_VERSION, seeds: seeds.0.clone() };
        let text = serde_json::to_string(&seeds)
            .map_err(|error| Error::failed(format!("cannot write {SEEDS}")).caused_by(error))?;
        file::write_atomic(&folder.join(SEEDS), format!("{text}\n").as_bytes())?;
        Ok(Self { folder, seeds: seeds.seeds, _lock: lock })
    }

    /// Opens the set in `folder`.
    ///
    /// # Errors
    /// When another process trains it, or its file is damaged or of a newer kiln.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let lock = RunLock::acquire(&RunDir::at(folder.to_owned()))?;
        let path = folder.join(SEEDS);
        let shown = path.display().to_string();
        let found: SeedsFile = serde_json::from_str(&file::read_text(&path)?)
            .map_err(|error| Error::usage(format!("`{shown}` is damaged")).caused_by(error))?;
        if found.schema_version > SCHEMA_VERSION {
            return Err(Error::usage(format!(
                "`{shown}` is of version {}, and this kiln knows versions up to {SCHEMA_VERSION}",
                found.schema_version
            ))
            .tip("update kiln"));
        }
        Ok(Self { folder: folder.to_owned(), seeds: found.seeds, _lock: lock })
    }

    /// The experiment.
    pub(super) fn experiment(&self) -> PathBuf {
        self.folder.join(EXPERIMENT)
    }

    /// Where the run of each seed stands, in the order of the seeds.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn places(&self) -> Result<Vec<(u64, Place)>> {
        let runs = self.runs()?;
        let place = |seed: u64| match runs.iter().find(|(_, record)| record.seed == seed) {
            Some((_, RunRecord { status: Status::Done, result: Some(summary), .. })) => Place::Done(summary.clone()),
            Some((path, _)) => Place::Left(Task { seed, words: vec!["resume".into(), path.clone()] }),
            None => Place::Left(self.begin(seed)),
        };
        Ok(self.seeds.iter().map(|seed| (*seed, place(*seed))).collect())
    }

    /// Its runs, in the order of the seeds.
    ///
    /// # Errors
    /// When one of them is not finished, or the folder cannot be read.
    fn finished(&self) -> Result<Vec<PathBuf>> {
        let runs = self.runs()?;
        let finished = |seed: &u64| {
            let found = runs.iter().find(|(_, record)| record.seed == *seed && record.status == Status::Done);
            found.map(|(path, _)| path.clone())
        };
        let found = self.seeds.iter().filter_map(finished).collect::<Vec<_>>();
        if found.len() < self.seeds.len() {
            let folder = self.folder.display();
            return Err(Error::usage(format!(
                "{} of the {} runs in `{folder}` are finished",
                found.len(),
                self.seeds.len()
            ))
            .tip(format!("finish the others: kiln resume {folder}")));
        }
        Ok(found)
    }

    /// The runs in the folder, a finished one before others of the same seed, then the newest.
    fn runs(&self) -> Result<Vec<(PathBuf, RunRecord)>> {
        let cannot = |error: io::Error| {
            Error::failed(format!("cannot read the folder `{}`", self.folder.display())).caused_by(error)
        };
        let mut runs = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            // A fork of one of the runs may lie here as well.
            let known = |record: &RunRecord| record.parent.is_none();
            if let Some(record) = Run::open(&path).ok().and_then(|run| run.record().ok()).filter(known) {
                runs.push((path, record));
            }
        }
        runs.sort_by_key(|(path, record)| (record.status != Status::Done, std::cmp::Reverse(path.clone())));
        Ok(runs)
    }

    /// A run from the beginning.
    fn begin(&self, seed: u64) -> Task {
        let words: [PathBuf; 6] = [
            "train".into(),
            self.experiment(),
            "--runs".into(),
            self.folder.clone(),
            "--seed".into(),
            seed.to_string().into(),
        ];
        Task { seed, words: words.into() }
    }
}

fn new_folder(runs: &Path, name: &str) -> Result<PathBuf> {
    let fail = |path: &Path, error: io::Error| {
        Error::failed(format!("cannot create the folder `{}`", path.display())).caused_by(error)
    };
    fs::create_dir_all(runs).map_err(|error| fail(runs, error))?;
    for number in 1.. {
        let folder = runs.join(format!("{name}-seeds-{number:04}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(&folder, error)),
        }
    }
    Err(Error::failed("there is no number left for a folder"))
}
