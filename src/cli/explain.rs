//! `kiln explain`: one real iteration, step by step, for those who are learning the words.

use super::ExperimentArguments;
use super::ui::{Mode, Ui};
use crate::data::picture;
use crate::lifecycle::Trainer;
use crate::report::thousands;
use crate::train::explanation::{Explanation, explain};
use crate::{Error, Result};

/// The arguments of `kiln explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,
}

/// Runs one iteration and tells what happened in it.
pub fn run(arguments: ExplainArguments, ui: &mut Ui) -> Result<()> {
    let trainer = Trainer::new(arguments.experiment.load(ui)?)?;
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let explanation = explain(&trainer.session())?;
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(&explanation)
            .map_err(|error| Error::failed("cannot encode the explanation").caused_by(error))?;
        ui.json(&value);
        return Ok(());
    }
    batch(&trainer, &explanation, ui);
    forward(&trainer, &explanation, ui);
    backward(&explanation, ui);
    update(&explanation, ui);
    arithmetic(&trainer, ui);
    Ok(())
}

fn batch(trainer: &Trainer, explanation: &Explanation, ui: &Ui) {
    let (train, size) = (&trainer.dataset().train, explanation.input_shape[0]);
    ui.heading("1. The batch");
    ui.out(&format!(
        "The {} training images were shuffled by seed {}, and the first {size} were taken together: a batch.\n\
         Its shape is {:?}: images, colour channels, rows, columns. Pixels from 0 to 255 became numbers round 0 by\n\
         (pixel / 255 - {:.4}) / {:.4}, the mean and the standard deviation of the training images.",
        thousands(train.len() as u64),
        trainer.experiment().seed,
        explanation.input_shape,
        trainer.dataset().preprocess.mean[0],
        trainer.dataset().preprocess.std[0],
    ));
    if let Some(&first) = explanation.images.first() {
        ui.out(&format!("Its first image, labelled {}:", train.classes[train.label(first)]));
        ui.out(&picture::ascii(train.image(first), train.shape));
    }
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
