//! The losses and correct predictions of steps, on the device until they are read back together: a GPU is not made to wait
//! for every one.

use burn::tensor::{Device, Int, Tensor};
use burn::train::ClassificationOutput;

use crate::Result;
use crate::ops::{self, counts_requests, transfer};

/// Steps between two reads. On the CPU a read costs nothing and only keeps what the steps left from piling up.
const READ_EVERY: usize = 10;
const READ_EVERY_ON_DEVICE: usize = 50;

/// The metrics of the steps since the last read.
pub(super) struct StepMetrics {
    kept: Kept,
    /// Images and iteration of each step.
    steps: Vec<(usize, usize)>,
}

#[expect(clippy::large_enum_variant, reason = "there is one in a run")]
enum Kept {
    /// In the memory of the host: loss and number of correct predictions of each step, `[1]` each.
    Each(Vec<[Tensor<1>; 2]>),
    /// On a device: the sums over all images of both, `[2]`; none before the first step.
    Sums(Option<Tensor<1>>),
}

/// What was read of one step, or of several that were summed on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    /// Images.
    pub(super) images: usize,
    /// The mean loss.
    pub(super) loss: f64,
    /// Correct predictions.
    pub(super) correct: u64,
    /// The iterations of the run, first to last.
    pub(super) iterations: (usize, usize),
}

impl StepMetrics {
    /// Of no steps yet; they are taken on `device`.
    pub(super) fn new(device: &Device) -> Self {
        let kept = if counts_requests(device) { Kept::Sums(None) } else { Kept::Each(Vec::new()) };
        Self { kept, steps: Vec::new() }
    }

    /// Adds a step over `images` images.
    pub(super) fn add(&mut self, output: &ClassificationOutput, images: usize, iteration: usize) {
        let (logits, targets) = (output.output.clone().without_autodiff(), output.targets.clone().without_autodiff());
        let loss = output.loss.clone().without_autodiff();
        match &mut self.kept {
            Kept::Each(each) => each.push([loss, ops::right_answers(logits, targets)]),
            Kept::Sums(sums) => *sums = Some(ops::tally(logits, targets, loss, sums.take())),
        }
        self.steps.push((images, iteration));
    }

    /// Whether it is time for a read.
    pub(super) fn is_due(&self) -> bool {
        let every = if matches!(self.kept, Kept::Each(_)) { READ_EVERY } else { READ_EVERY_ON_DEVICE };
        self.steps.len() >= every
    }

    /// Reads what has been added since the last read: each step by itself on the CPU, their sums elsewhere. Nothing when there
    /// is nothing.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn read(&mut self) -> Result<Vec<Figures>> {
        let steps = std::mem::take(&mut self.steps);
        match &mut self.kept {
            Kept::Each(each) => {
                let [losses, correct] = [0, 1].map(|index| {
                    let tensors: Vec<_> = each.iter().map(|kept| kept[index].clone()).collect();
                    (!tensors.is_empty()).then(|| Tensor::cat(tensors, 0))
                });
                each.clear();
                let [losses, correct] = one_read([losses, correct])?;
                let figures = steps.into_iter().zip(losses.into_iter().zip(correct));
                Ok(figures
                    .map(|((images, iteration), (loss, correct))| Figures {
                        images,
                        loss: f64::from(loss),
                        correct: correct as u64,
                        iterations: (iteration, iteration),
                    })
                    .collect())
            }
            Kept::Sums(sums) => {
                let sums = transfer::read(sums.take())?;
                let images = steps.iter().map(|(images, _)| images).sum::<usize>();
                let ends = steps.first().zip(steps.last()).map(|((_, first), (_, last))| (*first, *last));
                let (Some([loss, correct]), Some(iterations)) = (sums.first().map(Vec::as_slice), ends) else {
                    return Ok(Vec::new());
                };
                let loss = f64::from(*loss) / images as f64;
                Ok(vec![Figures { images, loss, correct: *correct as u64, iterations }])
            }
        }
    }
}

/// The label of each image of a step, and the class that it was taken for.
pub(super) fn answers(output: &ClassificationOutput) -> impl Iterator<Item = (usize, usize)> {
    let numbers =
        |tensor: Tensor<1, Int>| tensor.into_data().iter::<i64>().map(|number| number as usize).collect::<Vec<_>>();
    let predicted = output.output.clone().without_autodiff().argmax(1).flatten::<1>(0, 1);
    numbers(output.targets.clone().without_autodiff()).into_iter().zip(numbers(predicted))
}

/// Both tensors' values in one read; nothing of those that are not there.
fn one_read(tensors: [Option<Tensor<1>>; 2]) -> Result<[Vec<f32>; 2]> {
    let tensors: Vec<_> = tensors.into_iter().flatten().collect();
    if tensors.is_empty() {
        return Ok(Default::default());
    }
    let mut values = transfer::read(tensors)?.into_iter();
    Ok([(); 2].map(|()| values.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    /// Steps with one to three images, the second loss of which is `second`.
    fn added(kept: Kept, second: f32) -> StepMetrics {
        let device = Device::flex();
        let mut metrics = StepMetrics { kept, steps: Vec::new() };
        for (images, loss) in [(1, 0.5), (2, second), (3, 1.5)] {
            // The network always answers class 1; image k is of class k % 2.
            let logits = [0.0, 1.0].repeat(images);
            let targets: Vec<i32> = (0..images as i32).map(|index| index % 2).collect();
            let output = ClassificationOutput {
                loss: Tensor::from_data([loss], &device),
                output: Tensor::from_data(TensorData::new(logits, [images, 2]), &device),
                targets: Tensor::<1, Int>::from_data(TensorData::new(targets, [images]), &device),
            };
            metrics.add(&output, images, 10 + images);
        }
        metrics
    }

    #[test]
    fn steps_are_read_one_by_one_on_the_host_and_summed_on_a_device() {
        let figures = |images, loss, correct, iterations| Figures { images, loss, correct, iterations };
        let mut each = added(Kept::Each(Vec::new()), 2.5);
        let expected =
            [figures(1, 0.5, 0, (11, 11)), figures(2, 2.5, 1, (12, 12)), figures(3, 1.5, 1, (13, 13))].to_vec();
        assert_eq!(each.read().unwrap(), expected);
        assert_eq!(each.read().unwrap(), []);
        let mut sums = added(Kept::Sums(None), 2.5);
        assert_eq!(sums.read().unwrap(), [figures(6, 10.0 / 6.0, 2, (11, 13))]);
        assert_eq!(sums.read().unwrap(), []);
    }

    #[test]
    fn a_loss_that_is_nan_is_seen_in_the_sum() {
        for kept in [|| Kept::Each(Vec::new()), || Kept::Sums(None)] {
            for loss in [f32::NAN, f32::INFINITY] {
                let mut metrics = added(kept(), loss);
                assert!(metrics.read().unwrap().iter().any(|figures| !figures.loss.is_finite()));
            }
        }
    }
}
