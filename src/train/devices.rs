//! One training step on several devices. A batch is cut into parts, one for each device; each goes forward and back on a
//! replica of the network, in a thread of its own; the gradients, each times its part's share of the batch, are added up in
//! the order of the devices. Nothing depends on who is done first.
//!
//! A replica is made of the learner's network for every step and given up after it: there is no second copy of the weights
//! that could differ from it, in a checkpoint or elsewhere. The update is the learner's, on the first device. A worker on another
//! machine ([`remote`](super::remote)) is a device whose thread sends the part and waits for what comes of it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use burn::module::{Module as _, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn::train::{ClassificationOutput, TrainOutput, TrainStep};

use super::classifier::Classifier;
use super::distillation::Teacher;
use super::remote::Job;
use super::remote::client::Remote;
use super::session::ClassifierLearner;
use crate::data::batch::{Batch, Mixed};
use crate::error::panic_text;
use crate::models::{ParameterPath, Role};
use crate::{Error, Result};

/// A device beside the first.
#[derive(Clone)]
pub(crate) enum Other {
    /// Of this machine, without autodiff; and the teacher, there.
    Here(Device, Option<Arc<Teacher>>),
    /// A worker on another machine.
    Remote(Arc<Remote>),
}

/// Takes training steps, on the learner's device alone or on several.
pub(crate) struct Devices {
    /// The learner's, with autodiff.
    first: Device,
    others: Vec<DeviceThread>,
}

impl Devices {
    /// The learner's device, without autodiff, and those that share its batches; `job` is what a worker must know of the run. Each
    /// of the others has a thread that lasts as long as this: a GPU's queue and memory belong to the thread that uses them.
    ///
    /// # Errors
    /// When the system has no thread left, or a worker refuses the run.
    pub(super) fn new(first: &Device, others: &[Other], job: impl Fn() -> Job) -> Result<Self> {
        let first = first.clone().autodiff();
        let start = |(index, other): (usize, &Other)| {
            let number = index + 2;
            DeviceThread::start(number, other.computation(number, &first, &job)?)
        };
        Ok(Self { others: others.iter().enumerate().map(start).collect::<Result<_>>()?, first })
    }

    /// Forward and back of one batch: the gradients and figures of all of it. Running statistics of the learner's norms become
    /// the mean of those of the replicas, each times its share of the batch.
    ///
    /// # Errors
    /// When one of the other devices fails; where the first does, it panics, as Burn does.
    pub(crate) fn step(&self, learner: &ClassifierLearner, batch: Batch) -> Result<TrainOutput<ClassificationOutput>> {
        let places = cut(batch.size, self.others.len() + 1);
        let [own, theirs @ ..] = &places[..] else { return Ok(learner.train_step(batch)) };
        if theirs.is_empty() {
            return Ok(learner.train_step(batch));
        }
        let model = learner.model();
        // One that fails is waited for like all: what it leaves behind would be taken for the answer to the next step.
        let sent: Vec<_> =
            self.others.iter().zip(theirs).map(|(other, at)| (other, other.send(&model, &batch, at))).collect();
        let first = Part::of(&model, &batch, own).compute(&self.first);
        let rest: Vec<_> = sent.into_iter().map(|(other, sent)| sent.and_then(|()| other.receive())).collect();
        let done = std::iter::once(Ok(first)).chain(rest).collect::<Result<Vec<_>>>()?;
        Ok(self.add_up(&model, batch, done))
    }

    /// What the parts give together, on the first device.
    fn add_up(&self, model: &Classifier, batch: Batch, done: Vec<Done>) -> TrainOutput<ClassificationOutput> {
        let device = self.first.clone().inner();
        let (mut gradients, mut running) = (Vec::new(), Vec::new());
        let (mut losses, mut outputs) = (Vec::new(), Vec::new());
        for part in done {
            gradients.push(part.output.grads);
            running.push(part.running);
            let ClassificationOutput { loss, output, .. } = part.output.item;
            losses.push(loss.inner().to_device(&device).mul_scalar(part.share));
            outputs.push(output.inner().to_device(&device));
        }
        let running = Sum::of(model, running, &device);
        if !running.is_empty() {
            // Clones of a norm share its running statistics, so these are put into the learner's.
            drop(model.clone().map(&mut Replace { values: running }));
        }
        let loss = losses.into_iter().reduce(|sum, loss| sum + loss);
        TrainOutput {
            grads: Sum::of(model, gradients, &device),
            item: ClassificationOutput {
                loss: loss.unwrap_or_else(|| Tensor::zeros([1], &device)),
                output: Tensor::cat(outputs, 0),
                targets: batch.targets,
            },
        }
    }
}

/// The parts of a batch of `size` images for at most `devices` devices: in order, none empty, the first of them larger by one
/// where they cannot all be as large.
fn cut(size: usize, devices: usize) -> Vec<Range<usize>> {
    let parts = devices.min(size).max(1);
    let start = |part: usize| part * (size / parts) + part.min(size % parts);
    (0..parts).map(|part| start(part)..start(part + 1)).collect()
}

/// A part of a batch, and the network that it goes through.
pub(super) struct Part {
    pub(super) replica: Classifier,
    pub(super) batch: Batch,
    /// Of the whole batch's images.
    pub(super) share: f32,
}

