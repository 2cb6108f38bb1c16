//! Checkpoints on disk. One checkpoint is a folder of files that counts only once its commit marker, which holds the
//! SHA-256 of each file, is on disk and the folder has been renamed to its final name; so a reader sees a whole
//! checkpoint or none.
//!
//! ```text
//! checkpoints/000001800/   after 1,800 iterations
//!   model.bpk  optimizer.bpk  schedule.bpk   Burn's records
//!   state.json                               where the run stands
//!   commit.json                              the SHA-256 of each of them
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::state::LoopState;
use crate::run::file;
use crate::{Error, Result};

const STATE: &str = "state.json";
const COMMIT: &str = "commit.json";
const UNFINISHED: &str = ".unfinished-";

/// Burn's three records as bytes, by name; see [`RECORDS`].
pub type Records = BTreeMap<&'static str, Vec<u8>>;

/// The records of one checkpoint: the network, the optimizer's moments, the schedule's counter.
pub const RECORDS: [&str; 3] = ["model.bpk", "optimizer.bpk", "schedule.bpk"];

/// The commit marker.
#[derive(Serialize, Deserialize)]
struct Commit {
    schema_version: u32,
    sha256: BTreeMap<String, String>,
}

/// A checkpoint as read back and verified.
#[derive(Debug)]
pub struct Checkpoint {
    /// Burn's records.
    pub records: Records,
    /// Where the run stood.
    pub state: LoopState,
    /// Its folder.
    pub path: PathBuf,
}

/// All checkpoints of one run.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
}

