//! `kiln predict`: what is in a picture.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;

use super::ui::{Mode, Ui};
use super::{model_file, open_device};
use crate::data::picture;
use crate::predict::{Prediction, Predictor};
use crate::run::file;
use crate::{Error, Result};

/// The arguments of `kiln predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArguments {
    /// A model file, or the directory of a run
    #[arg(value_name = "MODEL")]
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

/// Predicts and prints; a picture that cannot be used is reported and the others go on.
pub fn run(arguments: PredictArguments, ui: &mut Ui) -> Result<()> {
    let device = open_device(&arguments.device)?;
    let predictor = Predictor::open_on(&model_file(&arguments.model), &device.device)?;
    let classes = predictor.manifest().classes.len();
    if !(1..=classes).contains(&arguments.top) {
        return Err(Error::usage(format!("--top: must be 1 to {classes}, got {}", arguments.top)));
    }
    if arguments.min_confidence.is_some() && predictor.manifest().calibration.is_none() {
        ui.warn("the model is not calibrated: its probabilities need not say how often it is right");
    }
    let sources = sources(&arguments.pictures)?;
    let bar = ui.bar("pictures", if sources.len() > CHUNK { sources.len() } else { 0 });
    let width = sources.iter().map(|source| source.name().chars().count()).max().unwrap_or(0).min(60);
    let mut failed = 0;
    for chunk in sources.chunks(CHUNK) {
        let inputs: Vec<Result<Vec<u8>>> =
            chunk.par_iter().map(|source| source.input(&predictor, arguments.raw)).collect();
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

/// Where a picture comes from.
enum Source {
    File(PathBuf),
    Stdin(Vec<u8>),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin(_) => "-".to_owned(),
        }
    }

    fn decode(&self) -> Result<picture::Decoded> {
        match self {
            Self::File(path) => picture::decode(&file::read_bounded(path, picture::MAX_BYTES - 1)?),
            Self::Stdin(bytes) => picture::decode(bytes),
        }
    }

    fn input(&self, predictor: &Predictor, raw: bool) -> Result<Vec<u8>> {
        let preprocess = &predictor.manifest().preprocess;
        let input = self
            .decode()
            .and_then(|image| if raw { picture::raw(&image, preprocess) } else { picture::fit(&image, preprocess) });
        input.map_err(|error| Error::usage(format!("cannot use the picture `{}`", self.name())).caused_by(error))
    }
}

/// The pictures that the arguments name, in their order; the files of a folder by name.
fn sources(arguments: &[String]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for argument in arguments {
        let path = Path::new(argument);
        if argument == "-" {
            let mut bytes = Vec::new();
            std::io::stdin()
                .take(picture::MAX_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|error| Error::usage("cannot read a picture from stdin").caused_by(error))?;
            sources.push(Source::Stdin(bytes));
        } else if path.is_dir() {
            let files = files_in(path)?;
            if files.is_empty() {
                return Err(Error::usage(format!("the folder `{argument}` holds no file")));
            }
            sources.extend(files.into_iter().map(Source::File));
        } else if path.exists() || !argument.contains(['*', '?', '[']) {
            sources.push(Source::File(path.to_owned()));
        } else {
            let matches = glob::glob(argument)
                .map_err(|error| Error::usage(format!("the pattern `{argument}` is not valid")).caused_by(error))?;
            let before = sources.len();
            sources.extend(matches.flatten().filter(|path| path.is_file()).map(Source::File));
            if sources.len() == before {
                return Err(Error::usage(format!("the pattern `{argument}` matches no file")));
            }
        }
    }
    Ok(sources)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Error::usage(format!("cannot list `{}`", folder.display())).caused_by(error))?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file() && !hidden(path)).collect();
    files.sort();
    Ok(files)
}
