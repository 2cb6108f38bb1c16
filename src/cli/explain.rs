//! `kiln explain`: one real iteration, step by step, for those who are learning the words; with `--html` as a page, with
//! pictures and a short run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::layout::{UNLIMITED, fold, table};
use super::ui::{Mode, Ui};
use super::{ExperimentArguments, check_page, require_one_device};
use crate::data::{Preprocess, picture};
use crate::lifecycle::Trainer;
use crate::report::{self, Explanation, thousands};
use crate::run::file;
use crate::train::explanation::explain;
use crate::train::lesson;
use crate::{Error, Result};

/// The arguments of `kiln explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Write a page instead: the iteration in pictures, a short run under a slider, and three learning rates side by
    /// side; without a name: explain.html
    #[arg(long, value_name = "FILE.html", num_args = 0..=1, default_missing_value = "explain.html")]
    html: Option<PathBuf>,
}

/// The widest line of words.
const LINE: usize = 110;

/// Runs one iteration and tells what happened in it, in text, as a page, or as data.
pub fn run(arguments: ExplainArguments, ui: &mut Ui) -> Result<()> {
    arguments.html.as_deref().map_or(Ok(()), |path| check_page(path, "kiln explain CONFIG --html FILE.html"))?;
    let mut experiment = arguments.experiment.load(ui)?;
    if experiment.loss.teacher.is_some() {
        ui.warn("the iteration is explained without loss.teacher: its loss is that of the labels alone");
        experiment.loss = experiment.loss.without_teacher();
    }
    require_one_device(&experiment, "`kiln explain` shows an iteration")?;
    let trainer = Trainer::new(experiment)?;
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    if let Some(path) = &arguments.html {
        return write_page(&trainer, path, ui);
    }
    let explanation = explain(&trainer.session())?;
    if ui.mode() == Mode::Json {
        return print_data(&explanation, ui);
    }
    batch(&trainer, &explanation, ui);
    forward(&trainer, &explanation, ui);
    backward(&explanation, ui);
    update(&explanation, ui);
    arithmetic(&trainer, ui);
    Ok(())
}

