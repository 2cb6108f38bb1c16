//! `kiln ensemble`: one model file of several models.

use std::path::PathBuf;

use super::ui::{Mode, Ui};
use super::{encode, model_file, quoted, run_parser, seeds};
use crate::artifact::Format;
use crate::{Error, Result, eval, report};

/// The arguments of `kiln ensemble`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The answer is the mean of the models' probabilities. The file is used like any other model file.\n\
                        The runs of a set of seeds: kiln ensemble runs/mnist-seeds-0001 --out model.bpk"
)]
pub struct EnsembleArguments {
    /// Directories of runs, model files, or the folder of a set of seeds, which stands for all of its runs
    #[arg(value_name = "RUN", required = true, value_parser = run_parser())]
    models: Vec<PathBuf>,

    /// The file to write, in kiln's own format; `kiln export` writes it in others
    #[arg(long, short, value_name = "FILE.bpk")]
    out: PathBuf,

    /// Replace the file when it exists
    #[arg(long)]
    force: bool,
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
    let combined = eval::ensemble(&models, out, |done, total| {
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
    ui.out(&format!("wrote    {} ({} models, verified)", out.display(), combined.members.len()));
    ui.say(&format!("next     kiln eval {0}   kiln serve {0}", quoted(out)));
    Ok(())
}
