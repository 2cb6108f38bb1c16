//! What a run is made of, opened and checked before anything is written.

use std::sync::Arc;

use burn::tensor::Device;

use crate::config::Experiment;
use crate::data::order::first_images;
use crate::data::{self, Dataset};
use crate::device::{self, Opened, Request};
use crate::plan::{Images, Plan};
use crate::run::record::{self, now};
use crate::run::{MeasuredOn, RunRecord, Status};
use crate::train::devices::Other;
use crate::train::distillation::Teacher;
use crate::train::remote::client::Remote;
use crate::train::remote::link::Patience;
use crate::train::remote::token::Token;
use crate::train::session::Session;
use crate::{Error, Result, artifact, ops};

/// Opens the images that `experiment` is trained on: all of them, or those that it is to learn by heart.
///
/// # Errors
/// As [`data::open`], and when there are fewer batches than are to be learned.
pub(crate) fn open_data(experiment: &Experiment) -> Result<Dataset> {
    let dataset = data::open(&experiment.data, experiment.seed)?;
    let Some(batches) = experiment.train.overfit_batches else { return Ok(dataset) };
    let (images, size) = (dataset.train.len(), experiment.train.batch_size.max(1));
    if batches > images.div_ceil(size) {
        return Err(Error::usage(format!(
            "`train.overfit_batches`: must be at most the {} batches of {size} that {images} training images make, got {batches}",
            images.div_ceil(size)
        )));
    }
    // Those that a whole run begins with: a data set may be sorted by class.
    let chosen = first_images(images, batches * size, experiment.seed);
    Ok(dataset.cut(&chosen, 0, dataset.test.len()))
}

/// What a run is made of, opened and checked.
pub(super) struct Prepared {
    pub(super) experiment: Experiment,
    pub(super) plan: Plan,
    pub(super) dataset: Dataset,
    pub(super) device: Opened,
    pub(super) teacher: Option<Arc<Teacher>>,
    pub(super) others: Vec<Other>,
}

/// The arithmetic of `experiment` on `dataset`, with the teacher that it names.
///
/// # Errors
/// As [`Plan::new`], when the teacher cannot be used, and when the device that is named does not train in the precision.
pub(crate) fn plan(experiment: &Experiment, dataset: &Dataset) -> Result<Plan> {
    let request = experiment.device.parse::<Request>()?;
    // What `auto` will choose is not asked here: a plan opens no device.
    request.backend().map_or(Ok(()), |backend| experiment.train.precision.require_on(backend))?;
    let plan = Plan::new(experiment, Images::of(dataset))?;
    let teacher = Teacher::open(experiment, dataset, &Device::flex())?;
    Ok(plan.taught_by(teacher.as_deref().map(Teacher::planned)).shared_out(&request))
}

/// Connects to the workers on other machines that share the batches: one that cannot be used is known before anything is
/// written.
fn connect(device: &Opened, experiment: &Experiment) -> Result<Vec<Other>> {
    if device.workers.is_empty() {
        return Ok(Vec::new());
    }
    if experiment.loss.teacher.is_some() {
        return Err(Error::usage(
            "`loss.teacher`: a worker on another machine has no teacher, and would learn from the labels alone",
        )
        .tip("train with the teacher on this machine: leave the worker out of --device"));
    }
    let token = Token::from_environment()?;
    let connect = |address| Remote::connect(address, &token, device.backend, Patience::default());
    device.workers.iter().map(|address| Ok(Other::Remote(Arc::new(connect(address)?)))).collect()
}

impl Prepared {
    /// Opens the device called `device_name`, connects to the workers in that name, opens the data, and plans.
    pub(super) fn new(experiment: Experiment, device_name: &str) -> Result<Self> {
        let request = device_name.parse::<Request>()?;
        let device = device::open(request.clone())?;
        experiment.train.precision.require_on(device.backend)?;
        let workers = connect(&device, &experiment)?;
        let dataset = open_data(&experiment)?;
        let plan = Plan::new(&experiment, Images::of(&dataset))?;
        let teacher = Teacher::open(&experiment, &dataset, &device.device)?;
        let plan = plan.taught_by(teacher.as_deref().map(Teacher::planned)).shared_out(&request);
        let other = |other: &Device| {
            let teacher = match &teacher {
                Some(teacher) if *other == device.device => Some(teacher.clone()),
                _ => Teacher::open(&experiment, &dataset, other)?,
            };
            Ok(Other::Here(other.clone(), teacher))
        };
        let here = device.others.iter().map(other).collect::<Result<Vec<_>>>()?;
        let others = here.into_iter().chain(workers).collect();
        Ok(Self { experiment, plan, dataset, device, teacher, others })
    }

    /// The training of it.
    pub(super) fn session(&self) -> Session<'_> {
        Session {
            experiment: &self.experiment,
            plan: &self.plan,
            dataset: &self.dataset,
            device: self.device.device.clone(),
            teacher: self.teacher.clone(),
            others: self.others.clone(),
        }
    }

    /// SHA-256 of the teacher's weights, if there is a teacher.
    pub(super) fn teacher_sha256(&self) -> Option<String> {
        self.teacher.as_ref().map(|teacher| teacher.sha256().to_owned())
    }

    /// Which images its model is measured on, where nothing else is asked for.
    pub(super) fn measured_on(&self) -> MeasuredOn {
        match self.experiment.train.overfit_batches {
            None => MeasuredOn::Test,
            Some(_) => MeasuredOn::Training,
        }
    }

    /// What a new run is called, before its number: one that is no result says so.
    pub(super) fn run_name(&self) -> String {
        match self.experiment.train.overfit_batches {
            None => self.experiment.name.clone(),
            Some(_) => format!("{}-overfit", self.experiment.name),
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
            measured_on: self.measured_on(),
            data_fingerprint: self.dataset.fingerprint.clone(),
            teacher_sha256: self.teacher_sha256(),
            parent,
            warnings: self.warnings(),
            history: Vec::new(),
            result: None,
        }
    }
}
