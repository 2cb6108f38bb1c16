//! How a batch is shared out among several devices.

use serde::Serialize;

use super::Plan;
use super::cost::OwnMemory;
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
}

impl Sharing {
    fn new(devices: usize, batch_size: usize, layers: &[LayerSummary]) -> Self {
        let tensors = || layers.iter().flat_map(|layer| &layer.tensors);
        Self {
            devices,
            least_images: batch_size / devices,
            most_images: batch_size.div_ceil(devices),
            batch_norms: tensors().any(|tensor| tensor.role == Role::RunningMean),
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
        format!("{} devices: {images}, gradients added up in a fixed order{norms}", self.devices)
    }
}

impl Plan {
    /// The same run on what `request` asks for: several devices share each batch, and each of them needs its own gradients,
    /// and where it has a memory of its own all parameters.
    #[must_use]
    pub fn shared_out(mut self, request: &Request) -> Self {
        let devices = request.count();
        if devices == 1 {
            return self;
        }
        let sharing = Sharing::new(devices, self.batch_size, &self.layers);
        if sharing.least_images == 0 {
            self.warnings.push(format!(
                "a batch of {} uses as many of the {devices} devices; the others wait (train.batch_size)",
                self.batch_size
            ));
        }
        let is_cpu = request.backend().is_some_and(Backend::is_cpu);
        self.memory.add_replicas(devices - 1, if is_cpu { OwnMemory::No } else { OwnMemory::Yes });
        self.sharing = Some(sharing);
        self
    }
}
