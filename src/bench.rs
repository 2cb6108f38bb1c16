//! How fast an experiment computes here: loading, forward, a whole training step, inference; the share of each layer; the
//! memory at its peak; and every operation of a training step. Every figure is the best of several rounds, since whatever disturbs a round only slows it.

mod profile;
mod requests;

use std::time::{Duration, Instant};

use burn::data::dataloader::DataLoader as _;
use burn::module::Module as _;
use serde::Serialize;

use crate::artifact::{Description, Manifest};
use crate::lifecycle::Trainer;
use crate::models::ForwardContext;
use crate::predict::Predictor;
use crate::{Error, Result};

pub use profile::{OperationCost, Profile, profile};
pub use requests::{DeviceProfile, KernelCount, device_profile};

/// Images in a call where inference is not of one image.
const INFERENCE_BATCH: usize = 500;

/// Calls with one image: those that warm up, the most that are measured, and the time after which no more are.
const WARM_UP: usize = 20;
const MOST_CALLS: usize = 1000;
const MOST_TIME: Duration = Duration::from_secs(1);

/// What was measured; all speeds in images per second.
#[derive(Clone, Debug, Serialize)]
pub struct Speeds {
    /// Making batches: shuffle, distortion, bytes to numbers.
    pub load_images_per_second: f64,
    /// The training network's forward pass, with all that the backward pass will need.
    pub forward_images_per_second: f64,
    /// Whole iterations: batch, forward, loss, backward, update.
    pub train_images_per_second: f64,
    /// The exported network on prepared images, 500 in a call.
    pub inference_images_per_second: f64,
    /// The same with one image in a call: the median of the seconds that it takes.
    pub single_image_seconds: f64,
    /// Where the time of a forward pass goes.
    pub layers: Vec<LayerShare>,
    /// The most memory the process had held at once by the end of training, in bytes, the data set included; absent where
    /// the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

/// One layer's part in the forward pass.
#[derive(Clone, Debug, Serialize)]
pub struct LayerShare {
    /// The layer's name in the network.
    pub name: String,
    /// Its share of the forward pass's time, 0 to 1.
    pub share: f64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds per figure.
    pub rounds: usize,
    /// Images per round.
    pub images: usize,
}

/// Measures what `trainer` would train, and the model that it would export.
///
/// # Errors
/// When the device fails.
pub fn measure(trainer: &Trainer, effort: Effort) -> Result<Speeds> {
    let (session, test) = (trainer.session(), &trainer.dataset().test);
    let manifest = Manifest::describe(Description {
        experiment: trainer.experiment(),
        preprocess: &trainer.dataset().preprocess,
        classes: &trainer.dataset().train.classes,
        fingerprint: &trainer.dataset().fingerprint,
        run: "bench".into(),
        device: &trainer.device().name,
        parent: None,
    })?;
    let predictor = Predictor::new(manifest, &session.initial_weights()?, &trainer.device().device)?;
    let batch_size = session.experiment.train.batch_size;
    let batches = effort.images.div_ceil(batch_size).min(session.plan.iterations_per_epoch);
    let (mut learner, loader) = session.learner()?;
    let devices = session.devices()?;
    let sync =
        || session.device.sync().map_err(|error| Error::failed("the device failed").caused_by(format!("{error:?}")));
    let batch_error = |error: String| Error::failed("cannot make a batch").caused_by(error);

    let load = best_rate(
        effort.rounds,
        timed(|| {
            loader.set_position(1, 0);
            let mut images = 0;
            for batch in loader.iter().take(batches) {
                images += batch.map_err(|error| batch_error(error.to_string()))?.size;
            }
            Ok(images)
        }),
    )?;
    loader.set_position(1, 0);
    let batches: Vec<_> = loader
        .iter()
        .take(batches)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| batch_error(error.to_string()))?;
    let images: usize = batches.iter().map(|batch| batch.size).sum();
    let model = learner.model();
    let forward = best_rate(effort.rounds, || {
        let mut seconds = 0.0;
        for batch in &batches {
            let images = batch.images.clone();
            let started = Instant::now();
            let output = model.network.forward_in(images, &mut ForwardContext::training(1));
            sync()?;
            seconds += started.elapsed().as_secs_f64();
            // What was kept for the backward pass is freed by one.
            output.sum().backward();
        }
        Ok((images, seconds))
    })?;
    drop(model);
    let train = best_rate(
        effort.rounds,
        timed(|| {
            for batch in &batches {
                let step = devices.step(&learner, batch.clone())?;
                learner.lr_step();
                learner.optimizer_step(step.grads);
            }
            sync()?;
            Ok(images)
        }),
    )?;
    let peak_memory_bytes = peak_memory();
    let count = effort.images.min(test.len());
    let pixels = &test.pixels[..count * test.shape.len()];
    let infer = |pixels: &[u8]| predictor.logits(pixels, pixels.len() / test.shape.len());
    let inference = best_rate(
        effort.rounds,
        timed(|| {
            pixels.chunks(INFERENCE_BATCH * test.shape.len()).try_for_each(|call| infer(call).map(drop)).map(|()| count)
        }),
    )?;
    let single = median_seconds(pixels.chunks(test.shape.len()), |image| infer(image).map(drop))?;

