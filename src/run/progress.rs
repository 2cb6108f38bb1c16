//! `progress.jsonl`: how training goes inside its epochs, for whoever looks from outside. Nothing depends on it: it is never
//! flushed to disk, a line that cannot be written is left out, and a run goes on from its checkpoints without it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{MetricSums, file};

/// The least time between two lines.
const EVERY: Duration = Duration::from_millis(500);
/// The time between two lines grows with the run's, so that a long one does not fill the disk with them: to this share of it,
const SHARE: u32 = 2000;
/// and no further than this.
const AT_MOST: Duration = Duration::from_secs(10);
/// The most bytes that an earlier process may have left.
const MOST_BYTES: u64 = 64 << 20;

/// Where training stood at one moment: a line of `progress.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProgressPoint {
    /// The epoch under way, from 1.
    pub(crate) epoch: usize,
    /// Epochs planned.
    pub(crate) epochs: usize,
    /// Iterations since the run began.
    pub(crate) iteration: usize,
    /// Iterations planned.
    pub(crate) iterations: usize,
    /// Mean loss per image since the line before, in nats.
    pub(crate) loss: f64,
    /// Training accuracy since the line before: correct / images.
    pub(crate) accuracy: f64,
    /// Training images per second of the epoch so far.
    pub(crate) images_per_second: f64,
    /// Seconds that the run has trained and validated.
    pub(crate) seconds: f64,
}

/// Where a run stands when a line is due.
pub(crate) struct Moment {
    /// The epoch under way, from 1.
    pub(crate) epoch: usize,
    /// Epochs planned.
    pub(crate) epochs: usize,
    /// Iterations since the run began.
    pub(crate) iteration: usize,
    /// Iterations planned.
    pub(crate) iterations: usize,
    /// Training images per second of the epoch so far.
    pub(crate) images_per_second: f64,
}

/// Writes the lines of one process.
pub(crate) struct ProgressFile {
    file: Option<File>,
    /// Loss and accuracy since the last line.
    sums: MetricSums,
    /// The run's seconds before this process.
    before: f64,
    begun: Instant,
    last: Instant,
}

impl ProgressFile {
    /// Goes on with the lines up to `iteration`, from where the run does; what came after them is trained again.
    /// `seconds` is the time of the run's finished epochs.
    pub(crate) fn go_on(path: &Path, iteration: usize, seconds: f64) -> Self {
        let bytes = file::read_bounded(path, MOST_BYTES).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let kept = text.lines().filter_map(|line| {
            let point = serde_json::from_str::<ProgressPoint>(line).ok()?;
            (point.iteration <= iteration).then_some((line, point.seconds))
        });
        let (mut lines, mut before) = (String::new(), seconds);
        for (line, seconds) in kept {
            lines.push_str(line);
            lines.push('\n');
            before = before.max(seconds);
        }
        let now = Instant::now();
        // Whoever reads at this moment sees fewer lines than there are, and the others at the next look.
        let file = std::fs::write(path, lines).and_then(|()| OpenOptions::new().append(true).open(path)).ok();
        Self { file, sums: MetricSums::default(), before, begun: now, last: now }
    }

    /// Counts a batch of `images` with this mean `loss` and this many `correct`.
    pub(crate) fn add(&mut self, images: usize, loss: f64, correct: u64) {
        self.sums.add(images, loss, correct);
    }

    /// Writes a line if one is due.
    pub(crate) fn tell(&mut self, moment: &Moment) {
        let spent = self.begun.elapsed();
        if self.sums.images == 0 || self.last.elapsed() < (spent / SHARE).clamp(EVERY, AT_MOST) {
            return;
        }
        self.last = Instant::now();
        let sums = std::mem::take(&mut self.sums);
        let point = ProgressPoint {
            epoch: moment.epoch,
            epochs: moment.epochs,
            iteration: moment.iteration,
            iterations: moment.iterations,
            loss: sums.loss(),
            accuracy: sums.accuracy(),
            images_per_second: moment.images_per_second,
            seconds: self.before + spent.as_secs_f64(),
        };
        let (Some(file), Ok(line)) = (&mut self.file, serde_json::to_string(&point)) else { return };
        // A folder that is gone or a disk that is full is found by the next checkpoint, which says so.
        if file.write_all(format!("{line}\n").as_bytes()).is_err() {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(iteration: usize, seconds: f64) -> String {
        let point = ProgressPoint {
            epoch: 1,
            epochs: 2,
            iteration,
            iterations: 100,
            loss: 0.5,
            accuracy: 0.9,
            images_per_second: 10.0,
            seconds,
        };
        format!("{}\n", serde_json::to_string(&point).unwrap())
    }

    #[test]
    fn a_run_goes_on_with_the_lines_up_to_its_checkpoint_and_drops_damaged_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.jsonl");
        std::fs::write(&path, [&line(10, 1.0), "{\"epoch\":1,\n", &line(20, 2.0), &line(30, 3.0), "{\"ep"].concat())
            .unwrap();
        let mut progress = ProgressFile::go_on(&path, 20, 1.5);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line(10, 1.0) + &line(20, 2.0));
        let moment = Moment { epoch: 1, epochs: 2, iteration: 25, iterations: 100, images_per_second: 7.0 };
        progress.add(10, 2.0, 5);
        progress.add(30, 1.0, 25);
        progress.tell(&moment);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "no line is due yet");
        progress.last = Instant::now() - EVERY;
        progress.tell(&moment);
        let text = std::fs::read_to_string(&path).unwrap();
        let point: ProgressPoint = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((point.iteration, point.loss, point.accuracy), (25, 1.25, 0.75));
        assert!(point.seconds >= 2.0, "{}", point.seconds);
        progress.last = Instant::now() - EVERY;
        progress.tell(&moment);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was trained since");
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_no_failure() {
        let mut progress = ProgressFile::go_on(Path::new("/nowhere/at/all"), 0, 0.0);
        progress.add(1, 1.0, 1);
        progress.last = Instant::now() - EVERY;
        progress.tell(&Moment { epoch: 1, epochs: 1, iteration: 1, iterations: 1, images_per_second: 1.0 });
    }
}
