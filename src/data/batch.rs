//! From images in memory to one batch on the device.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor};
use kiln_pixels::table::Table;
use kiln_pixels::words;
use rayon::prelude::*;

use super::ImageSet;
use super::augment::{self, Augment, AugmentConfig, Form, Scratch};
use super::mixing::{Mixer, Mixing};
use super::preprocess::Preprocess;
use crate::ops::transfer;

/// The images that go through the network together in one iteration, and their labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Network inputs, `[size, channels, height, width]`.
    pub images: Tensor<4>,
    /// Labels, `[size]`; of mixed images those with the larger share.
    pub targets: Tensor<1, Int>,
    /// The other labels, where images were mixed.
    pub mixed: Option<Mixed>,
    /// The number of images.
    pub size: usize,
    /// This batch's fraction of the images of its accumulation window: the gradients of a window's batches, each times
    /// its weight, add up to the mean over the window's images. 1 without accumulation.
    pub weight: f32,
    /// The epoch it belongs to, from 1.
    pub epoch: usize,
    /// Its place in that epoch, from 0.
    pub iteration: usize,
}

/// The labels with the smaller share of images that were mixed.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// Labels, `[size]`.
    pub targets: Tensor<1, Int>,
    /// Their share of every image, at most a half.
    pub share: f32,
}

/// One image to be put into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRef {
    /// Which image of the set.
    pub index: usize,
    /// The epoch that it is seen in, from 1.
    pub epoch: usize,
    /// Its place in the order of that epoch, from 0; together with the epoch it decides the distortion.
    pub position: usize,
}

/// Burn's batcher over an [`ImageSet`]: one pass from bytes to one tensor. Cloning shares the images.
#[derive(Clone, Debug)]
pub struct ImageBatcher {
    set: ImageSet,
    table: Table,
    augment: Option<Augment>,
    mixer: Option<Mixer>,
}

/// Images that one thread takes at least, so that small batches are not cut up for nothing.
const IMAGES_PER_TASK: usize = 16;

impl ImageBatcher {
    /// Batches of the images of `set` as they are.
    pub fn new(set: ImageSet, preprocess: &Preprocess) -> Self {
        Self { set, table: preprocess.table(), augment: None, mixer: None }
    }

    /// Distorts each image as `list` says, drawn under `seed`. The images are those to train on: some kinds look at all of them.
    #[must_use]
    pub fn augmented(mut self, list: &[AugmentConfig], seed: u64) -> Self {
        self.augment = (!augment::is_identity(list)).then(|| Augment::new(list, &self.set, seed));
        self
    }

    /// Mixes the images of each batch, drawn under `seed`.
    #[must_use]
    pub(crate) fn mixed(mut self, mixing: Mixing, seed: u64) -> Self {
        self.mixer = (!mixing.is_none()).then(|| Mixer::new(mixing, seed));
        self
    }

    /// The same batcher over the images at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self { set: self.set.select(indices), ..self.clone() }
    }

    /// The images that batches are made of.
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// The network inputs of the images at `indices`, undistorted, `[indices, channels, height, width]`.
    #[cfg(test)]
    pub fn inputs(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        let mut values = vec![0.0; indices.len() * self.set.shape.len()];
        self.images_mut(&mut values).zip(indices).for_each(|(out, &index)| {
            self.table.apply(self.set.image(index), out);
        });
        self.tensor(values, device)
    }

    fn images_mut<'a>(&self, values: &'a mut [f32]) -> impl IndexedParallelIterator<Item = &'a mut [f32]> {
        values.par_chunks_exact_mut(self.set.shape.len()).with_min_len(IMAGES_PER_TASK)
    }

    fn tensor(&self, values: Vec<f32>, device: &Device) -> Tensor<4> {
        let shape = self.set.shape;
        let images = values.len() / shape.len();
        transfer::floats(values, [images, shape.channels, shape.height, shape.width], device)
    }

    /// How pixels become network inputs.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Whether the images of a batch are mixed.
    pub(super) fn is_mixed(&self) -> bool {
        self.mixer.is_some()
    }

    /// The distortions as a device can do them; none where one of them needs the host.
    pub(super) fn forms(&self) -> Option<Vec<Form>> {
        self.augment.as_ref().map_or_else(|| Some(Vec::new()), Augment::forms)
    }

    /// What the [forms](Self::forms) are drawn for these images, those of an image one after another.
    pub(super) fn draws(&self, samples: &[SampleRef]) -> Vec<f32> {
        let Some(augment) = &self.augment else { return Vec::new() };
        let of = |sample: &SampleRef| augment.draw((sample.epoch, sample.position)).flat_map(|drawn| drawn.0);
        samples.par_iter().with_min_len(IMAGES_PER_TASK).flat_map_iter(of).collect()
    }

    /// The distorted pixels of these images as [words].
    pub(super) fn packed(&self, samples: &[SampleRef]) -> Vec<f32> {
        let (length, width) = (self.set.shape.len(), words::words(self.set.shape.len()));
        let mut packed = vec![0.0; samples.len() * width];
        let prepare = || (Scratch::default(), vec![0; length]);
        let images = packed.par_chunks_exact_mut(width).with_min_len(IMAGES_PER_TASK).zip(samples);
        images.for_each_init(prepare, |(scratch, distorted), (out, sample)| {
            words::pack(self.distorted(sample, scratch, distorted), out);
        });
        packed
    }

    /// The pixels of an image as its epoch shows them.
    fn distorted<'a>(&'a self, sample: &SampleRef, scratch: &mut Scratch, distorted: &'a mut [u8]) -> &'a [u8] {
        let pixels = self.set.image(sample.index);
        match &self.augment {
            None => pixels,
            Some(augment) => {
                augment.apply(pixels, (sample.epoch, sample.position), scratch, distorted);
                distorted
            }
        }
    }
}

