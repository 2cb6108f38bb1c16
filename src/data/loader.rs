//! The order in which images are seen: Burn's `DataLoader` as a function of (seed, epoch).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use serde::Serialize;

use super::batch::{Batch, ImageBatcher, SampleRef};
use super::block::{self, BlockMaker, Blocks, Place, Rest};
use super::epoch_shape::EpochShape;
use super::order::Order;
use crate::Result;

/// Where the next epoch starts. Shared between the clones of a loader.
#[derive(Debug)]
struct Position {
    epoch: AtomicUsize,
    iteration: AtomicUsize,
}

/// The first images, as many as are compared with the host's when a device makes them.
const CHECKED: usize = 16;

/// Where the batches of a loader are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Making {
    /// On the host, one at a time, by the thread that asks for it.
    Host,
    /// On the device, which holds the images.
    Device,
    /// On the device, from distorted images that the host sends some batches ahead.
    Sent,
}

impl Making {
    /// Where the batches of `batcher` are made for a device that is not the host.
    pub(crate) fn of(batcher: &ImageBatcher) -> Self {
        block::making(batcher)
    }

    /// For people: what follows "batches are made".
    pub fn words(self) -> &'static str {
        match self {
            Self::Host => "on the host, one at a time",
            Self::Device => "on the device, where the images are",
            Self::Sent => "on the device, from images that the host distorts and sends",
        }
    }
}

/// Burn's data loader for an image set. Batches are made on the thread that asks for them, or [on the device](Self::on_device).
///
/// Each call of `iter` is one epoch: it starts at the set position, then moves the position to the start of the next
/// epoch. So a fresh run sees the epochs 1, 2, 3 ..., and a resumed one needs a single
/// [`set_position`](Self::set_position). Clones, also those made by `to_device`, share the position.
#[derive(Clone, Debug)]
pub struct EpochLoader {
    batcher: ImageBatcher,
    shape: EpochShape,
    order: Order,
    position: Arc<Position>,
    device: Device,
    /// Makes the batches where that is the device's part.
    maker: Option<Arc<BlockMaker>>,
}

impl EpochLoader {
    /// For training: the order of epoch `k` is a function of (`seed`, `k`).
    ///
    /// # Errors
    /// A usage error when `shape` does not yield a single batch.
    pub fn shuffled(batcher: ImageBatcher, shape: EpochShape, seed: u64, device: &Device) -> Result<Self> {
        Self::new(batcher, shape, Order::shuffled(seed), device)
    }

    /// The same with as many images of every class that has any.
    ///
    /// # Errors
    /// A usage error when `shape` does not yield a single batch.
    pub fn balanced(batcher: ImageBatcher, shape: EpochShape, seed: u64, device: &Device) -> Result<Self> {
        let order = Order::balanced(batcher.set(), seed);
        Self::new(batcher, shape, order, device)
    }

    /// For training on the same batches over and over: the images in the order of the set, in every epoch.
    ///
    /// # Errors
    /// A usage error when `shape` does not yield a single batch.
    pub fn unshuffled(batcher: ImageBatcher, shape: EpochShape, device: &Device) -> Result<Self> {
        Self::new(batcher, shape, Order::Sequential, device)
    }

    /// For validation and test: every image once, in the order of the set. An empty set yields no batch.
    ///
    /// # Errors
    /// A usage error when `batch_size` is 0.
    pub fn sequential(batcher: ImageBatcher, batch_size: usize, device: &Device) -> Result<Self> {
        let shape = EpochShape::one_pass(batcher.set().len(), batch_size);
        Self::new(batcher, shape, Order::Sequential, device)
    }

    fn new(batcher: ImageBatcher, shape: EpochShape, order: Order, device: &Device) -> Result<Self> {
        shape.check(batcher.set().len())?;
        let position = Arc::new(Position { epoch: AtomicUsize::new(1), iteration: AtomicUsize::new(0) });
        Ok(Self { batcher, shape, order, position, device: device.clone(), maker: None })
    }

