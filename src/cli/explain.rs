//! `kiln explain`: one real iteration, step by step, for those who are learning the words; with `--html` as a page, with
//! pictures and a short run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ui::{Mode, Ui};
use super::{ExperimentArguments, check_page};
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

/// Runs one iteration and tells what happened in it, in text, as a page, or as data.
pub fn run(arguments: ExplainArguments, ui: &mut Ui) -> Result<()> {
    arguments.html.as_deref().map_or(Ok(()), |path| check_page(path, "kiln explain CONFIG --html FILE.html"))?;
    let mut experiment = arguments.experiment.load(ui)?;
    if experiment.loss.teacher.is_some() {
        ui.warn("the iteration is explained without loss.teacher: its loss is that of the labels alone");
        experiment.loss = experiment.loss.without_teacher();
    }
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

fn print_data(data: &impl Serialize, ui: &Ui) -> Result<()> {
    let value =
        serde_json::to_value(data).map_err(|error| Error::failed("cannot encode the explanation").caused_by(error))?;
    ui.json(&value);
    Ok(())
}

fn batch(trainer: &Trainer, explanation: &Explanation, ui: &Ui) {
    let (train, size) = (&trainer.dataset().train, explanation.input_shape[0]);
    ui.heading("1. The batch");
    ui.out(&format!(
        "The {} training images were shuffled by seed {}, and the first {size} were taken together: a batch.\n\
         Its shape is {:?}: images, colour channels, rows, columns. Pixels from 0 to 255 became numbers round 0 by\n\
         (pixel / 255 - mean) / standard deviation, those of the training images: {}.",
        thousands(train.len() as u64),
        trainer.experiment().seed,
        explanation.input_shape,
        channels(&trainer.dataset().preprocess),
    ));
    if let Some(&first) = explanation.images.first() {
        ui.out(&format!("Its first image, labelled {}:", train.classes[train.label(first)]));
        ui.out(&picture::ascii(train.image(first), train.shape));
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
    ui.out("From the input through the layers to the output; each computes its output from its input and its parameters.\n");
    ui.out(&format!(
        "{:<12} {:<38} {:>18} {:>11} {:>8} {:>8}",
        "layer", "what it does", "output shape", "parameters", "mean", "sd"
    ));
    for (layer, summary) in explanation.layers.iter().zip(&trainer.plan().layers) {
        ui.out(&format!(
            "{:<12} {:<38} {:>18} {:>11} {:>8.3} {:>8.3}",
            layer.name,
            summary.description,
            format!("{:?}", layer.shape),
            thousands(summary.parameters as u64),
            layer.mean,
            layer.sd
        ));
    }
    ui.out(&format!(
        "\nThe last layer's {} numbers per image, turned into probabilities, are the prediction. The first images:",
        classes.len()
    ));
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
    ui.out(&format!(
        "Cross-entropy between predictions and labels, averaged over the batch: {:.4}. Guessing evenly among {} classes\n\
         gives ln({}) = {:.4}; certainty that is right gives 0.",
        explanation.loss_before,
        classes.len(),
        classes.len(),
        (classes.len() as f64).ln()
    ));
}

fn backward(explanation: &Explanation, ui: &Ui) {
    ui.heading("\n4. Back propagation");
    ui.out("From the loss back through every layer to the input: how the loss changes with each parameter (its gradient).\n");
    ui.out(&format!("{:<28} {:>11} {:>16}", "parameter", "numbers", "gradient norm"));
    for parameter in explanation.parameters.iter().rev() {
        ui.out(&format!(
            "{:<28} {:>11} {:>16.3e}",
            parameter.name,
            thousands(parameter.count as u64),
            parameter.gradient_norm
        ));
    }
}

fn update(explanation: &Explanation, ui: &Ui) {
    let [before, after] = explanation.loss_same_batch;
    ui.heading("\n5. The update");
    ui.out(&format!(
        "The optimizer moved every parameter against its gradient, scaled by the learning rate {:.3e}.\n",
        explanation.learning_rate
    ));
    ui.out(&format!("{:<28} {:>16}", "parameter", "change / size"));
    for parameter in &explanation.parameters {
        let ratio = parameter.update_to_weight;
        let shown = if ratio.is_finite() { format!("{ratio:.3e}") } else { "began at 0".to_owned() };
        ui.out(&format!("{:<28} {shown:>16}", parameter.name));
    }
    let direction = if after < before { "fell" } else { "rose" };
    ui.out(&format!(
        "\nThe loss of the same batch, measured as in use before and after the update, {direction} from {before:.4} to {after:.4};\n\
         {} of its {} images are now right. That was one iteration.",
        explanation.correct_after, explanation.input_shape[0]
    ));
}

fn arithmetic(trainer: &Trainer, ui: &Ui) {
    ui.heading("\n6. From iteration to epoch to run");
    ui.out(&trainer.plan().arithmetic());
}
