//! A step's loss and correct predictions, on the device until they are read back together with those of its neighbours: a
//! GPU is not made to wait for every one.

use burn::tensor::{Int, Tensor};
use burn::train::ClassificationOutput;

use crate::{Error, Result};

/// The metrics of one step, still on the device.
pub(super) struct StepMetrics {
    loss: Tensor<1>,
    correct: Tensor<1, Int>,
    /// Images in the step's batch.
    pub(super) images: usize,
    /// The step's iteration in the run.
    pub(super) iteration: usize,
}

impl StepMetrics {
    /// The metrics of a step over `images` images.
    pub(super) fn new(output: &ClassificationOutput, images: usize, iteration: usize) -> Self {
        let predicted = output.output.clone().without_autodiff().argmax(1).flatten::<1>(0, 1);
        let correct = predicted.equal(output.targets.clone().without_autodiff()).int().sum();
        Self { loss: output.loss.clone().without_autodiff(), correct, images, iteration }
    }
}

/// The label of each image of a step, and the class that it was taken for.
pub(super) fn answers(output: &ClassificationOutput) -> impl Iterator<Item = (usize, usize)> {
    let numbers =
        |tensor: Tensor<1, Int>| tensor.into_data().iter::<i64>().map(|number| number as usize).collect::<Vec<_>>();
    let predicted = output.output.clone().without_autodiff().argmax(1).flatten::<1>(0, 1);
    numbers(output.targets.clone().without_autodiff()).into_iter().zip(numbers(predicted))
}

/// The mean loss of each step, and how many of its predictions were correct.
///
/// # Errors
/// When the device fails.
pub(super) fn read_all(steps: &[StepMetrics]) -> Result<(Vec<f32>, Vec<u64>)> {
    let losses = Tensor::cat(steps.iter().map(|step| step.loss.clone()).collect(), 0);
    let correct = Tensor::cat(steps.iter().map(|step| step.correct.clone()).collect(), 0);
    let losses = losses
        .into_data()
        .try_to_vec::<f32>()
        .map_err(|error| Error::failed("cannot read the loss from the device").caused_by(format!("{error:?}")))?;
    let correct = correct.into_data().iter::<i64>().map(|count| count.unsigned_abs()).collect();
    Ok((losses, correct))
}
