//! One real iteration, measured while it happens: for `kiln explain`. It computes and does not print.

use burn::data::dataloader::DataLoader as _;
use burn::module::Module as _;
use burn::train::{ClassificationOutput, InferenceStep, Learner, TrainOutput};

use super::classifier::{Classifier, gradient_norms, gradient_values};
use super::session::Session;
use crate::data::batch::Batch;
use crate::data::loader::EpochLoader;
use crate::logits::{argmax, probabilities};
use crate::models::{Activation, Weights};
use crate::predict::LayerOutput;
use crate::report::{Explanation, Layer, Parameter, PredictionRow, first_weights};
use crate::{Error, Result};

/// One iteration: what was measured, and the values behind it that pictures are made of.
pub(super) struct Measured {
    /// The figures.
    pub(super) explanation: Explanation,
    /// The network's input, `[batch, channels, height, width]`.
    pub(super) inputs: Vec<f32>,
    /// The logits of the first image.
    pub(super) logits: Vec<f32>,
    /// What every layer put out for the first image.
    pub(super) outputs: Vec<LayerOutput>,
    /// All weights before the update.
    pub(super) before: Weights,
    /// All weights after it.
    pub(super) after: Weights,
    /// The gradient of the first weights, in their order.
    pub(super) gradient: Vec<f32>,
}

/// Runs the first iteration of the session's run and measures it.
///
/// # Errors
/// When the device fails.
pub fn explain(session: &Session) -> Result<Explanation> {
    Ok(measure(session)?.explanation)
}

/// The same with the values behind the figures.
///
/// # Errors
/// When the device fails.
pub(super) fn measure(session: &Session) -> Result<Measured> {
    let (mut learner, loader) = session.learner()?;
    let batch = first_batch(&loader)?;
    let input_shape = batch.images.dims().to_vec();
    let inputs = batch.images.clone().without_autodiff().try_into_vec_as::<f32>();
    let inputs = inputs.map_err(|error| unreadable("batch").caused_by(error))?;
    let mut layers = Layers::default();
    let model = learner.model();
    let output = model.forward_with_hook(batch, &mut |name, activation| layers.note(name, &activation));
    let (layers, outputs) = layers.into_parts()?;
    let loss_before = f64::from(output.loss.clone().into_scalar::<f32>());
    let logits = logits(&output)?;
    let predictions = rows(&output)?;
    let TrainOutput { grads, .. } = TrainOutput::new(&model, output.loss.clone().backward(), output);
    let norms = gradient_norms(&model, &grads);
    let first = first_weights(&session.plan.layers).map(|tensor| tensor.name.as_str());
    let gradient = first.map(|name| gradient_values(&model, &grads, name)).transpose()?.unwrap_or_default();
    let plain_before = plain_loss(&learner, first_batch(&loader)?)?;
    let before = model.valid().network.weights()?;
    learner.lr_step();
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
    let plain_after = plain_loss(&learner, first_batch(&loader)?)?;
    let explanation = Explanation {
        images: loader.samples(1, 0).into_iter().map(|sample| sample.index).collect(),
        input_shape,
        layers,
        correct_before: predictions.iter().filter(|row| row.predicted == row.label).count(),
        predictions,
        loss_before,
        parameters,
        learning_rate: session.rate().at(0),
        loss_same_batch: [plain_before.0, plain_after.0],
        correct_after: plain_after.1,
    };
    Ok(Measured { explanation, inputs, logits, outputs, before, after, gradient })
}

/// What a hook saw of the layers: of each the figures over the batch, and the output for the first image.
#[derive(Default)]
struct Layers {
    seen: Vec<(Layer, LayerOutput)>,
    failure: Option<Error>,
}

impl Layers {
    fn note(&mut self, name: &str, activation: &Activation) {
        match Self::read(name, activation) {
            Ok(seen) => self.seen.push(seen),
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    fn read(name: &str, activation: &Activation) -> Result<(Layer, LayerOutput)> {
        let (mean, sd) = activation.mean_and_sd()?;
        let (shape, mut values) = (activation.shape.clone(), activation.values()?);
        values.truncate(shape[1..].iter().product());
        let output = LayerOutput { name: name.to_owned(), shape: shape[1..].to_vec(), values };
        Ok((Layer { name: name.to_owned(), shape, mean, sd }, output))
    }

    fn into_parts(self) -> Result<(Vec<Layer>, Vec<LayerOutput>)> {
        self.failure.map_or_else(|| Ok(self.seen.into_iter().unzip()), Err)
    }
}

fn first_batch(loader: &EpochLoader) -> Result<Batch> {
    loader.set_position(1, 0);
    let first = loader.iter().next();
    match first {
        Some(Ok(batch)) => Ok(batch),
        Some(Err(error)) => Err(Error::failed("cannot make the first batch").caused_by(error.to_string())),
        None => Err(Error::failed("the first epoch has no batch")),
    }
}

fn unreadable(what: &str) -> Error {
    Error::failed(format!("the {what} cannot be read from the device"))
}

/// `[batch, classes]` on the host.
fn logits(output: &ClassificationOutput) -> Result<Vec<f32>> {
    let read = output.output.clone().without_autodiff().into_data().try_to_vec::<f32>();
    read.map_err(|error| unreadable("predictions").caused_by(format!("{error:?}")))
}

fn rows(output: &ClassificationOutput) -> Result<Vec<PredictionRow>> {
    let classes = output.output.dims()[1];
    let labels = output.targets.clone().without_autodiff().into_data();
    let row = |(row, label): (&[f32], i64)| {
        let (predicted, label) = (argmax(row), label.unsigned_abs() as usize);
        let probabilities = probabilities(row);
        PredictionRow {
            predicted,
            probability: probabilities[predicted],
            label,
            label_probability: probabilities.get(label).copied().unwrap_or_default(),
        }
    };
    Ok(logits(output)?.chunks_exact(classes).zip(labels.iter::<i64>()).map(row).collect())
}

/// Loss and correct predictions of a batch as in inference: no dropout, no smoothing, no other label of mixed images, norms with their running statistics.
fn plain_loss(learner: &Learner<Classifier>, batch: Batch) -> Result<(f64, usize)> {
    let model = learner.model().valid();
    let (images, targets) = (batch.images.without_autodiff(), batch.targets.without_autodiff());
    let batch = Batch { images, targets, mixed: None, ..batch };
    let output = InferenceStep::step(&model, batch);
    let correct = rows(&output)?.iter().filter(|row| row.predicted == row.label).count();
    Ok((f64::from(output.loss.into_scalar::<f32>()), correct))
}
