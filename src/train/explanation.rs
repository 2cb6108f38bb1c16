//! One real iteration, measured while it happens: for `kiln explain`. It computes and does not print.

use burn::data::dataloader::DataLoader as _;
use burn::module::Module as _;
use burn::train::{ClassificationOutput, InferenceStep, Learner, TrainOutput};

use serde::Serialize;

use super::classifier::{Classifier, gradient_norms};
use super::session::Session;
use crate::data::batch::Batch;
use crate::data::loader::EpochLoader;
use crate::logits::{argmax, probabilities};
use crate::{Error, Result};

/// Everything that was measured in one iteration.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The batch's images in the set of training images, in their order.
    pub images: Vec<usize>,
    /// The shape of the network's input, `[batch, channels, height, width]`.
    pub input_shape: Vec<usize>,
    /// Forward propagation, layer by layer.
    pub layers: Vec<Layer>,
    /// The logits of the first images, and their labels.
    pub predictions: Vec<PredictionRow>,
    /// How many images of the batch were classified correctly before the update.
    pub correct_before: usize,
    /// The loss, in nats.
    pub loss_before: f64,
    /// Back propagation and update, parameter by parameter.
    pub parameters: Vec<Parameter>,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// The loss of the same batch after the update, without dropout and smoothing, as measured before it as well.
    pub loss_same_batch: [f64; 2],
    /// How many images of the batch are classified correctly after the update.
    pub correct_after: usize,
}

/// One layer's output for the whole batch.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// The layer's name in the network.
    pub name: String,
    /// `[batch, ...]`.
    pub shape: Vec<usize>,
    /// Mean of all its values.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
}

/// What the network said of one image.
#[derive(Clone, Debug, Serialize)]
pub struct PredictionRow {
    /// The class it found most likely.
    pub predicted: usize,
    /// With this probability.
    pub probability: f64,
    /// The true class.
    pub label: usize,
}

/// What happened to one parameter.
#[derive(Clone, Debug, Serialize)]
pub struct Parameter {
    /// Its path in the network.
    pub name: String,
    /// How many numbers it is.
    pub count: usize,
    /// The L2 norm of its gradient.
    pub gradient_norm: f64,
    /// The L2 norm of its change, over its own before the change; infinite when that was 0.
    pub update_to_weight: f64,
}

/// Runs the first iteration of the session's run and measures it.
///
/// # Errors
/// When the device fails.
pub fn explain(session: &Session) -> Result<Explanation> {
    let (mut learner, loader) = session.learner()?;
    let next = |loader: &EpochLoader| {
        loader.set_position(1, 0);
        let first = loader.iter().next();
        match first {
            Some(Ok(batch)) => Ok(batch),
            Some(Err(error)) => Err(Error::failed("cannot make the first batch").caused_by(error.to_string())),
            None => Err(Error::failed("the first epoch has no batch")),
        }
    };
    let batch = next(&loader)?;
    let input_shape = batch.images.dims().to_vec();
    let mut layers = Vec::new();
    let model = learner.model();
    let output = model.forward_with_hook(batch, &mut |name, activation| {
        let (mean, sd) = activation.mean_and_sd().unwrap_or((f64::NAN, f64::NAN));
        layers.push(Layer { name: name.to_owned(), shape: activation.shape.clone(), mean, sd });
    });
    let loss_before = f64::from(output.loss.clone().into_scalar::<f32>());
    let predictions = rows(&output)?;
    let TrainOutput { grads, .. } = TrainOutput::new(&model, output.loss.clone().backward(), output);
    let norms = gradient_norms(&model, &grads);
    let plain_before = plain_loss(&learner, next(&loader)?)?;
    let before = model.valid().network.weights()?;
    learner.lr_step();
    let learning_rate = session.rate().at(0);
    learner.optimizer_step(grads);
    let after = learner.model().valid().network.weights()?;
    let parameters = norms
        .into_iter()
        .filter_map(|norm| {
            let (old, new) = (&before.get(&norm.name)?.values, &after.get(&norm.name)?.values);
            let squares =
                |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
            let change = squares(&mut old.iter().zip(new).map(|(old, new)| new - old)).sqrt();
            let size = squares(&mut old.iter().copied()).sqrt();
            Some(Parameter {
                name: norm.name,
                count: old.len(),
                gradient_norm: norm.gradient,
                update_to_weight: change / size,
            })
        })
        .collect();
    let plain_after = plain_loss(&learner, next(&loader)?)?;
    Ok(Explanation {
        images: loader.samples(1, 0).into_iter().map(|sample| sample.index).collect(),
        input_shape,
        layers,
        correct_before: predictions.iter().filter(|row| row.predicted == row.label).count(),
        predictions,
        loss_before,
        parameters,
        learning_rate,
        loss_same_batch: [plain_before.0, plain_after.0],
        correct_after: plain_after.1,
    })
}

fn rows(output: &ClassificationOutput) -> Result<Vec<PredictionRow>> {
    let unreadable = |error: &dyn std::fmt::Debug| {
        Error::failed("the predictions cannot be read from the device").caused_by(format!("{error:?}"))
    };
    let classes = output.output.dims()[1];
    let logits =
        output.output.clone().without_autodiff().into_data().try_to_vec::<f32>().map_err(|error| unreadable(&error))?;
    let labels = output.targets.clone().without_autodiff().into_data();
    let row = |(row, label): (&[f32], i64)| {
        let predicted = argmax(row);
        PredictionRow { predicted, probability: probabilities(row)[predicted], label: label.unsigned_abs() as usize }
    };
    Ok(logits.chunks_exact(classes).zip(labels.iter::<i64>()).map(row).collect())
}

/// Loss and correct predictions of a batch as in inference: no dropout, no smoothing, norms with their running statistics.
fn plain_loss(learner: &Learner<Classifier>, batch: Batch) -> Result<(f64, usize)> {
    let model = learner.model().valid();
    let batch = Batch { images: batch.images.without_autodiff(), targets: batch.targets.without_autodiff(), ..batch };
    let output = InferenceStep::step(&model, batch);
    let correct = rows(&output)?.iter().filter(|row| row.predicted == row.label).count();
    Ok((f64::from(output.loss.into_scalar::<f32>()), correct))
}
