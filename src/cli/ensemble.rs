//! `kiln ensemble`: one model file of several models, or of one that answers for other views of an image.

use std::path::PathBuf;

use super::ui::{Mode, Ui};
use super::{encode, model_file, quoted, run_parser, seeds};
use crate::artifact::Format;
use crate::data::TestTimeAugmentationConfig;
use crate::data::augment::Fill;
use crate::eval::AnswersFor;
use crate::{Error, Result, eval, report};

/// The arguments of `kiln ensemble`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The answer is the mean of the models' probabilities, and of all views. The file is used like any other model file.\n\
                        The runs of a set of seeds: kiln ensemble runs/mnist-seeds-0001 --out model.bpk\n\
                        One model for ten views of a picture: kiln ensemble latest --flip --shift 1 --out model.bpk"
)]
pub struct EnsembleArguments {
    /// Directories of runs, model files, or the folder of a set of seeds, which stands for all of its runs; one model
    /// takes other views to answer for
    #[arg(value_name = "RUN", required = true, value_parser = run_parser())]
    models: Vec<PathBuf>,

    /// The file to write, in kiln's own format; `kiln export` writes it in others
    #[arg(long, short, value_name = "FILE.bpk")]
    out: PathBuf,

    /// Replace the file when it exists
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    views: ViewArguments,
}

/// What the answer is the mean over (test-time augmentation); without any of these: what the models say of themselves.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Views of a picture (test-time augmentation)")]
struct ViewArguments {
    /// Answer for the picture and its mirror image: not for digits and letters
    #[arg(long)]
    flip: bool,

    /// Answer for the picture and for it shifted by so many pixels to each side
    #[arg(long, value_name = "PIXELS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    shift: Option<usize>,

    /// 8: shift it along the diagonals as well
    #[arg(long, value_name = "4 or 8", requires = "shift", value_parser = directions)]
    directions: Option<usize>,

    /// What fills the pixels that a shift leaves: auto (as in training), edge, reflect, mean, or a value of 0 to 255
    #[arg(long, value_name = "FILL", requires = "shift")]
    fill: Option<Fill>,

    /// Answer for the picture alone, whatever the models say
    #[arg(long, conflicts_with_all = ["flip", "shift"])]
    one_view: bool,
}

fn directions(text: &str) -> std::result::Result<usize, String> {
    match text {
        "4" => Ok(4),
        "8" => Ok(8),
        _ => Err("must be 4 or 8".to_owned()),
    }
}

impl ViewArguments {
    fn answers_for(&self) -> AnswersFor {
        let default = TestTimeAugmentationConfig::default();
        match self {
            Self { flip: false, shift: None, one_view: false, .. } => AnswersFor::TheSame,
            Self { flip, shift, directions, fill, .. } => AnswersFor::Views(TestTimeAugmentationConfig {
                flip: *flip,
                shift_pixels: shift.unwrap_or(default.shift_pixels),
                shift_directions: directions.unwrap_or(default.shift_directions),
                fill: fill.unwrap_or(default.fill),
            }),
        }
    }
}

/// Combines, measures where the data are there, and verifies what was written.
pub fn run(arguments: EnsembleArguments, ui: &mut Ui) -> Result<()> {
    let out = &arguments.out;
    if Format::of_extension(out.extension().and_then(|extension| extension.to_str()).unwrap_or_default())
        .is_none_or(|format| format != Format::Burnpack)
    {
        return Err(Error::usage(format!("--out: must end in `.bpk`, got `{}`", out.display()))
            .tip("write another format from it: kiln export model.bpk --out model.onnx"));
    }
    if out.exists() && !arguments.force {
        return Err(Error::usage(format!("`{}` exists", out.display())).tip("replace it with --force"));
    }
    let mut models = Vec::new();
    for model in &arguments.models {
        if seeds::is_set(model) {
            models.extend(seeds::finished_runs(model)?.iter().map(|run| model_file(run)));
        } else {
            models.push(model_file(model));
        }
    }
    let bar = ui.bar("measuring", 1);
    let combined = eval::ensemble(&models, arguments.views.answers_for(), out, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let combined = combined?;
    for notice in &combined.notices {
        ui.warn(notice);
    }
    if ui.mode() == Mode::Json {
        ui.json(&encode(&combined)?);
        return Ok(());
    }
    let width = combined.members.iter().map(|member| member.run.chars().count()).max().unwrap_or(0);
    for member in &combined.members {
        let measured = match member.test_accuracy {
            Some(accuracy) => format!("{:.2} % on its test images", accuracy * 100.0),
            None => "not measured on test images".to_owned(),
        };
        ui.out(&format!("member   {:<width$}  seed {:<4} {measured}", member.run, member.seed));
    }
    if let Some(evaluation) = &combined.evaluation {
        ui.out(&report::headline(evaluation));
    }
    if let Some(views) = &combined.test_time_augmentation {
        ui.out(&format!("answers  {}", report::views(views)));
    }
    let models = match combined.members.len() {
        1 => "1 model".to_owned(),
        count => format!("{count} models"),
    };
    ui.out(&format!("wrote    {} ({models}, verified)", out.display()));
    ui.say(&format!("next     kiln eval {0}   kiln serve {0}", quoted(out)));
    Ok(())
}
