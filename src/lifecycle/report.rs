//! The report of a run: gathers what [`report`](crate::report) shows, and puts the page into the run.

use std::path::PathBuf;

use burn::tensor::Device;

use super::finish::Exported;
use super::prepared::{Prepared, open_data, plan};
use super::run::Run;
use crate::data::augment::{self, Augment, Scratch};
use crate::data::{Dataset, ImageSet};
use crate::eval::{self, Predictions, SecondLook};
use crate::models::Weights;
use crate::plan::{Images, Plan};
use crate::predict::Predictor;
use crate::report::{self, Activations, Filters, Inputs, LayerWords, PlanWords, Report, Test};
use crate::run::{EpochMetrics, MeasuredOn, RunDir, RunRecord, Status, file};
use crate::train::session::Session;
use crate::{Error, Experiment, Result, artifact};

/// Images of the first batch that a report shows.
const INPUTS: usize = 24;

/// Labels that look wrong that it shows.
const SUSPECTS: usize = 20;

/// Writes the page and the table of a run that has just ended, and is described by `record`.
///
/// # Errors
/// When the report cannot be made or written.
pub(super) fn write(
    prepared: &Prepared,
    dir: &RunDir,
    record: &RunRecord,
    epochs: Vec<EpochMetrics>,
    best_epoch: Option<usize>,
    exported: &Exported,
) -> Result<()> {
    let mut report = empty(dir, record, epochs, prepared.experiment.to_toml());
    report.best_epoch = best_epoch;
    add_training(&mut report, &prepared.session())?;
    add_model(&mut report, &prepared.session(), exported)?;
    file::write_atomic(&dir.report(), report::page(&report).as_bytes())?;
    file::write_atomic(&dir.curves(), report::curves_csv(&report.epochs).as_bytes())
}

impl Run {
    /// Everything that can be said about the run as it is, at any time: an unfinished one has less to show.
    ///
    /// # Errors
    /// When `run.json`, `config.toml`, `metrics.jsonl` or the model file is damaged, or a device fails. Data that are gone or
    /// changed are no error: the report says so, and leaves out what needs them.
    pub(crate) fn report(&self) -> Result<Report> {
        let record = self.record()?;
        let experiment = self.experiment()?;
        let mut report = empty(&self.dir, &record, self.metrics()?, experiment.to_toml());
        let model = self.model().is_file().then(|| artifact::read(&self.model())).transpose()?;
        if let Some((manifest, _)) = &model {
            report.weights_sha256 = Some(manifest.weights_sha256.clone());
            report.best_epoch =
                manifest.metrics.get("best_epoch").and_then(|epoch| usize::try_from(epoch.as_u64()?).ok());
        }
        if record.status != Status::Done {
            report.notices.push("The run is not finished: this report shows what it has so far.".into());
        }
        let dataset = match self.data(&experiment, &record) {
            Ok(dataset) => dataset,
            Err(error) => {
                report.notices.push(format!("Pictures, test results and the plan are left out: {}.", error.line()));
                return Ok(report);
            }
        };
        let plan = match plan(&experiment, &dataset) {
            Ok(plan) => plan,
            Err(error) if experiment.loss.teacher.is_some() => {
                report.notices.push(format!("The plan is without the teacher: {}.", error.line()));
                Plan::new(&experiment, Images::of(&dataset))?
            }
            Err(error) => return Err(error),
        };
        let session = Session {
            experiment: &experiment,
            plan: &plan,
            dataset: &dataset,
            device: Device::flex(),
            teacher: None,
            others: Vec::new(),
        };
        add_training(&mut report, &session)?;
        let why = match record.measured_on {
            MeasuredOn::Test => None,
            MeasuredOn::Validation => Some("the run is one of several to choose from, by the validation images alone"),
            MeasuredOn::Training => Some("the run learned a few batches by heart, as a test, and is no result"),
        };
        if let Some(why) = why {
            report.notices.push(format!("Test results are left out: {why}."));
        } else if let Some((manifest, weights)) = model {
            let predictor = Predictor::new(manifest, &weights, &session.device)?;
            let predictions = Predictions::of(&predictor, &dataset.test, |_| ())?;
            let evaluation = predictions.evaluation();
            add_model(
                &mut report,
                &session,
                &Exported {
                    measured_on: MeasuredOn::Test,
                    evaluation,
                    predictions,
                    predictor,
                    weights,
                    trust_problem: None,
                },
            )?;
        }
        Ok(report)
    }