impl CheckpointStore {
    /// The checkpoints in `folder`, which is created when missing; what a killed process left half-written is removed.
    pub fn open(folder: PathBuf) -> Result<Self> {
        let cannot = |error| Error::failed(format!("cannot use `{}`", folder.display())).caused_by(error);
        fs::create_dir_all(&folder).map_err(cannot)?;
        for entry in fs::read_dir(&folder).map_err(cannot)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { folder })
    }

    /// Saves a checkpoint in one step; it is on disk when this returns.
    pub fn save(&self, records: &Records, state: &LoopState) -> Result<()> {
        let path = self.path(state.iteration);
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", state.iteration));
        let cannot = |error| Error::failed(format!("cannot save the checkpoint `{}`", path.display())).caused_by(error);
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).map_err(cannot)?;
        let state = serde_json::to_vec_pretty(state)
            .map_err(|error| Error::failed("cannot encode the checkpoint's state").caused_by(error))?;
        let mut sha256 = BTreeMap::new();
        for (name, bytes) in records.iter().map(|(name, bytes)| (*name, bytes)).chain([(STATE, &state)]) {
            file::write_new(&unfinished.join(name), bytes)?;
            sha256.insert(name.to_owned(), digest(bytes));
        }
        let commit = serde_json::to_vec_pretty(&Commit { schema_version: 1, sha256 })
            .map_err(|error| Error::failed("cannot encode the commit marker").caused_by(error))?;
        file::write_new(&unfinished.join(COMMIT), &commit)?;
        file::sync_folder(&unfinished).map_err(cannot)?;
        if path.exists() {
            // The same iteration again, after a resume: the older copy says the same.
            fs::remove_dir_all(&path).map_err(cannot)?;
        }
        fs::rename(&unfinished, &path).map_err(cannot)?;
        file::sync_folder(&self.folder).map_err(cannot)
    }

    /// Deletes all but the newest `keep_last` checkpoints and those after the iterations in `keep`.
    /// Called after a save, so a checkpoint goes only when its successor is safe.
    pub fn prune(&self, keep_last: usize, keep: &[usize]) -> Result<()> {
        let iterations = self.iterations()?;
        let old = iterations.len().saturating_sub(keep_last.max(1));
        for iteration in iterations[..old].iter().filter(|iteration| !keep.contains(iteration)) {
            // Renamed first: a kill half-way through the deletion leaves nothing that looks whole.
            let doomed = self.folder.join(format!("{UNFINISHED}old-{iteration}"));
            let path = self.path(*iteration);
            fs::rename(&path, &doomed).and_then(|()| fs::remove_dir_all(&doomed)).map_err(|error| {
                Error::failed(format!("cannot delete the old checkpoint `{}`", path.display())).caused_by(error)
            })?;
        }
        Ok(())
    }

    /// The iterations after which there are checkpoints, whole or not, in order.
    pub fn iterations(&self) -> Result<Vec<usize>> {
        let entries = fs::read_dir(&self.folder)
            .map_err(|error| Error::failed(format!("cannot list `{}`", self.folder.display())).caused_by(error))?;
        let mut found: Vec<usize> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The newest checkpoint that is whole, and a line for each newer one that is not.
    pub fn newest_intact(&self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let mut damaged = Vec::new();
        for iteration in self.iterations()?.into_iter().rev() {
            match self.load(iteration) {
                Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
                Err(error) => damaged.push(error.render().trim_start_matches("error: ").replace('\n', "; ")),
            }
        }
        Ok((None, damaged))
    }

    /// Reads the checkpoint after `iteration` and verifies every file.
    ///
    /// # Errors
    /// When a file is missing, truncated or changed.
    pub fn load(&self, iteration: usize) -> Result<Checkpoint> {
        let path = self.path(iteration);
        let damaged = |what: String| Error::failed(format!("checkpoint `{}` is damaged: {what}", path.display()));
        let read = |name: &str| fs::read(path.join(name)).map_err(|error| damaged(format!("{name}: {error}")));
        let commit: Commit = serde_json::from_slice(&read(COMMIT)?)
            .map_err(|error| damaged("its commit marker is unreadable".into()).caused_by(error))?;
        let verified = |name: &str| -> Result<Vec<u8>> {
            let bytes = read(name)?;
            match commit.sha256.get(name) {
                Some(expected) if *expected == digest(&bytes) => Ok(bytes),
                Some(_) => Err(damaged(format!("the content of {name} is not what was written"))),
                None => Err(damaged(format!("its commit marker does not name {name}"))),
            }
        };
        let mut records = Records::new();
        for name in RECORDS {
            records.insert(name, verified(name)?);
        }
        let state = serde_json::from_slice(&verified(STATE)?)
            .map_err(|error| damaged("its state is unreadable".into()).caused_by(error))?;
        Ok(Checkpoint { records, state, path })
    }

    fn path(&self, iteration: usize) -> PathBuf {
        self.folder.join(format!("{iteration:09}"))
    }

    /// Where the checkpoints are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(fill: u8) -> Records {
        RECORDS.iter().map(|name| (*name, vec![fill; 64])).collect()
    }

    fn at(iteration: usize) -> LoopState {
        LoopState { iteration, ..LoopState::default() }
    }

    fn store() -> (tempfile::TempDir, CheckpointStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(folder.path().join("checkpoints")).unwrap();
        (folder, store)
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let (_folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        let (checkpoint, damaged) = store.newest_intact().unwrap();
        let checkpoint = checkpoint.unwrap();
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
                let path = store.path(1200).join(name);
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
                assert_eq!(checkpoint.unwrap().state.iteration, 600, "{harm} {name}");
                assert_eq!(damaged.len(), 1, "{harm} {name}");
            }
        }
    }

    #[test]
    fn half_written_checkpoints_are_never_seen_and_go_at_the_next_start() {
        let (folder, store) = store();
        store.save(&records(1), &at(600)).unwrap();
        let unfinished = store.folder().join(".unfinished-1200");
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("model.bpk"), b"half").unwrap();
        assert_eq!(store.iterations().unwrap(), [600]);
        let store = CheckpointStore::open(folder.path().join("checkpoints")).unwrap();
        assert!(!unfinished.exists());
        assert_eq!(store.iterations().unwrap(), [600]);
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_best() {
        let (_folder, store) = store();
        for iteration in [1, 2, 3, 4, 5] {
            store.save(&records(1), &at(iteration)).unwrap();
        }
        store.prune(2, &[2]).unwrap();
        assert_eq!(store.iterations().unwrap(), [2, 4, 5]);
    }
}