/// What became of a part.
pub(super) struct Done {
    pub(super) output: TrainOutput<ClassificationOutput>,
    /// The running statistics of the norms, times the part's share.
    pub(super) running: GradientsParams,
    pub(super) share: f32,
}

impl Part {
    fn of(model: &Classifier, batch: &Batch, at: &Range<usize>) -> Self {
        let share = at.len() as f32 / batch.size as f32;
        // Running statistics are shared by clones: a network that has left training and comes back has its own.
        let replica = model.valid().train().with_first_image(at.start);
        let targets = batch.targets.clone().slice(at.clone());
        let mixed = batch
            .mixed
            .as_ref()
            .map(|mixed| Mixed { targets: mixed.targets.clone().slice(at.clone()), share: mixed.share });
        let batch = Batch {
            images: batch.images.clone().slice(at.clone()),
            targets,
            mixed,
            size: at.len(),
            weight: batch.weight * share,
            ..*batch
        };
        Self { replica, batch, share }
    }

    /// Forward and back, on `device`, which has autodiff.
    pub(super) fn compute(self, device: &Device) -> Done {
        let Self { replica, batch, share } = self;
        let replica = replica.fork(device);
        let batch = Batch {
            images: batch.images.to_device(device),
            targets: batch.targets.to_device(device),
            mixed: batch.mixed.map(|mixed| Mixed { targets: mixed.targets.to_device(device), ..mixed }),
            ..batch
        };
        let output = TrainStep::step(&replica, batch);
        let mut running = Running { path: ParameterPath::default(), share, values: GradientsParams::new() };
        // `valid` publishes them.
        replica.network.valid().visit(&mut running);
        Done { output, running: running.values, share }
    }
}

/// What a device does with a part.
type Computation = Box<dyn FnMut(Part) -> Result<Done> + Send>;

impl Other {
    /// What the device of this number does with a part, for a first device with autodiff.
    fn computation(&self, number: usize, first: &Device, job: impl Fn() -> Job) -> Result<Computation> {
        Ok(match self.clone() {
            Self::Here(device, teacher) => {
                let device = device.autodiff();
                Box::new(move |part| {
                    let part = Part { replica: part.replica.taught_by(teacher.clone()), ..part };
                    // Backends panic on device errors.
                    catch_unwind(AssertUnwindSafe(|| part.compute(&device)))
                        .map_err(|panic| failed(number, &panic_text(&*panic)))
                })
            }
            Self::Remote(remote) => {
                let task = remote.begin(job(), first)?;
                Box::new(move |part| task.compute(part))
            }
        })
    }
}

/// A device with its thread.
struct DeviceThread {
    /// Its number, from 1.
    number: usize,
    parts: Sender<Part>,
    done: Receiver<Result<Done>>,
}

impl DeviceThread {
    fn start(number: usize, mut compute: Computation) -> Result<Self> {
        let (parts, inbox) = channel::<Part>();
        let (outbox, done) = channel();
        let work = move || {
            while let Ok(part) = inbox.recv() {
                if outbox.send(compute(part)).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name(format!("device {number}"));
        thread
            .spawn(work)
            .map_err(|error| Error::failed(format!("cannot start the thread of device {number}")).caused_by(error))?;
        Ok(Self { number, parts, done })
    }

    fn send(&self, model: &Classifier, batch: &Batch, at: &Range<usize>) -> Result<()> {
        let part = Part::of(model, batch, at);
        self.parts.send(part).map_err(|_| failed(self.number, "its thread has ended"))
    }

    fn receive(&self) -> Result<Done> {
        self.done.recv().unwrap_or_else(|_| Err(failed(self.number, "its thread has ended")))
    }
}

fn failed(number: usize, cause: &str) -> Error {
    Error::failed(format!("device {number} of those that share the batches failed")).caused_by(cause.to_owned())
}

/// Adds up tensors of the same parameter, in the order of what they came from.
struct Sum<'a> {
    parts: Vec<GradientsParams>,
    device: &'a Device,
    sum: GradientsParams,
}

impl<'a> Sum<'a> {
    fn of(model: &Classifier, parts: Vec<GradientsParams>, device: &'a Device) -> GradientsParams {
        let mut sum = Self { parts, device, sum: GradientsParams::new() };
        model.visit(&mut sum);
        sum.sum
    }
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = self.parts.iter_mut().filter_map(|part| part.remove::<D>(param.id));
        if let Some(sum) = values.map(|value| value.to_device(self.device)).reduce(|sum, value| sum + value) {
            self.sum.register(param.id, sum);
        }
    }
}

/// Gathers the running statistics of a network that has left training.
struct Running {
    path: ParameterPath,
    share: f32,
    values: GradientsParams,
}

impl ModuleVisitor for Running {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if Role::of(&self.path.name(), D).is_some_and(|role| !role.is_learned()) {
            self.values.register(param.id, param.val().mul_scalar(self.share));
        }
    }
}

/// Puts tensors in place of those that a module has.
struct Replace {
    values: GradientsParams,
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove::<D>(param.id) else { return param };
        let (id, old, mapper) = param.consume();
        let value = if old.is_autodiff() { value.autodiff() } else { value };
        Param::from_mapped_value(id, value, mapper)
    }
}

#[cfg(test)]
mod tests;