    /// Writes the run's page, and beside it the table of its metrics, into the run's directory.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn keep_report(&self, report: &Report) -> Result<PathBuf> {
        file::write_atomic(&self.dir.report(), report::page(report).as_bytes())?;
        file::write_atomic(&self.dir.curves(), report::curves_csv(&report.epochs).as_bytes())?;
        Ok(self.dir.report())
    }

    fn data(&self, experiment: &Experiment, record: &RunRecord) -> Result<Dataset> {
        let dataset = open_data(experiment)?;
        if dataset.has_fingerprint(&record.data_fingerprint) {
            return Ok(dataset);
        }
        Err(Error::usage("the data is not what the run was trained on"))
    }
}

/// The report of a run of which only its files are known.
fn empty(dir: &RunDir, record: &RunRecord, epochs: Vec<EpochMetrics>, config: String) -> Report {
    Report {
        run: dir.path().file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned()),
        record: record.clone(),
        notices: Vec::new(),
        epochs,
        best_epoch: None,
        test: None,
        inputs: None,
        filters: None,
        activations: None,
        plan: None,
        config,
        weights_sha256: None,
    }
}

/// Adds what follows from the experiment and its images, trained or not.
fn add_training(report: &mut Report, session: &Session) -> Result<()> {
    report.plan = Some(PlanWords {
        lines: session.plan.render(),
        arithmetic: session.plan.arithmetic(),
        layers: LayerWords::of(&session.plan.layers),
    });
    report.inputs = Some(inputs(session)?);
    Ok(())
}

/// The first images of the first batch, before and after augmentation.
pub(super) fn inputs(session: &Session) -> Result<Inputs> {
    let (set, augment): (&ImageSet, _) = (&session.dataset.train, session.experiment.augment());
    let mut samples = session.first_batch()?;
    samples.truncate(INPUTS);
    let mut distorted = Vec::new();
    if !augment::is_identity(augment) {
        let augment = Augment::new(augment, set, session.experiment.seed);
        let mut scratch = Scratch::default();
        for sample in &samples {
            let mut out = vec![0; set.shape.len()];
            augment.apply(set.image(sample.index), (sample.epoch, sample.position), &mut scratch, &mut out);
            distorted.push(out);
        }
    }
    Inputs::new(set, samples.iter().map(|sample| sample.index).collect(), &distorted)
}

/// Adds what the kept model shows.
fn add_model(report: &mut Report, session: &Session, exported: &Exported) -> Result<()> {
    let Exported { predictions, predictor, weights, .. } = exported;
    let test = &session.dataset.test;
    report.weights_sha256 = Some(weights.sha256());
    let known = eval::known_label_errors(&session.dataset.fingerprint, predictions);
    let (train, augment) = (&session.dataset.train, session.experiment.augment());
    let distortion = (!augment::is_identity(augment)).then(|| Augment::new(augment, train, session.experiment.seed));
    let look = SecondLook { predictor, test, train, augment: distortion.as_ref() };
    let suspects = eval::suspects(predictions, &look, &known, SUSPECTS)?;
    report.test = Some(Test::new(predictions, test, suspects, known)?);
    report.filters =
        Filters::new(&session.plan.layers, &session.dataset.train, first_weights(report, session)?.as_ref(), weights)?;
    let layers = predictor.layer_outputs(test.image(0))?;
    report.activations = Some(Activations::new(test, 0, layers)?);
    Ok(())
}

/// What training began with, where the seed tells it: not for a run that began with another's weights.
fn first_weights(report: &Report, session: &Session) -> Result<Option<Weights>> {
    if report.record.parent.is_some() {
        return Ok(None);
    }
    session.initial_weights().map(Some)
}
