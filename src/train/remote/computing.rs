//! The worker's side: the network of a run, and the parts of its batches that go through it.

use burn::module::{Module as _, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use super::message::{Job, Reader, Writer, floats_of};
use crate::data::batch::{Batch, Mixed};
use crate::models::{Network, ParameterPath, WeightTensor, Weights, total_parameters};
use crate::ops::transfer;
use crate::train::classifier::{Classifier, StepSettings};
use crate::train::devices::{Done, Part};
use crate::{Error, Result};

/// A run's network, ready for parts.
pub(crate) struct Computing {
    job: Job,
    network: Network,
    settings: StepSettings,
    /// Names and shapes of its tensors.
    like: Weights,
    parameters: usize,
    /// With autodiff.
    device: Device,
}

impl Computing {
    /// What a job asks for, on `device`, which is without autodiff.
    ///
    /// # Errors
    /// When it is no job, or its network is none.
    pub(crate) fn begin(job: &[u8], device: &Device) -> Result<Self> {
        let job: Job =
            serde_json::from_slice(job).map_err(|error| Error::usage("the job cannot be read").caused_by(error))?;
        let experiment = job.experiment()?;
        job.check()?;
        let layers = experiment.model.layers(job.shape, job.classes)?;
        let network = experiment.model.init(job.shape, job.classes, device)?;
        Ok(Self {
            like: network.weights()?,
            settings: StepSettings::new(&experiment, &job.class_counts),
            parameters: total_parameters(&layers),
            job,
            network,
            device: device.clone().autodiff(),
        })
    }

    /// Its learned values.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    /// What it takes and gives, in words.
    pub(crate) fn words(&self) -> String {
        format!("images of {}, {} classes", self.job.shape, self.job.classes)
    }

    /// What comes of a part, as a message, and how many images it has.
    ///
    /// # Errors
    /// When it is no part of a batch of this run, or the device fails.
    pub(crate) fn compute(&self, part: &[u8]) -> Result<(Vec<u8>, usize)> {
        let (part, images) = self.part(part)?;
        let mut done = part.compute(&self.device);
        let mut writer = Writer::with_room(self.parameters + images * self.job.classes);
        writer.floats(&floats_of(done.output.item.loss.clone())?);
        writer.floats(&floats_of(done.output.item.output.clone())?);
        writer.weights(&self.gathered(&mut done)?);
        Ok((writer.finish(), images))
    }

    fn part(&self, bytes: &[u8]) -> Result<(Part, usize)> {
        let mut reader = Reader(bytes);
        let head = reader.head()?;
        let (shape, images) = (self.job.shape, head.images);
        if images == 0 {
            return Err(Error::usage("the part of a batch has no images"));
        }
        let values = reader.floats(images.saturating_mul(shape.len()))?;
        let labels = self.labels(reader.ints(images)?)?;
        let others = match head.mixed {
            Some(share) => Some((self.labels(reader.ints(images)?)?, share)),
            None => None,
        };
        let weights = reader.weights(&self.like)?;
        reader.finish()?;
        let targets = |labels: Vec<i32>| transfer::ints(labels, [images], &self.device);
        let batch = Batch {
            images: transfer::floats(values, [images, shape.channels, shape.height, shape.width], &self.device),
            targets: targets(labels),
            mixed: others.map(|(labels, share)| Mixed { targets: targets(labels), share }),
            size: images,
            weight: head.weight,
            epoch: head.epoch,
            iteration: head.iteration,
        };
        let replica = Classifier::new(self.network.clone().load(&weights)?, self.settings.clone());
        let replica = replica.train().with_first_image(head.first_image);
        Ok((Part { replica, batch, share: head.share }, images))
    }

    /// Labels of classes that there are.
    fn labels(&self, labels: Vec<i32>) -> Result<Vec<i32>> {
        let is_known = |label: &i32| usize::try_from(*label).is_ok_and(|label| label < self.job.classes);
        match labels.iter().find(|label| !is_known(label)) {
            None => Ok(labels),
            Some(label) => Err(Error::usage(format!("there are {} classes, got the label {label}", self.job.classes))),
        }
    }

    /// The gradients and the running statistics, each in the place of its tensor.
    fn gathered(&self, done: &mut Done) -> Result<Weights> {
        let mut gathered = Gathered {
            path: ParameterPath::default(),
            parts: [&mut done.output.grads, &mut done.running],
            found: Weights::default(),
            failure: None,
        };
        self.network.visit(&mut gathered);
        let Gathered { found, failure, .. } = gathered;
        match (failure, self.like.iter().find(|(name, _)| found.get(name).is_none())) {
            (Some(error), _) => Err(error),
            (None, Some((name, _))) => Err(Error::failed(format!("the tensor `{name}` got no gradient"))),
            (None, None) => Ok(found),
        }
    }
}

struct Gathered<'a> {
    path: ParameterPath,
    parts: [&'a mut GradientsParams; 2],
    found: Weights,
    failure: Option<Error>,
}

impl ModuleVisitor for Gathered<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(tensor) = self.parts.iter_mut().find_map(|part| part.remove::<D>(param.id)) else { return };
        let shape = tensor.dims().to_vec();
        match floats_of(tensor) {
            Ok(values) => self.found.insert(self.path.name(), WeightTensor { shape, values }),
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }
}
