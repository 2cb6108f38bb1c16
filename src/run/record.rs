//! `run.json`: what ran, where, on what data, and how it ended.

use serde::{Deserialize, Serialize};

use super::checkpoints::Unusable;
use super::{RunDir, file};
use crate::{Error, Result};

/// The version of the layout of `run.json`.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Training, or killed while training.
    Running,
    /// Finished as planned, or stopped early by its own rules.
    Done,
    /// Stopped by the user; can be resumed.
    Interrupted,
    /// Stopped by an error, which `message` tells.
    Failed,
}

/// How a run stands, as everything that shows runs calls it: what its record says, and whether a living process trains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A living process trains it.
    Running,
    /// Finished.
    Done,
    /// Stopped by its user, or its process is gone.
    Stopped,
    /// Ended by an error.
    Failed,
    /// Its `run.json` is missing, damaged, or of a newer kiln.
    Unreadable,
}

impl Standing {
    /// How a run stands whose record says `status`.
    pub(crate) fn of(status: Status, is_live: bool) -> Self {
        match status {
            Status::Running if is_live => Self::Running,
            Status::Running | Status::Interrupted => Self::Stopped,
            Status::Done => Self::Done,
            Status::Failed => Self::Failed,
        }
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Which images a finished model is measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredOn {
    /// The test images, once.
    #[default]
    Test,
    /// The validation images alone: the run is one of several to choose from, and the test images must not choose.
    Validation,
    /// The few training images that the run was to learn by heart: it is a test of the network, and no result.
    Training,
}

impl MeasuredOn {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything about a run that its config does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The version of this file's layout.
    pub schema_version: u32,
    /// How far it has come.
    pub status: Status,
    /// Why it failed or stopped before its last epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it last ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
    /// The version of kiln.
    pub kiln_version: String,
    /// The version of Burn.
    pub burn_version: String,
    /// The commit of the repository that the command ran in, if it ran in one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub git_commit: Option<String>,
    /// The device as opened, for example `flex`.
    pub device: String,
    /// The experiment's seed.
    pub seed: u64,
    /// Threads of the CPU pool.
    pub threads: usize,
    /// Which operations computed on the CPU: `kiln`, its own kernels, or `stock`, Burn's (`KILN_STOCK_OPS=1`). They
    /// differ in the last bits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernels: Option<String>,
    /// Which images its model is measured on.
    #[serde(default, skip_serializing_if = "MeasuredOn::is_default")]
    pub measured_on: MeasuredOn,
    /// SHA-256 of the data set's source.
    pub data_fingerprint: String,
    /// SHA-256 of the weights of the model that it learned from besides the labels, and of its views where it has several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_sha256: Option<String>,
    /// The run whose weights this one began with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<String>,
    /// Everything the user was warned of.
    pub warnings: Vec<String>,
    /// When it was resumed or extended, and from where.
    #[serde(default)]
    pub history: Vec<String>,
    /// The summary of a finished run, as `kiln train --json` prints it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<serde_json::Value>,
}

impl RunRecord {
    /// Writes it into `run`, in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, run: &RunDir) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::failed("cannot write run.json").caused_by(error))?;
        file::write_atomic(&run.record(), format!("{text}\n").as_bytes())
    }

    /// Reads it from `run`.
    ///
    /// # Errors
    /// When it is missing or no longer what kiln wrote.
    pub(crate) fn load(run: &RunDir) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let path = run.record();
        let text = file::read_text(&path).map_err(Unusable::Damaged)?;
        let damaged = |error: serde_json::Error| {
            Unusable::Damaged(Error::usage(format!("`{}` is damaged", path.display())).caused_by(error))
        };
        // The version first: the rest of a newer file may have another form.
        let Version { schema_version } = serde_json::from_str(&text).map_err(damaged)?;
        if schema_version > SCHEMA_VERSION {
            return Err(Unusable::Foreign(
                Error::usage(format!(
                    "`{}` is of version {schema_version}, and this kiln knows versions up to {SCHEMA_VERSION}",
                    path.display()
                ))
                .tip("update kiln"),
            ));
        }
        serde_json::from_str(&text).map_err(damaged)
    }
}

/// The present moment as RFC 3339, in UTC and whole seconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
