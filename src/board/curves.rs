//! The points of a run's curves, read from its files as they are: a line that is not whole yet, or was damaged, is left out.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run::RunDir;
use crate::run::progress::ProgressPoint;

/// The most bytes that are read of a file at a time; what is left comes with the next look.
const MOST_BYTES: u64 = 32 << 20;

/// The last part of a file that holds its newest lines, in bytes.
const NEAR_END: u64 = 4096;

/// The most points inside epochs that a curve is sent with; of more, every second, third and so on.
const MOST_POINTS: usize = 1000;

/// What a chart needs of a finished epoch. Any of it may be missing in the file of another version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochPoint {
    /// The epoch, from 1.
    pub(super) epoch: usize,
    /// Iterations since the run began.
    pub(super) iteration: Option<usize>,
    /// Mean loss per training image, in nats.
    pub(super) train_loss: Option<f64>,
    /// Training accuracy, 0 to 1.
    pub(super) train_accuracy: Option<f64>,
    /// Mean loss per validation image, in nats.
    pub(super) validation_loss: Option<f64>,
    /// Validation accuracy, 0 to 1.
    pub(super) validation_accuracy: Option<f64>,
    /// What `checkpoint.best_by` names, the higher the better; there where that is not the accuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) score: Option<f64>,
    /// The learning rate of its last update.
    pub(super) learning_rate: Option<f64>,
    /// Training images per second.
    pub(super) images_per_second: Option<f64>,
    /// Seconds that it took.
    pub(super) seconds: Option<f64>,
}

/// Both kinds of points of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Curves {
    /// Finished epochs.
    pub(super) epochs: Vec<EpochPoint>,
    /// Points inside epochs.
    pub(super) progress: Vec<ProgressPoint>,
}

impl Curves {
    /// Those of `run`, as far as they are on disk.
    pub(super) fn read(run: &RunDir) -> Self {
        let epochs = Tail::at(run.metrics()).read().unwrap_or_default();
        let progress = Tail::at(run.progress()).read().unwrap_or_default();
        Self { epochs, progress: thinned(progress) }
    }
}

fn thinned(points: Vec<ProgressPoint>) -> Vec<ProgressPoint> {
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    // The newest always stays.
    points.into_iter().enumerate().filter(|(place, _)| (last - place).is_multiple_of(step)).map(|(_, p)| p).collect()
}

/// The end of a file that grows by lines.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// How much of it has been read: whole lines alone.
    read: u64,
}

/// A file has become shorter: what was read of it is no longer what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shortened;

impl Tail {
    /// The file at `path`, of which nothing has been read.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The same, but for its last part, of which the newest lines are wanted.
    pub(super) fn near_end(path: PathBuf) -> Self {
        let read = regular(&path).unwrap_or(0).saturating_sub(NEAR_END);
        Self { path, read }
    }

    /// What the lines say that came since the last time; of a file that is not there, nothing.
    ///
    /// # Errors
    /// When it has become shorter.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Shortened> {
        let length = regular(&self.path).unwrap_or(0);
        if length < self.read {
            return Err(Shortened);
        }
        if length == self.read {
            return Ok(Vec::new());
        }
        let bytes = self.bytes().unwrap_or_default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The bytes of a regular file; anything else might never come to an end.
pub(super) fn regular(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_whole_lines_are_read_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut tail = Tail::at(path.clone());
        assert_eq!(tail.read::<u32>(), Ok(vec![]));
        let mut file = File::create(&path).unwrap();
        file.write_all(b"1\nnothing\n2").unwrap();
        assert_eq!(tail.read::<u32>(), Ok(vec![1]));
        assert_eq!(tail.read::<u32>(), Ok(vec![]));
        file.write_all(b"3\n\xff\n4\n").unwrap();
        assert_eq!(tail.read::<u32>(), Ok(vec![23, 4]));
        fs::write(&path, "1\n").unwrap();
        assert_eq!(tail.read::<u32>(), Err(Shortened));
    }

    #[test]
    fn a_long_run_is_thinned_and_keeps_its_newest_point() {
        let point = |iteration| ProgressPoint {
            epoch: 1,
            epochs: 1,
            iteration,
            iterations: 9000,
            loss: 0.0,
            accuracy: 0.0,
            images_per_second: 0.0,
            seconds: 0.0,
        };
        for count in [0, 1, 1000, 1001, 4321] {
            let points = thinned((1..=count).map(point).collect());
            assert!(points.len() <= MOST_POINTS, "{count}: {}", points.len());
            assert_eq!(points.last().map(|point| point.iteration), (count > 0).then_some(count));
        }
    }
}
