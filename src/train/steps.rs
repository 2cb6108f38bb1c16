//! The steps of training by themselves, as the epoch loop takes them, for measuring.

use std::time::Instant;

use burn::data::dataloader::DataLoader as _;
use burn::tensor::Device;

use super::session::ClassifierLearner;
use super::step_metrics::StepMetrics;
use crate::data::loader::EpochLoader;
use crate::{Error, Result};

/// Takes the first `count` steps of an epoch and reads their metrics as often as training does. The seconds until the device
/// is done, and those of them that the host waited after its last request.
///
/// # Errors
/// When the device fails.
pub(crate) fn steps(
    learner: &mut ClassifierLearner,
    loader: &EpochLoader,
    device: &Device,
    count: usize,
) -> Result<(f64, f64)> {
    let sync = || device.sync().map_err(|error| Error::failed("the device failed").caused_by(format!("{error:?}")));
    sync()?;
    loader.set_position(1, 0);
    let started = Instant::now();
    let mut metrics = StepMetrics::new(device);
    for (iteration, batch) in loader.iter().take(count).enumerate() {
        let batch = batch.map_err(|error| Error::failed("cannot make a batch").caused_by(error.to_string()))?;
        let images = batch.size;
        let step = learner.train_step(batch);
        learner.lr_step();
        learner.optimizer_step(step.grads);
        metrics.add(&step.item, images, iteration);
        if metrics.is_due() {
            metrics.read()?;
        }
    }
    metrics.read()?;
    let waiting = Instant::now();
    sync()?;
    Ok((started.elapsed().as_secs_f64(), waiting.elapsed().as_secs_f64()))
}