impl Batcher<SampleRef, Batch> for ImageBatcher {
    fn batch(&self, items: Vec<SampleRef>, device: &Device) -> Batch {
        let mut values = vec![0.0; items.len() * self.set.shape.len()];
        let prepare = || (Scratch::default(), vec![0; self.set.shape.len()]);
        self.images_mut(&mut values).zip(&items).for_each_init(prepare, |(scratch, distorted), (out, sample)| {
            self.table.apply(self.distorted(sample, scratch, distorted), out);
        });
        let mut labels: Vec<i32> = items.iter().map(|sample| i32::from(self.set.labels[sample.index])).collect();
        let targets = |labels: Vec<i32>| transfer::ints(labels, [items.len()], device);
        let mut mixed = None;
        if let (Some(mixer), Some(first)) = (&self.mixer, items.first()) {
            let found = mixer.mix(&mut values, self.set.shape, &labels, (first.epoch, first.position));
            mixed = Some(Mixed { targets: targets(found.minor), share: 1.0 - found.share });
            labels = found.major;
        }
        Batch {
            images: self.tensor(values, device),
            targets: targets(labels),
            mixed,
            size: items.len(),
            weight: 1.0,
            epoch: 1,
            iteration: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::preprocess::Fit;
    use crate::data::sources::{Source as _, SyntheticConfig};

    fn batcher() -> ImageBatcher {
        let set = SyntheticConfig { train: 200, ..Default::default() }.open(1).unwrap().train;
        let preprocess = Preprocess::from_training(&set, Fit::Resize);
        ImageBatcher::new(set, &preprocess)
    }

    fn values(images: Tensor<4>) -> Vec<f32> {
        images.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_batch_holds_the_preprocessed_images_and_their_labels_in_order() {
        let (batcher, device) = (batcher(), Device::flex());
        let indices = [3, 199, 3, 0];
        let samples = indices.map(|index| SampleRef { index, epoch: 1, position: index });
        let batch = batcher.batch(samples.to_vec(), &device);
        assert_eq!(batch.images.dims(), [4, 1, 12, 12]);
        assert_eq!((batch.size, batch.weight), (4, 1.0));
        assert_eq!(batch.targets.into_data().try_to_vec::<i32>().unwrap(), [3, 9, 3, 0]);
        let images = values(batch.images);
        assert_eq!(images, values(batcher.inputs(&indices, &device)));
        let mut expected = vec![0.0; 144];
        batcher.table.apply(batcher.set.image(199), &mut expected);
        assert_eq!(images[144..288], expected);
    }

    #[test]
    fn distorted_batches_do_not_depend_on_the_number_of_threads() {
        let grey = |config: &AugmentConfig| config.kind() != "color_jitter";
        let every_kind: Vec<_> = AugmentConfig::examples().into_iter().filter(grey).collect();
        let batcher = batcher().augmented(&every_kind, 5);
        let batch = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let samples = (0..100).map(|index| SampleRef { index, epoch: 2, position: index }).collect();
            pool.install(|| values(batcher.batch(samples, &Device::flex()).images))
        };
        assert_eq!(batch(1), batch(4));
        assert_ne!(batch(1), values(batcher.inputs(&(0..100).collect::<Vec<_>>(), &Device::flex())));
    }
}