/// Makes the lesson, writes its page and names it; with `--json`, prints the lesson as data instead of the name.
fn write_page(trainer: &Trainer, path: &Path, ui: &Ui) -> Result<()> {
    let bar = ui.bar("training briefly", 0);
    let lesson = lesson::record(&trainer.session(), &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let lesson = lesson?;
    file::write_atomic(path, report::lesson_page(&lesson)?.as_bytes())?;
    if ui.mode() == Mode::Json {
        return print_data(&lesson, ui);
    }
    ui.out(&path.display().to_string());
    Ok(())
}

/// A paragraph, on a terminal in lines that can be read.
fn prose(ui: &Ui, text: &str) {
    let columns = ui.columns();
    ui.out(&fold(text, if columns == UNLIMITED { columns } else { columns.min(LINE) }));
}

fn print_data(data: &impl Serialize, ui: &Ui) -> Result<()> {
    let value =
        serde_json::to_value(data).map_err(|error| Error::failed("cannot encode the explanation").caused_by(error))?;
    ui.json(&value);
    Ok(())
}

fn batch(trainer: &Trainer, explanation: &Explanation, ui: &Ui) {
    let (train, size) = (&trainer.dataset().train, explanation.input_shape[0]);
    ui.heading("1. The batch");
    prose(
        ui,
        &format!(
            "The {} training images were shuffled by seed {}, and the first {size} were taken together: a batch. \
         Its shape is {:?}: images, colour channels, rows, columns. Pixels from 0 to 255 became numbers round 0 by \
         (pixel / 255 - mean) / standard deviation, those of the training images: {}.",
            thousands(train.len() as u64),
            trainer.experiment().seed,
            explanation.input_shape,
            channels(&trainer.dataset().preprocess),
        ),
    );
    if let Some(&first) = explanation.images.first() {
        ui.out(&format!("Its first image, labelled {}:", train.classes[train.label(first)]));
        // Shades of grey tell a digit; colours need colours.
        ui.out(&match train.shape.channels {
            1 => picture::ascii(train.image(first), train.shape),
            _ => report::picture(train.image(first), train.shape, ui.has_true_colour()),
        });
    }
}

/// "mean 0.1307, standard deviation 0.3081", for each channel where there are several.
fn channels(preprocess: &Preprocess) -> String {
    let each = preprocess.mean.iter().zip(&preprocess.std).enumerate().map(|(channel, (mean, std))| {
        let name = if preprocess.mean.len() > 1 { format!("channel {}: ", channel + 1) } else { String::new() };
        format!("{name}mean {mean:.4}, standard deviation {std:.4}")
    });
    each.collect::<Vec<_>>().join("; ")
}

fn forward(trainer: &Trainer, explanation: &Explanation, ui: &Ui) {
    let classes = &trainer.dataset().train.classes;
    ui.heading("\n2. Forward propagation");
    prose(
        ui,
        "From the input through the layers to the output; each computes its output from its input and its parameters.\n",
    );
    let headings = ["layer", "what it does", "output shape", "parameters", "mean", "sd"].map(str::to_owned);
    let rows = explanation.layers.iter().zip(&trainer.plan().layers).map(|(layer, summary)| {
        [
            layer.name.clone(),
            summary.description.clone(),
            format!("{:?}", layer.shape),
            thousands(summary.parameters as u64),
            format!("{:.3}", layer.mean),
            format!("{:.3}", layer.sd),
        ]
    });
    let rows: Vec<[String; 6]> = [headings].into_iter().chain(rows).collect();
    ui.out(&table(&rows, [true, true, false, false, false, false]));
    prose(
        ui,
        &format!(
            "\nThe last layer's {} numbers per image, the logits, turned into probabilities, are the prediction. The first images:",
            classes.len()
        ),
    );
    for row in explanation.predictions.iter().take(5) {
        let verdict = if row.predicted == row.label { "right" } else { "wrong" };
        ui.out(&format!(
            "  predicted {} ({:.1} %), label {}: {verdict}",
            classes[row.predicted],
            row.probability * 100.0,
            classes[row.label]
        ));
    }
    ui.out(&format!(
        "{} of {} are right; guessing would get about {:.0}.",
        explanation.correct_before,
        explanation.input_shape[0],
        explanation.input_shape[0] as f64 / classes.len() as f64
    ));
    ui.heading("\n3. The loss");
    prose(
        ui,
        &format!(
            "Cross-entropy between predictions and labels, averaged over the batch: {:.4}. Guessing evenly among {} classes \
         gives ln({}) = {:.4}; certainty that is right gives {}.",
            explanation.loss_before,
            classes.len(),
            classes.len(),
            (classes.len() as f64).ln(),
            match trainer.experiment().loss.label_smoothing {
                0.0 => "0".to_owned(),
                smoothing => format!(
                    "0 where the target is 100 % for the label; here it is {} % and the rest is spread over all classes \
                     (label smoothing)",
                    100.0 - 100.0 * smoothing
                ),
            }
        ),
    );
}

fn backward(explanation: &Explanation, ui: &Ui) {
    ui.heading("\n4. Back propagation");
    prose(
        ui,
        "From the loss back through every layer to the input: how the loss changes with each parameter (its gradient).\n",
    );
    let headings = ["parameter", "numbers", "gradient norm"].map(str::to_owned);
    let rows = explanation.parameters.iter().rev().map(|parameter| {
        let norm = format!("{:.3e}", parameter.gradient_norm);
        [parameter.name.clone(), thousands(parameter.count as u64), norm]
    });
    let rows: Vec<[String; 3]> = [headings].into_iter().chain(rows).collect();
    ui.out(&table(&rows, [true, false, false]));
}

fn update(explanation: &Explanation, ui: &Ui) {
    let [before, after] = explanation.loss_same_batch;
    ui.heading("\n5. The update");
    prose(
        ui,
        &format!(
            "The optimizer moved every parameter against its gradient, scaled by the learning rate {:.3e}.\n",
            explanation.learning_rate
        ),
    );
    let headings = ["parameter", "change / size"].map(str::to_owned);
    let rows = explanation.parameters.iter().map(|parameter| {
        let ratio = parameter.update_to_weight;
        [parameter.name.clone(), if ratio.is_finite() { format!("{ratio:.3e}") } else { "began at 0".to_owned() }]
    });
    let rows: Vec<[String; 2]> = [headings].into_iter().chain(rows).collect();
    ui.out(&table(&rows, [true, false]));
    let direction = if after < before { "fell" } else { "rose" };
    prose(
        ui,
        &format!(
            "\nThe loss of the same batch, measured as in use (no dropout, no smoothing) before and after the update, {direction} from {before:.4} to {after:.4}; \
         {} of its {} images are now right. That was one iteration.",
            explanation.correct_after, explanation.input_shape[0]
        ),
    );
}

fn arithmetic(trainer: &Trainer, ui: &Ui) {
    ui.heading("\n6. From iteration to epoch to run");
    prose(ui, &trainer.plan().arithmetic());
}
