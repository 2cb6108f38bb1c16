//! What training asks of a GPU for each step: kernels, uploads, reads, and whose time it is. A small network keeps a GPU
//! busy for less time than it takes to ask for the next kernel, so these numbers are its speed.

use serde::Serialize;

use super::Effort;
use crate::Result;
use crate::data::loader::Making;
use crate::lifecycle::Trainer;
use crate::ops::launches;
use crate::train::steps::steps;

/// What a training step asks of a device; everything is a mean over the steps.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceProfile {
    /// Images in a batch.
    pub batch_size: usize,
    /// Steps that were counted.
    pub steps: usize,
    /// Where batches are made.
    pub batches: Making,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Seconds of a step in which the host prepared and asked.
    pub host_seconds: f64,
    /// Seconds of a step in which the host waited for the device, until all that it had asked for was done.
    pub wait_seconds: f64,
    /// Kernels launched.
    pub launches: f64,
    /// Tensors sent.
    pub uploads: f64,
    /// Their bytes.
    pub upload_bytes: f64,
    /// Reads.
    pub reads: f64,
    /// The kernels, the most frequent first.
    pub kernels: Vec<KernelCount>,
}

/// How often a step launches a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelCount {
    /// The kernel, as it names itself.
    pub kernel: String,
    /// Launches.
    pub launches: f64,
}

/// Counts what the training steps of what `trainer` would train ask of its device, as they are in a run: batches, steps and
/// reads of the metrics, from the first iteration of an epoch on.
///
/// # Errors
/// When the device fails.
pub fn device_profile(trainer: &Trainer, effort: Effort) -> Result<DeviceProfile> {
    let session = trainer.session();
    let batch_size = session.experiment.train.batch_size;
    let whole = session.plan.images.train / batch_size;
    let count = effort.images.div_ceil(batch_size).min(session.plan.iterations_per_epoch).min(whole).max(1);
    let (mut learner, loader) = session.learner()?;
    let mut round = || steps(&mut learner, &loader, &session.device, count);
    // Kernels are compiled and tuned.
    round()?;
    let mut shortest: Option<(f64, f64)> = None;
    for _ in 0..effort.rounds {
        let (seconds, last_wait) = round()?;
        shortest = shortest.filter(|best| best.0 <= seconds).or(Some((seconds, last_wait)));
    }
    let (counted, counts) = launches::count(round);
    let (seconds, last_wait) = shortest.unwrap_or(counted?);
    let each = |value: f64| value / count as f64;
    let wait = counts.wait_seconds + last_wait;
    let mut kernels: Vec<KernelCount> = counts
        .kernels
        .iter()
        .map(|(kernel, launches)| KernelCount { kernel: kernel.clone(), launches: each(*launches as f64) })
        .collect();
    kernels.sort_by(|a, b| b.launches.total_cmp(&a.launches).then_with(|| a.kernel.cmp(&b.kernel)));
    Ok(DeviceProfile {
        batch_size,
        steps: count,
        batches: loader.making(),
        step_seconds: each(seconds),
        host_seconds: each((seconds - wait).max(0.0)),
        wait_seconds: each(wait),
        launches: each(counts.launches() as f64),
        uploads: each(counts.uploads as f64),
        upload_bytes: each(counts.upload_bytes as f64),
        reads: each(counts.reads as f64),
        kernels,
    })
}
