//! `kiln predict`: what is in a picture.

use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::json;

use super::pictures::{Source, Sources, refuse_swapped};
use super::ui::{Mode, Ui};
use super::{open_device, open_model};
use crate::data::picture;
use crate::predict::{Prediction, Predictor};
use crate::{Error, Result};

/// The arguments of `kiln predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArguments {
    /// A model file, or a run: its directory, its number, or latest
    #[arg(value_name = "MODEL", value_parser = super::run_parser(), add = super::completions::runs())]
    model: PathBuf,

    /// Pictures, folders of pictures, patterns such as "scans/*.png", or - for a picture on stdin
    #[arg(value_name = "PICTURE", required = true)]
    pictures: Vec<String>,

    /// How many answers to give for each picture
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    top: usize,

    /// Answer "unsure" where the likeliest class has a lower probability than this, 0 to 1
    #[arg(long, value_name = "PROBABILITY", value_parser = super::confidence)]
    min_confidence: Option<f64>,

    /// Draw what the network saw
    #[arg(long)]
    show: bool,

    /// The pictures are as the training images are: exact size, no search for ink, no centring
    #[arg(long)]
    raw: bool,

    /// Compute here
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

/// What is added to an answer that means little.
const UNLIKE: &str = "   (unlike the training images)";

/// Pictures that are decoded and predicted at a time.
const CHUNK: usize = 512;

/// Predicts and prints. A picture that cannot be used is reported, and the others are predicted all the same.
pub fn run(arguments: PredictArguments, ui: &mut Ui) -> Result<()> {
    refuse_swapped(&arguments.model, &arguments.pictures)?;
    let device = open_device(&arguments.device, "`kiln predict` computes")?;
    let predictor = Predictor::open_on(&open_model(&arguments.model, ui)?, &device.device)?;
    let classes = predictor.manifest().classes.len();
    if !(1..=classes).contains(&arguments.top) {
        return Err(Error::usage(format!("--top: must be 1 to {classes}, got {}", arguments.top)));
    }
    if arguments.min_confidence.is_some() && predictor.manifest().calibration.is_none() {
        ui.warn("the model is not calibrated: its probabilities need not say how often it is right");
    }
    let sources = Sources::named(&arguments.pictures)?;
    if let Some(notice) = sources.notice() {
        ui.warn(&notice);
    }
    let sources = sources.pictures;
    let bar = ui.bar("pictures", if sources.len() > CHUNK { sources.len() } else { 0 });
    let width = sources.iter().map(|source| source.name().chars().count()).max().unwrap_or(0).min(60);
    let mut failed = 0;
    for chunk in sources.chunks(CHUNK) {
        let inputs: Vec<Result<Vec<u8>>> =
            chunk.par_iter().map(|source| input(source, &predictor, arguments.raw)).collect();
        let usable: Vec<&[u8]> = inputs.iter().filter_map(|input| input.as_deref().ok()).collect();
        let mut predictions = predictor.predict_prepared(&usable)?.into_iter();
        for (source, input) in chunk.iter().zip(&inputs) {
            match input {
                Ok(_) => {
                    let Some(prediction) = predictions.next() else { break };
                    bar.suspend(|| say(ui, &arguments, &source.name(), width, &prediction, &predictor));
                }
                Err(error) => {
                    failed += 1;
                    bar.suspend(|| refuse(ui, &source.name(), error));
                }
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    match failed {
        0 => Ok(()),
        _ => Err(Error::failed(format!("{failed} of {} pictures could not be used", sources.len()))),
    }
}

fn say(
    ui: &Ui,
    arguments: &PredictArguments,
    name: &str,
    width: usize,
    prediction: &Prediction,
    predictor: &Predictor,
) {
    let ranked = &prediction.ranked[..arguments.top];
    let answer = prediction.answer(arguments.min_confidence.unwrap_or(0.0));
    if ui.mode() == Mode::Json {
        let answers: Vec<_> =
            ranked.iter().map(|answer| json!({ "label": answer.label, "probability": answer.probability })).collect();
        let mut line = json!({
            "picture": name, "label": answer.map(|answer| &answer.label), "probability": ranked[0].probability,
            "top": answers,
        });
        if arguments.min_confidence.is_some() {
            line["unsure"] = answer.is_none().into();
        }
        if let Some(unlike) = prediction.out_of_distribution {
            line["out_of_distribution"] = unlike.into();
        }
        ui.json(&line);
    } else {
        let answers: Vec<String> =
            ranked.iter().map(|answer| format!("{} {:.2} %", answer.label, answer.probability * 100.0)).collect();
        // A file may be called anything.
        let name = name.replace(char::is_control, "\u{fffd}");
        let answers = match answer {
            Some(_) => answers.join("   "),
            None => format!("unsure ({})", answers.join("   ")),
        };
        let unlike = if prediction.out_of_distribution == Some(true) { UNLIKE } else { "" };
        ui.out(&format!("{name:<width$}  {answers}{unlike}"));
    }
    if arguments.show {
        ui.say(&picture::ascii(&prediction.input, predictor.manifest().preprocess.shape));
    }
}

fn refuse(ui: &Ui, name: &str, error: &Error) {
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "picture": name, "error": error.render() }));
    } else {
        super::ui::error(error);
    }
}

/// The picture as the network takes it.
fn input(source: &Source, predictor: &Predictor, raw: bool) -> Result<Vec<u8>> {
    let preprocess = &predictor.manifest().preprocess;
    let input = source
        .decode()
        .and_then(|image| if raw { picture::raw(&image, preprocess) } else { picture::fit(&image, preprocess) });
    input.map_err(|error| Error::usage(format!("cannot use the picture `{}`", source.name())).caused_by(error))
}
