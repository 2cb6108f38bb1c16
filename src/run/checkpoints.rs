//! Checkpoints on disk. One checkpoint is a folder of files that counts only once its commit marker, which holds the
//! SHA-256 of each file, is on disk and the folder has been renamed to its final name; so a reader sees a whole
//! checkpoint or none. No name is ever given twice, so no checkpoint is deleted before its successor is safe.
//!
//! ```text
//! checkpoints/000001800/    after 1,800 iterations
//! checkpoints/000001800.1/  the same moment, saved again: with another config, or after a resume
//!   model.bpk  optimizer.bpk  schedule.bpk   Burn's records
//!   average.bpk                              the average of the weights, where there is one
//!   state.json                               where the run stands
//!   commit.json                              the SHA-256 of each of them
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::lock::RunLock;
use super::state::{self, TrainingState};
use super::{fault, file};
use crate::{Error, Result};

const STATE: &str = "state.json";
const COMMIT: &str = "commit.json";
const UNFINISHED: &str = ".unfinished-";

/// The version of a checkpoint's layout.
const SCHEMA_VERSION: u32 = 1;

/// Burn's records as bytes, by name: [`RECORDS`], and [`AVERAGE`] where there is one.
pub(crate) type Records = BTreeMap<&'static str, Vec<u8>>;

/// The records of one checkpoint: the network, the optimizer's moments, the schedule's counter.
pub(crate) const RECORDS: [&str; 3] = ["model.bpk", OPTIMIZER, "schedule.bpk"];

/// The name of the optimizer's record.
pub(crate) const OPTIMIZER: &str = "optimizer.bpk";

/// The name of the record of the network's average, which only runs with `train.ema` have.
pub(crate) const AVERAGE: &str = "average.bpk";

/// The commit marker.
#[derive(Serialize, Deserialize)]
struct Commit {
    schema_version: u32,
    sha256: BTreeMap<String, String>,
}

/// A checkpoint as read back and verified.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    /// Burn's records.
    pub(crate) records: Records,
    /// Where the run stood.
    pub(crate) state: TrainingState,
}

/// A checkpoint's name: the iterations done in the run, and how often that moment had been saved before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// Iterations done in the run.
    pub(crate) iteration: usize,
    revision: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision {
            0 => write!(f, "{:09}", self.iteration),
            revision => write!(f, "{:09}.{revision}", self.iteration),
        }
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (iteration, revision) = text.split_once('.').unwrap_or((text, "0"));
        let name = Self { iteration: iteration.parse().map_err(drop)?, revision: revision.parse().map_err(drop)? };
        // One name for one checkpoint: "1800" is not "000001800".
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// A file is missing, truncated or changed: an earlier checkpoint may do.
    Damaged(Error),
    /// It is whole and says something that this kiln does not understand: going on from an earlier one would lose what
    /// it holds.
    Foreign(Error),
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Damaged(error) | Unusable::Foreign(error) => error,
        }
    }
}

/// All checkpoints of one run.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointStore {
    folder: PathBuf,
    /// Those that were written or verified by this process.
    intact: Arc<Mutex<BTreeSet<Name>>>,
}

