//! How a batch is shared out among several devices.

use serde::Serialize;

use super::cost::{FLOAT, OwnMemory};
use super::{Plan, render};
use crate::device::{Backend, Request};
use crate::models::{LayerSummary, Role};

/// Several devices that compute each batch together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sharing {
    /// How many there are.
    pub devices: usize,
    /// Images of a whole batch on one device, at least: 0 where there are fewer images than devices.
    pub least_images: usize,
    /// Images of a whole batch on one device, at most.
    pub most_images: usize,
    /// Whether the network has batch norms, which see the images of one device alone.
    pub batch_norms: bool,
    /// How many of them are workers on other machines.
    pub workers: usize,
    /// Bytes that each batch sends to each worker, about: all tensors of the network, and its images.
    pub bytes_to_worker: u64,
    /// Bytes that come back, about: as many tensors, and an answer for each image.
    pub bytes_from_worker: u64,
}

impl Sharing {
    fn new(request: &Request, plan: &Plan) -> Self {
        let (devices, batch_size) = (request.count(), plan.batch_size);
        let tensors = || plan.layers.iter().flat_map(|layer: &LayerSummary| &layer.tensors);
        let most_images = batch_size.div_ceil(devices);
        let values = tensors().map(|tensor| tensor.count()).sum::<usize>();
        let bytes = |per_image: usize| (values + most_images * per_image) as u64 * FLOAT;
        let has_workers = request.workers() > 0;
        Self {
            devices,
            least_images: batch_size / devices,
            most_images,
            batch_norms: tensors().any(|tensor| tensor.role == Role::RunningMean),
            workers: request.workers(),
            bytes_to_worker: if has_workers { bytes(plan.images.shape.len() + 1) } else { 0 },
            bytes_from_worker: if has_workers { bytes(plan.images.classes) } else { 0 },
        }
    }

    /// What it means, for people.
    pub(super) fn words(&self) -> String {
        let images = match (self.least_images, self.most_images) {
            (0, _) => "an image of a batch each, as far as they go".to_owned(),
            (least, most) if least == most => format!("{most} images of a batch each"),
            (least, most) => format!("{least} or {most} images of a batch each"),
        };
        let norms = if self.batch_norms { "; batch norms see the images of one device alone" } else { "" };
        let (sent, received) = (render::bytes(self.bytes_to_worker), render::bytes(self.bytes_from_worker));
        let workers = match self.workers {
            0 => String::new(),
            1 => format!("; one is a worker elsewhere: each batch sends it {sent} and gets {received} back"),
            count => {
                format!(
                    "; {count} are workers elsewhere: each batch sends each of them {sent} and gets {received} back"
                )
            }
        };
        format!("{} devices: {images}, gradients added up in a fixed order{norms}{workers}", self.devices)
    }
}

impl Plan {
    /// The same run on what `request` asks for: several devices share each batch, and each of them needs its own gradients,
    /// and where it has a memory of its own all parameters. What a worker takes on its machine is not counted; what it sends is.
    #[must_use]
    pub fn shared_out(mut self, request: &Request) -> Self {
        let devices = request.count();
        if devices == 1 {
            return self;
        }
        let sharing = Sharing::new(request, &self);
        if sharing.least_images == 0 {
            self.warnings.push(format!(
                "a batch of {} uses as many of the {devices} devices; the others wait (train.batch_size)",
                self.batch_size
            ));
        }
        let is_cpu = request.backend().is_some_and(Backend::is_cpu);
        let here = devices - 1 - request.workers();
        self.memory.add_replicas(here, if is_cpu { OwnMemory::No } else { OwnMemory::Yes });
        self.memory.add_replicas(request.workers(), OwnMemory::No);
        self.sharing = Some(sharing);
        self
    }
}