    /// The same batches, made on the device where its distortions allow it. They are the same to the last bit on a CPU, and to
    /// rounding elsewhere; the first images are held to the host's.
    ///
    /// # Errors
    /// When the device fails or makes other pictures.
    pub fn on_device(mut self) -> Result<Self> {
        let maker = BlockMaker::new(&self.batcher, &self.device.clone().without_autodiff());
        if let Some(maker) = &maker
            && self.shape.iterations > 0
        {
            let mut samples = self.samples(1, 0);
            samples.truncate(CHECKED);
            maker.check(&self.batcher, &samples)?;
        }
        self.maker = maker.map(Arc::new);
        Ok(self)
    }

    /// Where batches are made.
    pub fn making(&self) -> Making {
        if self.maker.is_some() { block::making(&self.batcher) } else { Making::Host }
    }

    /// Makes the next `iter` start in `epoch` (from 1) at `iteration` (from 0), which must be the first of an
    /// accumulation window.
    pub fn set_position(&self, epoch: usize, iteration: usize) {
        self.position.epoch.store(epoch, Ordering::SeqCst);
        self.position.iteration.store(iteration, Ordering::SeqCst);
    }

    /// Where the next `iter` starts: epoch (from 1) and iteration (from 0).
    pub fn position(&self) -> (usize, usize) {
        (self.position.epoch.load(Ordering::SeqCst), self.position.iteration.load(Ordering::SeqCst))
    }

    /// The images of batch `iteration` (from 0) of `epoch` (from 1), without making the batch.
    pub fn samples(&self, epoch: usize, iteration: usize) -> Vec<SampleRef> {
        EpochPlace { epoch, iteration, pass: 0, order: Vec::new() }.samples(self)
    }

    fn images(&self) -> usize {
        self.batcher.set().len()
    }
}

impl DataLoader<Batch> for EpochLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        let (epoch, iteration) = self.position();
        self.set_position(epoch + 1, 0);
        let Some(maker) = &self.maker else { return Box::new(Epoch::new(self, epoch, iteration)) };
        let rest = Rest {
            epoch,
            batches: self.shape.iterations.saturating_sub(iteration),
            batch_size: self.shape.batch_size,
            images: self.num_items(),
            done: self.shape.items_in(self.images(), iteration),
        };
        // Whoever prepares batches knows the images' order and nothing of the device.
        let loader = Self { maker: None, ..self.clone() };
        let mut place = EpochPlace { epoch, iteration, pass: 0, order: Vec::new() };
        Box::new(Blocks::begin(maker, &self.batcher, &self.device, &rest, move || place.next(&loader)))
    }

    fn num_items(&self) -> usize {
        self.shape.items_in(self.images(), self.shape.iterations)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        // Burn asks for another device only where there are several, and expects no error: the host makes the batches then.
        Arc::new(Self { device: device.clone(), maker: None, ..self.clone() })
    }

    /// A loader with its own position over the images `start..end` of the set.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let images = self.images();
        let indices: Vec<usize> = (start.min(images)..end.min(images)).collect();
        let mut shape = self.shape;
        shape.iterations = if indices.is_empty() { 0 } else { shape.batches_per_pass(indices.len()) };
        let (epoch, iteration) = (AtomicUsize::new(self.position().0), AtomicUsize::new(0));
        Arc::new(Self {
            batcher: self.batcher.select(&indices),
            shape,
            order: self.order.within_a_part(),
            position: Arc::new(Position { epoch, iteration }),
            device: self.device.clone(),
            maker: None,
        })
    }
}

/// A place in the batches of one epoch.
struct EpochPlace {
    epoch: usize,
    /// The batch that comes next, from 0.
    iteration: usize,
    /// The pass that `order` belongs to.
    pass: usize,
    order: Vec<u32>,
}