impl CheckpointStore {
    /// The checkpoints in `folder`. Touches nothing.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder, intact: Arc::default() }
    }

    /// Makes the folder of a new run.
    pub(crate) fn create(&self) -> Result<()> {
        fault::point("create checkpoints")
            .and_then(|()| fs::create_dir(&self.folder))
            .map_err(|error| file::cannot_write(&self.folder, error))
    }

    /// Deletes what killed processes left half-written or half-deleted.
    pub(crate) fn sweep(&self, _held: &RunLock) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }

    /// Saves a checkpoint in one step; it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; the earlier ones are as they were.
    pub(crate) fn save(&self, records: &Records, state: &TrainingState) -> Result<Name> {
        let names = self.names()?;
        let revisions = names.iter().filter(|name| name.iteration == state.iteration).map(|name| name.revision);
        let name = Name { iteration: state.iteration, revision: revisions.max().map_or(0, |newest| newest + 1) };
        let path = self.path(name);
        let unfinished = self.folder.join(format!("{UNFINISHED}{name}"));
        let cannot = |error| file::cannot_write(&path, error);
        let _ = fs::remove_dir_all(&unfinished);
        let committed = fill(&unfinished, records, state)
            .and_then(|()| {
                fault::point("commit a checkpoint").and_then(|()| fs::rename(&unfinished, &path)).map_err(cannot)
            })
            .and_then(|()| file::sync_folder(&self.folder).map_err(cannot));
        if committed.is_err() {
            // Half a checkpoint must not keep the room that a full disk lacks.
            let _ = fs::remove_dir_all(&unfinished);
        }
        committed?;
        self.known_intact().insert(name);
        Ok(name)
    }

    /// Deletes what is older than the newest `keep_last` intact checkpoints, but for the intact one after the iterations
    /// `best`. A damaged one counts for nothing, so it never costs an intact one its place.
    ///
    /// # Errors
    /// When one cannot be deleted.
    pub(crate) fn prune(&self, keep_last: usize, best: Option<usize>) -> Result<()> {
        let mut kept = 0;
        let mut best_kept = false;
        for name in self.names()?.into_iter().rev() {
            let is_best = best == Some(name.iteration) && !best_kept;
            if kept < keep_last.max(1) {
                let intact = self.is_intact(name);
                kept += usize::from(intact);
                best_kept |= is_best && intact;
            } else if is_best && self.is_intact(name) {
                best_kept = true;
            } else {
                self.delete(name)?;
            }
        }
        Ok(())
    }

    fn delete(&self, name: Name) -> Result<()> {
        // Renamed first: a kill half-way through the deletion leaves nothing that looks whole.
        let doomed = self.folder.join(format!("{UNFINISHED}old-{name}"));
        let path = self.path(name);
        let cannot = |error: io::Error| file::cannot_change("cannot delete the old checkpoint", &path, error);
        let _ = fs::remove_dir_all(&doomed);
        fault::point("retire a checkpoint").and_then(|()| fs::rename(&path, &doomed)).map_err(cannot)?;
        fault::point("delete a checkpoint").and_then(|()| fs::remove_dir_all(&doomed)).map_err(cannot)
    }

    /// The names of all checkpoints, whole or not, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub(crate) fn names(&self) -> Result<Vec<Name>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries
                .map_err(|error| Error::failed(format!("cannot list `{}`", self.folder.display())).caused_by(error))?,
        };
        let mut found: Vec<Name> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The newest checkpoint that is whole, and a line for each newer one that is not. Changes nothing.
    ///
    /// # Errors
    /// When there is none, or a whole one is of another version of kiln.
    pub(crate) fn newest_intact(&self) -> Result<(Checkpoint, Vec<String>)> {
        let mut damaged = Vec::new();
        for name in self.names()?.into_iter().rev() {
            match self.load(name) {
                Ok(checkpoint) => return Ok((checkpoint, damaged)),
                Err(Unusable::Damaged(error)) => {
                    damaged.push(error.render().trim_start_matches("error: ").replace('\n', "; "));
                }
                Err(Unusable::Foreign(error)) => return Err(error),
            }
        }
        let error = if damaged.is_empty() {
            Error::usage(format!("`{}` holds no checkpoint to go on from", self.folder.display()))
        } else {
            Error::usage(format!(
                "none of the {} checkpoints in `{}` is intact\n  {}",
                damaged.len(),
                self.folder.display(),
                damaged.join("\n  ")
            ))
        };
        Err(error)
    }

    /// The intact checkpoint after `iteration` iterations, if there is one: the one that was saved last.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn after(&self, iteration: usize) -> Result<Checkpoint> {
        let mut problem = None;
        for name in self.names()?.into_iter().rev().filter(|name| name.iteration == iteration) {
            match self.load(name) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(error) => problem = Some(Error::from(error)),
            }
        }
        Err(problem.unwrap_or_else(|| Error::failed(format!("the checkpoint after iteration {iteration} is missing"))))
    }

    /// Reads a checkpoint and verifies every file.
    ///
    /// # Errors
    /// When it is damaged, or whole and of another version of kiln.
    pub(crate) fn load(&self, name: Name) -> Result<Checkpoint, Unusable> {
        let path = self.path(name);
        let files = self.verified(name)?;
        let bytes = files.get(STATE).map(Vec::as_slice).unwrap_or_default();
        let state = state::decode(bytes).map_err(|error| {
            Unusable::Foreign(
                Error::usage(format!("the checkpoint `{}` cannot be read by this kiln", path.display()))
                    .caused_by(error)
                    .tip("go on with the version of kiln that wrote it, or begin a new run"),
            )
        })?;
        let records = files.into_iter().filter(|(name, _)| *name != STATE).collect();
        self.known_intact().insert(name);
        Ok(Checkpoint { records, state })
    }

    /// The files of a checkpoint, each as it was written.
    fn verified(&self, name: Name) -> Result<Records, Unusable> {
        let path = self.path(name);
        let damaged = |what: String| {
            Unusable::Damaged(Error::failed(format!("checkpoint `{}` is damaged: {what}", path.display())))
        };
        let read = |name: &str| fs::read(path.join(name)).map_err(|error| damaged(format!("{name}: {error}")));
        let commit: Commit = serde_json::from_slice(&read(COMMIT)?)
            .map_err(|error| damaged(format!("its commit marker is unreadable: {error}")))?;
        if commit.schema_version > SCHEMA_VERSION {
            return Err(Unusable::Foreign(
                Error::usage(format!(
                    "the checkpoint `{}` is of version {}, and this kiln knows versions up to {SCHEMA_VERSION}",
                    path.display(),
                    commit.schema_version
                ))
                .tip("update kiln"),
            ));
        }
        let mut files = Records::new();
        let average = commit.sha256.contains_key(AVERAGE).then_some(AVERAGE);
        for name in RECORDS.into_iter().chain([STATE]).chain(average) {
            let bytes = read(name)?;
            match commit.sha256.get(name) {
                Some(expected) if *expected == digest(&bytes) => files.insert(name, bytes),
                Some(_) => return Err(damaged(format!("the content of {name} is not what was written"))),
                None => return Err(damaged(format!("its commit marker does not name {name}"))),
            };
        }
        Ok(files)
    }

    fn is_intact(&self, name: Name) -> bool {
        self.known_intact().contains(&name) || {
            let intact = self.verified(name).is_ok();
            if intact {
                self.known_intact().insert(name);
            }
            intact
        }
    }

    fn known_intact(&self) -> std::sync::MutexGuard<'_, BTreeSet<Name>> {
        self.intact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: Name) -> PathBuf {
        self.folder.join(name.to_string())
    }
}

