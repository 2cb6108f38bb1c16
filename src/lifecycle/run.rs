//! A run directory as programs see it: what it holds.

use std::path::{Path, PathBuf};

use crate::artifact::{self, Dtype, Format};
use crate::config::Experiment;
use crate::config::document::Origin;
use crate::error::quoted;
use crate::predict::Predictor;
use crate::run::lock::RunLock;
use crate::run::{EpochMetrics, RunDir, RunRecord, Standing, Status, file};
use crate::{Error, Result, predict};

/// A run directory, for example `runs/mnist-0001`. Reading one takes no lock and changes nothing; a run in training can be
/// read at any time.
#[derive(Clone, Debug)]
pub struct Run {
    pub(super) dir: RunDir,
}

impl Run {
    /// Opens the directory of a run.
    ///
    /// # Errors
    /// When `path` is not a run directory; what was found is named.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { dir: RunDir::open(path.as_ref())? })
    }

    pub(super) fn at(dir: RunDir) -> Self {
        Self { dir }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The best epoch's model file; it is there when an epoch is finished and the run has ended.
    pub fn model(&self) -> PathBuf {
        self.dir.model()
    }

    /// What ran, where, on what, and how it ended.
    ///
    /// # Errors
    /// When `run.json` is missing, damaged or of a newer kiln.
    pub fn record(&self) -> Result<RunRecord> {
        Ok(RunRecord::load(&self.dir)?)
    }

    /// The resolved experiment.
    ///
    /// # Errors
    /// When `config.toml` is missing or not valid.
    pub fn experiment(&self) -> Result<Experiment> {
        Experiment::load(&Origin::Run(self.dir.config()), &[])
    }

    /// The metrics of every finished epoch, in order.
    ///
    /// # Errors
    /// When `metrics.jsonl` is missing or a line is damaged. A last line without its end is being written, or its process
    /// was killed, and is left out.
    pub fn metrics(&self) -> Result<Vec<EpochMetrics>> {
        let path = self.dir.metrics();
        let text = file::read_text(&path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let parse = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| {
                Error::usage(format!("`{}` is damaged in line {}", path.display(), number + 1)).caused_by(error)
            })
        };
        whole.lines().enumerate().map(parse).collect()
    }

    /// The best epoch's model, ready to answer.
    ///
    /// # Errors
    /// When there is no model yet, or the file is damaged.
    pub fn predictor(&self) -> Result<Predictor> {
        Predictor::open(self.existing_model()?)
    }

    /// Writes the best epoch's model to `path` in another format, replacing what is there, and verifies the file.
    ///
    /// # Errors
    /// As [`predict::export`], and when there is no model yet.
    pub fn export(&self, path: impl AsRef<Path>, format: Format) -> Result<()> {
        predict::export(&self.existing_model()?, path.as_ref(), format, Dtype::F32).map(|_| ())
    }

    /// The model file.
    ///
    /// # Errors
    /// When there is none yet.
    pub(crate) fn existing_model(&self) -> Result<PathBuf> {
        let model = self.model();
        if model.is_file() {
            return Ok(model);
        }
        let path = self.path().display();
        let done = self.metrics().map_or(0, |epochs| epochs.len());
        let so_far = match done {
            0 => "before its first epoch was finished".to_owned(),
            1 => "after one finished epoch, before its model file was written".to_owned(),
            _ => format!("after {done} finished epochs, before its model file was written"),
        };
        if self.is_training() {
            return Err(Error::usage(format!("`{path}` is in training, and its model file comes at its end"))
                .tip("wait for it; or stop it with Ctrl-C, and the best of its finished epochs is written"));
        }
        Err(Error::usage(format!("`{path}` has no model yet: it was stopped {so_far}"))
            .tip(format!("train it to its end: kiln resume {}", quoted(self.path()))))
    }

    /// Of a run with a model that has not come to its end: what the model is, and how the run is finished.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let standing = self.standing();
        if matches!(standing, Standing::Done | Standing::Unreadable) {
            return None;
        }
        let of =
            self.experiment().ok().map_or_else(String::new, |experiment| format!(" of {}", experiment.train.epochs));
        let done = self.metrics().map_or(0, |epochs| epochs.len());
        let best =
            artifact::read(&self.model()).ok().and_then(|(manifest, _)| manifest.metrics.get("best_epoch")?.as_u64());
        let model =
            best.map_or_else(String::new, |epoch| format!("; this is its model of epoch {epoch}, the best so far"));
        let path = quoted(self.path());
        Some(match standing {
            Standing::Running => format!("`{}` is in training, at {done}{of} epochs{model}", self.path().display()),
            _ => format!(
                "`{}` is not finished: it stopped after {done}{of} epochs{model}. Finish it: kiln resume {path}",
                self.path().display()
            ),
        })
    }

    /// Deletes the run with all that is in its directory. It loses its name first, so that a process that is killed meanwhile
    /// leaves no half of a run.
    ///
    /// # Errors
    /// When a process trains in it, which is named, or it cannot be deleted.
    pub fn remove(self) -> Result<()> {
        let path = self.path().to_owned();
        let fail =
            |error: std::io::Error| Error::failed(format!("cannot delete `{}`", path.display())).caused_by(error);
        let lock = RunLock::acquire(&self.dir)?;
        let hidden = tempfile::Builder::new()
            .prefix(".deleted-")
            .tempdir_in(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            .map_err(fail)?;
        std::fs::rename(&path, hidden.path().join("run")).map_err(fail)?;
        drop(lock);
        hidden.close().map_err(fail)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let Ok(record) = self.record() else { return Standing::Unreadable };
        let is_live = record.status == Status::Running && RunLock::is_held(&self.dir);
        // It may have ended in good order between the two looks, and said so.
        let status = if is_live { record.status } else { self.record().map_or(record.status, |record| record.status) };
        Standing::of(status, is_live)
    }

    /// Whether a process trains in it at this moment.
    pub fn is_training(&self) -> bool {
        self.standing() == Standing::Running
    }
}
