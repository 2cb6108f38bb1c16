//! `kiln compare`: whether one model, or one config over several seeds, is better than another by more than luck.

use std::path::{Path, PathBuf};

use super::ui::{Mode, Ui};
use super::{data_of, model_file, open_device};
use crate::compare::{Answers, Arm, Comparison};
use crate::data::{DataConfig, Dataset};
use crate::eval::{Predictions, training_data};
use crate::predict::Predictor;
use crate::run::file;
use crate::{Error, Result, report};

/// The arguments of `kiln compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArguments {
    /// What to compare, each a model file, the directory of a run, or a folder of runs that differ in their seed alone
    #[arg(required = true, num_args = 2.., value_name = "MODEL", value_parser = super::run_parser(), add = super::completions::runs())]
    models: Vec<PathBuf>,

    /// Measure on the test images of this config's [data]; without it: on those of the training, which must be the same
    /// for all
    #[arg(long, value_name = "CONFIG")]
    data: Option<String>,

    /// Compute here
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,

    /// Write a page with the verdict and the pictures on which they disagree
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// Asks every model about every test image, compares and prints.
pub fn run(arguments: CompareArguments, ui: &mut Ui) -> Result<()> {
    let device = open_device(&arguments.device, "`kiln compare` computes")?;
    let found: Vec<Vec<PathBuf>> = arguments.models.iter().map(|path| models(path, ui)).collect::<Result<_>>()?;
    let mut dataset = arguments.data.as_deref().map(data_of).transpose()?;
    let bar = ui.bar("measuring", found.iter().map(Vec::len).sum());
    let mut arms = Vec::new();
    for (name, paths) in names(&arguments.models).into_iter().zip(found) {
        let mut arm = Arm { name, models: Vec::new() };
        for path in paths {
            let predictor = Predictor::open_on(&path, &device.device)?;
            refuse_overfit(&predictor, &path)?;
            let known = dataset.take();
            let data = dataset.insert(same_data(known, &predictor, &path, arguments.data.is_some())?);
            let answers = Predictions::of(&predictor, &data.test, |_| ())?;
            arm.models.push(Answers {
                seed: Some(predictor.manifest().provenance.seed),
                right: (0..answers.len()).map(|index| answers.is_right(index)).collect(),
            });
            bar.inc(1);
        }
        arms.push(arm);
    }
    bar.finish_and_clear();
    let comparison = Comparison::new(&arms, 0)?;
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(&comparison)
            .map_err(|error| Error::failed("cannot encode the comparison").caused_by(error))?;
        ui.json(&value);
    } else {
        ui.out(&report::comparison(&comparison));
    }
    if let (Some(path), Some(dataset)) = (&arguments.out, &dataset) {
        let page = report::comparison_page(&comparison, &arms, &dataset.test)?;
        file::write_atomic(path, page.as_bytes())?;
        ui.say(&format!("\nwrote {}", path.display()));
    }
    Ok(())
}

/// The model files of what a user named: the one, or one of each run in a folder.
fn models(path: &Path, ui: &Ui) -> Result<Vec<PathBuf>> {
    let one = model_file(path);
    if one.is_file() {
        return Ok(vec![one]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| {
        Error::usage(format!("cannot read `{}`", path.display()))
            .caused_by(error)
            .tip("name a model file, the directory of a run, or a folder of runs")
    })?;
    let mut runs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    runs.retain(|run| run.join("run.json").is_file());
    runs.sort();
    let (done, unfinished): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| model_file(run).is_file());
    for run in &unfinished {
        ui.warn(&format!("`{}` has no model file yet and is left out", run.display()));
    }
    if done.is_empty() {
        return Err(Error::usage(format!("`{}` holds no model and no run that has one", path.display()))
            .tip("name a model file, the directory of a finished run, or a folder of runs"));
    }
    Ok(done.iter().map(|run| model_file(run)).collect())
}

/// # Errors
/// When the model was trained as a test: it is worse than others on purpose.
fn refuse_overfit(predictor: &Predictor, path: &Path) -> Result<()> {
    let Some(batches) = predictor.manifest().overfit_batches() else { return Ok(()) };
    Err(Error::usage(format!(
        "`{}` is no result: it was to learn {batches} of its batches by heart (train.overfit_batches), as a test",
        path.display()
    ))
    .tip("compare runs that were trained on all of their images: kiln train CONFIG"))
}

/// What each is called: the last part of its path, or all of it where that would name two.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = |path: &PathBuf| {
        let others = paths.iter().filter(|other| last(other) == last(path)).count();
        last(path).filter(|_| others == 1).unwrap_or_else(|| path.display().to_string())
    };
    paths.iter().map(name).collect()
}

/// The data that all models are measured on: those that are `known` already, if they are this model's too.
fn same_data(known: Option<Dataset>, predictor: &Predictor, path: &Path, is_chosen: bool) -> Result<Dataset> {
    let Some(known) = known else { return training_data(predictor.manifest()) };
    let own = &predictor.manifest().provenance.data_fingerprint;
    if is_chosen || own.is_empty() || known.has_fingerprint(own) {
        return Ok(known);
    }
    let error = Error::usage(format!("`{}` was trained on other data than the models before it", path.display()));
    let is_made_up = |data: DataConfig| data.source.kind() == "synthetic" && data.seed.is_none();
    if predictor.manifest().training_data().is_ok_and(is_made_up) {
        return Err(error
            .caused_by("its images are made up from the experiment's seed (data.kind = \"synthetic\"): another seed has others")
            .tip("train every seed on the same images, with a seed of their own: --set data.seed=1"));
    }
    Err(error
        .tip("to measure all of them on the same test images on purpose, name a config that has them: --data CONFIG"))
}