/// Writes all files of a checkpoint into the new folder `unfinished`, the commit marker last.
fn fill(unfinished: &Path, records: &Records, state: &TrainingState) -> Result<()> {
    let cannot = |error| file::cannot_write(unfinished, error);
    fault::point("create a checkpoint").and_then(|()| fs::create_dir(unfinished)).map_err(cannot)?;
    let state = serde_json::to_vec_pretty(state)
        .map_err(|error| Error::failed("cannot encode the checkpoint's state").caused_by(error))?;
    let mut sha256 = BTreeMap::new();
    for (name, bytes) in records.iter().map(|(name, bytes)| (*name, bytes)).chain([(STATE, &state)]) {
        file::write_new(&unfinished.join(name), bytes)?;
        sha256.insert(name.to_owned(), digest(bytes));
    }
    let commit = serde_json::to_vec_pretty(&Commit { schema_version: SCHEMA_VERSION, sha256 })
        .map_err(|error| Error::failed("cannot encode the commit marker").caused_by(error))?;
    file::write_new(&unfinished.join(COMMIT), &commit)?;
    file::sync_folder(unfinished).map_err(cannot)
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(fill: u8) -> Records {
        RECORDS.iter().map(|name| (*name, vec![fill; 64])).collect()
    }

    fn at(iteration: usize) -> TrainingState {
        TrainingState { iteration, config: "name = \"a\"".into(), ..TrainingState::default() }
    }

    fn store() -> (tempfile::TempDir, CheckpointStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::at(folder.path().join("checkpoints"));
        store.create().unwrap();
        (folder, store)
    }

    fn names(store: &CheckpointStore) -> Vec<String> {
        store.names().unwrap().iter().map(Name::to_string).collect()
    }

    /// Another process's view: it has verified nothing yet.
    fn reopened(store: &CheckpointStore) -> CheckpointStore {
        CheckpointStore::at(store.folder.clone())
    }

    fn damage(store: &CheckpointStore, name: &str) {
        fs::write(store.folder.join(name).join(RECORDS[0]), b"half").unwrap();
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let (_folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        let (checkpoint, damaged) = store.newest_intact().unwrap();
        assert_eq!((checkpoint.records, checkpoint.state), (records(1), at(600)));
        assert!(damaged.is_empty());
    }

    #[test]
    fn any_damage_to_any_file_is_found_and_the_one_before_is_used() {
        for name in RECORDS.into_iter().chain([STATE, COMMIT]) {
            for harm in ["truncate", "flip", "remove"] {
                let (_folder, store) = store();
                store.save(&records(1), &at(600)).unwrap();
                store.save(&records(2), &at(1200)).unwrap();
                let path = store.folder.join("000001200").join(name);
                let mut bytes = fs::read(&path).unwrap();
                match harm {
                    "truncate" => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
                    "flip" => {
                        // Inside the digest for the marker, whose white space carries no meaning.
                        let position = bytes.len() / 2;
                        bytes[position] ^= 1;
                        fs::write(&path, &bytes).unwrap();
                    }
                    _ => fs::remove_file(&path).unwrap(),
                }
                let (checkpoint, damaged) = store.newest_intact().unwrap();
                assert_eq!(checkpoint.state.iteration, 600, "{harm} {name}");
                assert_eq!(damaged.len(), 1, "{harm} {name}");
            }
        }
    }

    #[test]
    fn when_none_is_intact_each_is_named_and_nothing_is_touched() {
        let (_folder, store) = store();
        for iteration in [600, 1200] {
            store.save(&records(1), &at(iteration)).unwrap();
        }
        damage(&store, "000000600");
        damage(&store, "000001200");
        let text = reopened(&store).newest_intact().unwrap_err().render();
        assert!(text.contains("none of the 2 checkpoints"), "{text}");
        assert!(text.contains("000000600") && text.contains("000001200"), "{text}");
        assert_eq!(names(&store), ["000000600", "000001200"]);
    }

    #[test]
    fn half_written_checkpoints_are_never_seen_and_go_when_the_lock_is_held() {
        let (folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        let unfinished = store.folder.join(".unfinished-1200");
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("model.bpk"), b"half").unwrap();
        assert_eq!(names(&store), ["000000600"]);
        store.newest_intact().unwrap();
        assert!(unfinished.exists(), "reading changes nothing");
        store.sweep(&RunLock::acquire(&crate::run::RunDir::at(folder.path().to_owned())).unwrap());
        assert!(!unfinished.exists());
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_best() {
        let (_folder, store) = store();
        for iteration in [1, 2, 3, 4, 5] {
            store.save(&records(1), &at(iteration)).unwrap();
        }
        store.prune(2, Some(2)).unwrap();
        assert_eq!(names(&store), ["000000002", "000000004", "000000005"]);
    }

    #[test]
    fn a_damaged_checkpoint_never_costs_an_intact_one_its_place() {
        let (_folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        store.save(&records(1), &at(1200)).unwrap();
        damage(&store, "000001200");
        // A process that found 1200 damaged went on from 600 and saves at 800.
        let store = reopened(&store);
        store.save(&records(1), &at(800)).unwrap();
        store.prune(1, None).unwrap();
        assert_eq!(names(&store), ["000000800", "000001200"]);
        assert_eq!(store.newest_intact().unwrap().0.state.iteration, 800);
        store.save(&records(3), &at(1200)).unwrap();
        store.prune(1, None).unwrap();
        assert_eq!(names(&store), ["000001200.1"]);
    }

    #[test]
    fn the_same_moment_saved_again_is_the_newer_one_and_the_only_best() {
        let (_folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        store.save(&records(2), &at(600)).unwrap();
        store.save(&records(3), &at(900)).unwrap();
        store.prune(1, Some(600)).unwrap();
        assert_eq!(names(&store), ["000000600.1", "000000900"]);
        assert_eq!(store.after(600).unwrap().records, records(2));
    }

    #[test]
    fn a_checkpoint_of_a_newer_kiln_is_refused_and_not_passed_over() {
        let (_folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        store.save(&records(2), &TrainingState { schema_version: 99, ..at(1200) }).unwrap();
        let text = store.newest_intact().unwrap_err().render();
        assert!(text.contains("cannot be read by this kiln") && text.contains("99"), "{text}");
    }

    #[test]
    fn only_the_names_that_are_written_are_read() {
        for text in ["000000600", "000000600.1", "1234567890"] {
            assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        }
        for text in ["600", "000000600.0", "000000600.x", ".unfinished-1", "+00000600"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
