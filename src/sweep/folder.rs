//! The folder of a sweep: its files, under which names, written how.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::result::SweepResult;
use crate::config::{Origin, SweepAsked, SweepDocument};
use crate::run::{self, file};
use crate::{Error, Result};

/// How the folders begin in which sweeps are made before they get their names.
const UNNAMED: &str = ".kiln-sweep-";

/// The folder of a sweep.
#[derive(Clone, Debug)]
pub struct SweepFolder {
    path: PathBuf,
}

/// What a run reached at the end of a rung: `rung-1.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Epochs done.
    pub epochs: usize,
    /// Iterations done.
    pub iterations: usize,
    /// Whether nothing is left to train: all its epochs are done, or it has stopped by its own rules.
    pub is_done: bool,
    /// The epoch that is the best so far, from 1.
    pub best_epoch: Option<usize>,
    /// That epoch's validation accuracy, 0 to 1; absent when the run failed.
    pub validation_accuracy: Option<f64>,
    /// Its validation loss, in nats.
    pub validation_loss: Option<f64>,
    /// SHA-256 of its weights.
    pub weights_sha256: Option<String>,
    /// Seconds of training.
    pub seconds: f64,
    /// Why the run failed.
    pub error: Option<String>,
}

/// What a model answered for the validation images: `answers-1.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The label of each image.
    pub(super) labels: Vec<usize>,
    /// What the model took it for.
    pub(super) answers: Vec<usize>,
}

/// What has been reached: by trial, seed and rung, from 0.
pub(super) type Results = BTreeMap<(usize, u64, usize), RunResult>;

impl SweepFolder {
    /// Makes the folder of a new sweep in `runs`: `NAME-sweep-0001`, or the next number that is free.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(runs: &Path, document: &SweepDocument) -> Result<Self> {
        let cannot = |error| Error::usage(format!("cannot make a folder in `{}`", runs.display())).caused_by(error);
        fs::create_dir_all(runs).map_err(cannot)?;
        // It goes when anything fails before it has its name.
        let making =
            tempfile::Builder::new().prefix(UNNAMED).make_in(runs, |path| fs::create_dir(path)).map_err(cannot)?;
        let new = Self { path: making.path().to_owned() };
        fs::create_dir(new.path.join("trials")).and_then(|()| fs::create_dir(new.path.join("jobs"))).map_err(cannot)?;
        file::write_atomic(&new.file(), document.to_toml().as_bytes())?;
        let path = run::give_number(&new.path, runs, &format!("{}-sweep", document.experiment.name))?;
        // The name that it was made under is gone; nothing is left to delete.
        let _ = making.into_temp_path().keep();
        Ok(Self { path })
    }

    /// Opens the folder of a sweep.
    ///
    /// # Errors
    /// When `path` is none.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self { path: path.to_owned() };
        if folder.file().is_file() {
            return Ok(folder);
        }
        Err(Error::usage(format!("`{}` is not the folder of a sweep: it has no `sweep.toml`", path.display()))
            .tip("give a folder that `kiln sweep` made, for example runs/mnist-sweep-0001"))
    }

    /// What is tried.
    ///
    /// # Errors
    /// When the file was changed into one that cannot be read.
    pub fn document(&self) -> Result<SweepDocument> {
        SweepDocument::load(&Origin::Run(self.file()), &[], &SweepAsked::default())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn file(&self) -> PathBuf {
        self.path.join("sweep.toml")
    }

    /// The directory of a run, within the folder.
    pub fn run(trial: usize, seed: u64) -> String {
        format!("trials/{trial:04}/seed-{seed}")
    }

    /// The folder of what is known of a run besides its own directory.
    pub(super) fn job(&self, trial: usize, seed: u64) -> PathBuf {
        self.path.join(format!("jobs/{trial:04}-seed-{seed}"))
    }

    /// The folder of the claims of who concludes.
    pub(super) fn conclusion(&self) -> PathBuf {
        self.path.join("jobs/conclusion")
    }

    /// Adds what is known of these runs by now and was not in `results` before.
    ///
    /// # Errors
    /// When a file is damaged.
    pub(super) fn read(&self, of: &[(usize, u64)], rungs: usize, results: &mut Results) -> Result<()> {
        for &(trial, seed) in of {
            for rung in 0..rungs {
                if results.contains_key(&(trial, seed, rung)) {
                    continue;
                }
                let path = rung_file(&self.job(trial, seed), rung);
                match fs::read(&path) {
                    Ok(bytes) => results.insert((trial, seed, rung), parse(&path, &bytes)?),
                    // Rungs are reached one after another.
                    Err(_) => break,
                };
            }
        }
        Ok(())
    }

    /// Writes down what a run reached; its answers first, since the result says that they are there.
    pub(super) fn publish(
        &self,
        (trial, seed, rung): (usize, u64, usize),
        result: &RunResult,
        answers: Option<&Answers>,
    ) -> Result<()> {
        let job = self.job(trial, seed);
        if let Some(answers) = answers {
            file::write_atomic(&answers_file(&job, rung), &encode(answers)?)?;
        }
        file::write_atomic(&rung_file(&job, rung), &encode(result)?)
    }

    /// A run's answers at the end of a rung.
    pub(super) fn answers(&self, (trial, seed, rung): (usize, u64, usize)) -> Result<Answers> {
        let path = answers_file(&self.job(trial, seed), rung);
        let bytes = fs::read(&path)
            .map_err(|error| Error::failed(format!("cannot read `{}`", path.display())).caused_by(error))?;
        parse(&path, &bytes)
    }

    /// The outcome, if the sweep is over.
    ///
    /// # Errors
    /// When the file is damaged, or of a newer kiln.
    pub fn result(&self) -> Result<Option<SweepResult>> {
        let path = self.path.join("result.json");
        let Ok(bytes) = fs::read(&path) else { return Ok(None) };
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let Version { schema_version } = parse(&path, &bytes)?;
        if schema_version > super::result::SCHEMA_VERSION {
            let found = format!("`{}` is of version {schema_version}, which this kiln does not know", path.display());
            return Err(Error::usage(found).tip("update kiln"));
        }
        parse(&path, &bytes).map(Some)
    }

    pub(super) fn keep_result(&self, result: &SweepResult) -> Result<()> {
        file::write_atomic(&self.path.join("result.json"), &encode(result)?)
    }
}

fn rung_file(job: &Path, rung: usize) -> PathBuf {
    job.join(format!("rung-{}.json", rung + 1))
}

fn answers_file(job: &Path, rung: usize) -> PathBuf {
    job.join(format!("answers-{}.json", rung + 1))
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    let text =
        serde_json::to_string(value).map_err(|error| Error::failed("cannot encode a result").caused_by(error))?;
    Ok(format!("{text}\n").into_bytes())
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::usage(format!("`{}` is damaged", path.display())).caused_by(error))
}