impl EpochPlace {
    /// The images of the next batch and the batch's place; nothing after the last.
    fn next(&mut self, loader: &EpochLoader) -> Option<(Vec<SampleRef>, Place)> {
        let EpochLoader { shape, .. } = loader;
        let (images, iteration) = (loader.images(), self.iteration);
        if iteration >= shape.iterations {
            return None;
        }
        let samples = self.samples(loader);
        self.iteration += 1;
        Some((
            samples,
            Place { size: shape.size_of(images, iteration), weight: shape.weight_of(images, iteration), iteration },
        ))
    }

    /// The images of the next batch.
    fn samples(&mut self, loader: &EpochLoader) -> Vec<SampleRef> {
        let EpochLoader { shape, .. } = loader;
        let images = loader.images();
        let per_pass = shape.batches_per_pass(images);
        let pass = self.iteration / per_pass;
        if self.order.is_empty() || pass != self.pass {
            self.order = loader.order.of_pass(images, (self.epoch, pass));
            self.pass = pass;
        }
        let start = self.iteration % per_pass * shape.batch_size;
        let places = start..start + shape.size_of(images, self.iteration);
        let sample =
            |place| SampleRef { index: self.order[place] as usize, epoch: self.epoch, position: pass * images + place };
        places.map(sample).collect()
    }
}

/// The batches of one epoch, from some iteration on, made on the host.
struct Epoch<'a> {
    loader: &'a EpochLoader,
    place: EpochPlace,
}

impl<'a> Epoch<'a> {
    fn new(loader: &'a EpochLoader, epoch: usize, iteration: usize) -> Self {
        Self { loader, place: EpochPlace { epoch, iteration, pass: 0, order: Vec::new() } }
    }
}

impl Iterator for Epoch<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let EpochLoader { batcher, device, .. } = self.loader;
        let (samples, Place { weight, iteration, .. }) = self.place.next(self.loader)?;
        let mut batch = batcher.batch(samples, device);
        (batch.weight, batch.epoch, batch.iteration) = (weight, self.place.epoch, iteration);
        Some(Ok(batch))
    }
}

