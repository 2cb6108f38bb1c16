//! What a run is made of, opened and checked before anything is written.

use crate::config::Experiment;
use crate::data::{self, Dataset};
use crate::device::{self, Opened};
use crate::plan::{Images, Plan};
use crate::run::record::{self, now};
use crate::run::{MeasuredOn, RunRecord, Status};
use crate::train::session::Session;
use crate::{Result, artifact, ops};

/// What a run is made of, opened and checked.
pub(super) struct Prepared {
    pub(super) experiment: Experiment,
    pub(super) plan: Plan,
    pub(super) dataset: Dataset,
    pub(super) device: Opened,
}

impl Prepared {
    /// Opens the device called `device_name` and the data, and plans.
    pub(super) fn new(experiment: Experiment, device_name: &str) -> Result<Self> {
        let device = device::open(device_name.parse()?)?;
        let dataset = data::open(&experiment.data, experiment.seed)?;
        let plan = Plan::new(&experiment, Images::of(&dataset))?;
        Ok(Self { experiment, plan, dataset, device })
    }

    /// The training of it.
    pub(super) fn session(&self) -> Session<'_> {
        Session {
            experiment: &self.experiment,
            plan: &self.plan,
            dataset: &self.dataset,
            device: self.device.device.clone(),
        }
    }

    /// What the user should know before the run begins.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.plan.warnings.iter().chain(&self.dataset.notices).cloned().collect()
    }

    /// `run.json` of a run that begins now.
    pub(super) fn record(&self, parent: Option<String>) -> RunRecord {
        RunRecord {
            schema_version: record::SCHEMA_VERSION,
            status: Status::Running,
            message: None,
            started: now(),
            ended: None,
            kiln_version: env!("CARGO_PKG_VERSION").into(),
            burn_version: artifact::BURN_VERSION.into(),
            git_commit: artifact::git_commit(),
            device: self.device.name.clone(),
            seed: self.experiment.seed,
            threads: rayon::current_num_threads(),
            kernels: Some(ops::in_use().into()),
            measured_on: MeasuredOn::Test,
            data_fingerprint: self.dataset.fingerprint.clone(),
            parent,
            warnings: self.warnings(),
            history: Vec::new(),
            result: None,
        }
    }
}
