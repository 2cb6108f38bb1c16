//! `kiln eval`: a model file measured on labelled images.

use std::path::PathBuf;

use super::ui::{Mode, Ui};
use super::{data_of, encode, open_device, open_model};
use crate::eval::{Outsiders, Predictions, training_data};
use crate::predict::Predictor;
use crate::run::file;
use crate::{Error, Result, data, report};

/// The arguments of `kiln eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArguments {
    /// A model file, or a run: its directory, its number, or latest
    #[arg(value_name = "MODEL", value_parser = super::run_parser(), add = super::completions::runs())]
    model: PathBuf,

    /// Measure on the images of this config's [data], whatever the model was trained on; without it: on the data of its
    /// training, which must still be what they were
    #[arg(long, value_name = "CONFIG")]
    data: Option<String>,

    /// Which images
    #[arg(long, value_enum, default_value_t = Part::Test)]
    part: Part,

    /// Compute here
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// Write every answer to this file, one JSON object per line: index, label, answer, probabilities, loss
    #[arg(long, value_name = "FILE.jsonl")]
    save: Option<PathBuf>,

    /// Draw the worst mistakes, 8 or as many as given
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "8", require_equals = true)]
    errors: Option<usize>,

    /// Also ask about the test images of this config's [data], none of which belongs to a class of the model: how well they are
    /// told from the others
    #[arg(long, value_name = "CONFIG")]
    outsiders: Option<String>,

    /// Exit with 1 when the accuracy is below this, 0 to 1
    #[arg(long, value_name = "ACCURACY", value_parser = super::accuracy)]
    require_accuracy: Option<f64>,
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The test images
    Test,
    /// The images held out to choose the best epoch by
    Validation,
    /// The images that were learned from
    Train,
}

/// Measures and prints.
pub fn run(arguments: EvalArguments, ui: &mut Ui) -> Result<()> {
    let device = open_device(&arguments.device, "`kiln eval` computes")?;
    let predictor = Predictor::open_on(&open_model(&arguments.model, ui)?, &device.device)?;
    if let Some(batches) = predictor.manifest().overfit_batches() {
        ui.warn(&format!(
            "the model was to learn {batches} of its batches by heart, as a test (train.overfit_batches)"
        ));
    }
    let dataset = match &arguments.data {
        Some(config) => data_of(config)?,
        None => training_data(predictor.manifest()).map_err(|error| {
            error.tip("to measure on other data on purpose, name a config that has them: --data CONFIG")
        })?,
    };
    for notice in &dataset.notices {
        ui.warn(notice);
    }
    let set = match arguments.part {
        Part::Test => &dataset.test,
        Part::Validation => &dataset.validation,
        Part::Train => &dataset.train,
    };
    let predictions = answers(ui, &predictor, set)?;
    let evaluation = predictions.evaluation();
    let outsiders = match &arguments.outsiders {
        Some(config) => Some(Outsiders::measure(&predictor, &predictions, &data_of(config)?.test)?),
        None => None,
    };
    if let Some(path) = &arguments.save {
        file::write_atomic(path, predictions.to_jsonl()?.as_bytes())?;
    }
    if ui.mode() == Mode::Json {
        let mut value = encode(&evaluation)?;
        if let Some(outsiders) = &outsiders {
            value["outsiders"] = encode(outsiders)?;
        }
        ui.json(&value);
    } else {
        ui.out(&report::evaluation(&evaluation));
        ui.out(&report::trust(predictor.manifest(), &evaluation, outsiders.as_ref()));
    }
    if let Some(most) = arguments.errors {
        ui.say(&format!("\n{}", report::mistakes(&predictions, set, most, ui.has_colour())));
    }
    match arguments.require_accuracy {
        Some(required) if evaluation.accuracy < required => {
            Err(Error::failed(format!("accuracy {:.4} is below the required {required}", evaluation.accuracy)))
        }
        _ => Ok(()),
    }
}

/// Asks about every image, with a progress bar.
fn answers(ui: &Ui, predictor: &Predictor, set: &data::ImageSet) -> Result<Predictions> {
    let bar = ui.bar("measuring", set.len());
    let predictions = Predictions::of(predictor, set, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    predictions
}