impl DataLoaderIterator<Batch> for Epoch<'_> {
    /// In images. It counts the whole epoch, so an epoch that is continued does not start at 0.
    fn progress(&self) -> Progress {
        let done = self.loader.shape.items_in(self.loader.images(), self.place.iteration);
        Progress::new(done, self.loader.num_items(), Some("images".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::preprocess::{Fit, Preprocess};
    use crate::data::sources::{Source as _, SyntheticConfig};

    fn batcher(images: usize) -> ImageBatcher {
        let config = SyntheticConfig { train: images, classes: 2, height: 4, width: 4, ..Default::default() };
        let set = config.open(1).unwrap().train;
        let preprocess = Preprocess::from_training(&set, Fit::Resize);
        ImageBatcher::new(set, &preprocess)
    }

    fn loader(images: usize, shape: EpochShape) -> EpochLoader {
        EpochLoader::shuffled(batcher(images), shape, 9, &Device::flex()).unwrap()
    }

    fn shape(batch_size: usize, iterations: usize) -> EpochShape {
        EpochShape { batch_size, iterations, drop_last: false, accumulation: 1 }
    }

    /// The image indices of every batch of an epoch.
    fn indices(loader: &EpochLoader, epoch: usize) -> Vec<Vec<usize>> {
        (0..loader.shape.iterations)
            .map(|iteration| loader.samples(epoch, iteration).iter().map(|sample| sample.index).collect())
            .collect()
    }

    fn sorted(batches: &[Vec<usize>]) -> Vec<usize> {
        let mut all = batches.concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_articles_epoch_is_600_iterations_that_see_every_image_once() {
        let shape = EpochShape::one_pass(60_000, 100);
        assert_eq!((shape.iterations, shape.items_in(60_000, 600)), (600, 60_000));
        let loader = loader(1000, EpochShape::one_pass(1000, 100));
        assert_eq!(sorted(&indices(&loader, 1)), (0..1000).collect::<Vec<_>>());
        assert_ne!(indices(&loader, 1), indices(&loader, 2));
    }

    #[test]
    fn more_iterations_than_a_pass_start_a_second_pass_in_a_new_order() {
        let loader = loader(10, shape(4, 7));
        let batches = indices(&loader, 1);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2, 4, 4, 2, 4]);
        assert_eq!(sorted(&batches[..3]), (0..10).collect::<Vec<_>>());
        assert_eq!(sorted(&batches[3..6]), (0..10).collect::<Vec<_>>());
        assert_ne!(batches[..3], batches[3..6]);
        assert_eq!(loader.num_items(), 24);
    }

    #[test]
    fn fewer_iterations_than_a_pass_leave_images_unseen() {
        let batches = indices(&loader(10, shape(4, 2)), 1);
        let mut seen = sorted(&batches);
        seen.dedup();
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_dropped_last_batch_is_dropped_from_every_pass() {
        let loader = loader(10, EpochShape { drop_last: true, ..shape(4, 5) });
        assert_eq!(indices(&loader, 1).iter().map(Vec::len).collect::<Vec<_>>(), [4; 5]);
        assert_eq!(loader.num_items(), 20);
    }

    #[test]
    fn each_iter_is_the_next_epoch_and_progress_reaches_the_end() {
        let loader = loader(10, shape(4, 3));
        for epoch in 1..=2 {
            let mut batches = loader.iter();
            for expected in indices(&loader, epoch) {
                let batch = batches.next().unwrap().unwrap();
                assert_eq!(batch.size, expected.len());
                let expected = loader.batcher.inputs(&expected, &Device::flex()).into_data();
                assert_eq!(batch.images.into_data(), expected);
            }
            assert!(batches.progress().is_completed());
            assert!(batches.next().is_none());
        }
        assert_eq!(loader.position(), (3, 0));
    }

    #[test]
    fn a_continued_epoch_gives_the_batches_that_were_missing() {
        let whole = loader(10, shape(4, 7));
        whole.set_position(5, 0);
        let all: Vec<_> = whole.iter().map(|batch| batch.unwrap().images.into_data()).collect();
        let resumed = loader(10, shape(4, 7));
        let moved = resumed.to_device(&Device::flex());
        resumed.set_position(5, 4);
        let mut rest = moved.iter();
        assert_eq!(rest.progress().items_processed, 14);
        let rest: Vec<_> = rest.by_ref().map(|batch| batch.unwrap().images.into_data()).collect();
        assert_eq!(rest, all[4..]);
    }

    #[test]
    fn a_sequential_loader_keeps_the_order_and_an_empty_one_is_complete() {
        let loader = EpochLoader::sequential(batcher(10), 4, &Device::flex()).unwrap();
        assert_eq!(indices(&loader, 3).concat(), (0..10).collect::<Vec<_>>());
        let empty = EpochLoader::sequential(batcher(10).select(&[]), 4, &Device::flex()).unwrap();
        assert!(empty.iter().progress().is_completed());
        assert!(empty.iter().next().is_none());
    }

    #[test]
    fn an_epoch_without_a_batch_is_refused() {
        let shape = EpochShape { drop_last: true, ..shape(11, 1) };
        let error = EpochLoader::shuffled(batcher(10), shape, 9, &Device::flex()).unwrap_err();
        assert_eq!(error.to_string(), "1 iterations need at least one batch of 11 images, got 10 images");
        assert!(EpochLoader::sequential(batcher(10), 0, &Device::flex()).is_err());
    }

    #[test]
    fn a_slice_is_one_pass_over_its_own_images() {
        let slice = loader(10, shape(4, 3)).slice(2, 8);
        assert_eq!(slice.num_items(), 6);
        assert_eq!(slice.iter().map(|batch| batch.unwrap().size).collect::<Vec<_>>(), [4, 2]);
    }
}