    let model = learner.model().valid();
    let mut seconds: Vec<(String, f64)> = Vec::new();
    for batch in &batches {
        let mut before = Instant::now();
        let mut index = 0;
        let mut hook = |name: &str, _: crate::models::Activation| {
            let _ = session.device.sync();
            if index == seconds.len() {
                seconds.push((name.to_owned(), 0.0));
            }
            seconds[index].1 += before.elapsed().as_secs_f64();
            index += 1;
            before = Instant::now();
        };
        let images = batch.images.clone().without_autodiff();
        let _ = model.network.forward_in(images, &mut ForwardContext::inference().with_hook(&mut hook));
    }
    let total: f64 = seconds.iter().map(|(_, seconds)| seconds).sum();
    Ok(Speeds {
        load_images_per_second: load,
        forward_images_per_second: forward,
        train_images_per_second: train,
        inference_images_per_second: inference,
        single_image_seconds: single,
        layers: seconds.into_iter().map(|(name, seconds)| LayerShare { name, share: seconds / total }).collect(),
        peak_memory_bytes,
    })
}

/// Seconds of an epoch in the loop that anybody would write first: forward, loss, backward, update, and nothing read back
/// but the last loss. What a run takes beyond it is the price of metrics, checkpoints and Burn's `Learner`.
///
/// # Errors
/// When the device fails.
pub fn bare_loop(trainer: &Trainer) -> Result<f64> {
    trainer.session().bare_loop()
}

/// Images per second of the fastest of `rounds` rounds, after one that only warms up; `work` returns its images and the
/// seconds that count.
fn best_rate(rounds: usize, mut work: impl FnMut() -> Result<(usize, f64)>) -> Result<f64> {
    work()?;
    let mut best: f64 = 0.0;
    for _ in 0..rounds {
        let (images, seconds) = work()?;
        best = best.max(images as f64 / seconds);
    }
    Ok(best)
}

/// The median of the seconds that `work` takes with one of `inputs`, which come round again until there are enough.
fn median_seconds<'a>(
    inputs: impl Iterator<Item = &'a [u8]> + Clone,
    mut work: impl FnMut(&'a [u8]) -> Result<()>,
) -> Result<f64> {
    let mut inputs = inputs.cycle();
    for input in inputs.by_ref().take(WARM_UP) {
        work(input)?;
    }
    let (begun, mut seconds) = (Instant::now(), Vec::with_capacity(MOST_CALLS));
    for input in inputs.take(MOST_CALLS) {
        let started = Instant::now();
        work(input)?;
        seconds.push(started.elapsed().as_secs_f64());
        if begun.elapsed() > MOST_TIME {
            break;
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(seconds.len() / 2).copied().unwrap_or_default())
}

/// Work of which every second counts.
fn timed(mut work: impl FnMut() -> Result<usize>) -> impl FnMut() -> Result<(usize, f64)> {
    move || {
        let started = Instant::now();
        work().map(|images| (images, started.elapsed().as_secs_f64()))
    }
}

/// The process's peak resident memory in bytes, from Linux's `/proc`.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
