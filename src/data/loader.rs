//! The order in which images are seen: Burn's `DataLoader` as a function of (seed, epoch).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::{Batch, ImageBatcher, SampleRef};
use super::block::{self, BlockMaker, Blocks, Place, Rest};
use super::random;
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// How an epoch is cut into batches.
///
/// The images are gone through in **passes**. A pass is a fresh order of all `n` images, cut into batches of
/// `batch_size`; its last batch is smaller when `n` does not divide, or is left out with `drop_last`. So a pass has
/// `ceil(n / batch_size)` batches (`drop_last`: `floor`), and a batch never spans two passes. An epoch is the first
/// `iterations` batches of its passes: exactly one pass when they are equal; with fewer, the rest of the pass is not
/// seen in this epoch; with more, a second pass in a new order follows, then a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochShape {
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches in an epoch.
    pub iterations: usize,
    /// Leave out the batch at the end of a pass that is smaller than `batch_size`.
    pub drop_last: bool,
    /// Batches whose gradients make one update.
    pub accumulation: usize,
}

impl EpochShape {
    /// One pass over `images`: an epoch as the word is usually meant.
    pub fn one_pass(images: usize, batch_size: usize) -> Self {
        let iterations = images.div_ceil(batch_size.max(1));
        Self { batch_size, iterations, drop_last: false, accumulation: 1 }
    }

    /// The batches in one pass over `images`.
    pub fn batches_per_pass(&self, images: usize) -> usize {
        if self.drop_last { images / self.batch_size } else { images.div_ceil(self.batch_size) }
    }

    /// The number of images in batch `iteration` (from 0) of an epoch.
    pub fn size_of(&self, images: usize, iteration: usize) -> usize {
        let start = iteration % self.batches_per_pass(images) * self.batch_size;
        self.batch_size.min(images - start)
    }

    /// The number of images in the first `iterations` batches of an epoch, counting repeats.
    pub fn items_in(&self, images: usize, iterations: usize) -> usize {
        if iterations == 0 {
            return 0;
        }
        let per_pass = self.batches_per_pass(images);
        let whole_pass = images.min(per_pass * self.batch_size);
        iterations / per_pass * whole_pass + images.min(iterations % per_pass * self.batch_size)
    }

    /// Which fraction of the images of its accumulation window batch `iteration` has. The last window of an epoch ends with
    /// the epoch.
    pub fn weight_of(&self, images: usize, iteration: usize) -> f32 {
        let start = iteration - iteration % self.accumulation;
        let end = (start + self.accumulation).min(self.iterations);
        let window = self.items_in(images, end) - self.items_in(images, start);
        self.size_of(images, iteration) as f32 / window as f32
    }

    fn check(&self, images: usize) -> Result<()> {
        if self.batch_size == 0 || self.accumulation == 0 {
            return Err(Error::usage(format!(
                "batch size and accumulation must be at least 1, got {} and {}",
                self.batch_size, self.accumulation
            )));
        }
        if self.iterations > 0 && self.batches_per_pass(images) == 0 {
            return Err(Error::usage(format!(
                "{} iterations need at least one batch of {} images, got {images} images",
                self.iterations, self.batch_size
            ))
            .tip("use a smaller `train.batch_size`, or `train.drop_last = false`"));
        }
        Ok(())
    }
}

/// `train.sampling`: which images an epoch shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every image once in a pass.
    #[default]
    Uniform,
    /// As many images of every class, in as many batches: those of a small class more than once in a pass, of a large one
    /// some, others in each pass.
    Balanced,
}

/// How images are ordered.
#[derive(Clone, Debug)]
enum Order {
    /// As they are in the set, always.
    Sequential,
    /// Anew for every epoch and pass.
    Shuffled(Stream),
    /// Anew for every epoch and pass, with as many of each of these classes.
    Balanced(Stream, Arc<Vec<Vec<u32>>>),
}

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
        Self::new(batcher, shape, Order::Shuffled(Stream::new(seed, Purpose::Shuffle)), device)
    }

    /// The same with as many images of every class that has any.
    ///
    /// # Errors
    /// A usage error when `shape` does not yield a single batch.
    pub fn balanced(batcher: ImageBatcher, shape: EpochShape, seed: u64, device: &Device) -> Result<Self> {
        let set = batcher.set();
        let mut members = vec![Vec::new(); set.classes.len()];
        (0..set.len()).for_each(|index| members[set.label(index)].push(index as u32));
        members.retain(|members| !members.is_empty());
        let order = Order::Balanced(Stream::new(seed, Purpose::Shuffle), Arc::new(members));
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

    /// The order of the images in one pass of an epoch.
    fn pass_order(&self, epoch: usize, pass: usize) -> Vec<u32> {
        match &self.order {
            Order::Shuffled(stream) => shuffled(self.images(), stream, (epoch, pass)),
            Order::Balanced(stream, members) => balanced(members, self.images(), &mut stream.at(epoch, pass)),
            Order::Sequential => (0..self.images() as u32).collect(),
        }
    }
}

/// `images` images in random order, as many of each class, or one more of the first ones drawn. Of each class, no image is
/// there twice before every one is there once.
fn balanced(members: &[Vec<u32>], images: usize, rng: &mut impl Rng) -> Vec<u32> {
    let mut classes: Vec<usize> = (0..members.len()).collect();
    random::shuffle(rng, &mut classes);
    let (each, more) = (images / members.len().max(1), images % members.len().max(1));
    let mut order = Vec::with_capacity(images);
    for (place, class) in classes.into_iter().enumerate() {
        let end = order.len() + each + usize::from(place < more);
        while order.len() < end {
            let mut pass = members[class].clone();
            random::shuffle(rng, &mut pass);
            pass.truncate(end - order.len());
            order.append(&mut pass);
        }
    }
    random::shuffle(rng, &mut order);
    order
}

/// The order of `images` images in a pass of an epoch, under the stream of the experiment's seed for shuffling.
pub(super) fn shuffled(images: usize, stream: &Stream, (epoch, pass): (usize, usize)) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    random::shuffle(&mut stream.at(epoch, pass), &mut order);
    order
}

/// The images of the first batches, `count` in all, of a run with this `seed`, in their order; all where there are fewer.
pub(crate) fn first_images(images: usize, count: usize, seed: u64) -> Vec<usize> {
    let order = shuffled(images, &Stream::new(seed, Purpose::Shuffle), (1, 0));
    order.into_iter().take(count).map(|index| index as usize).collect()
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
        let order = match &self.order {
            // The classes of the slice are not those of the whole.
            Order::Balanced(stream, _) => Order::Shuffled(*stream),
            order => order.clone(),
        };
        Arc::new(Self {
            batcher: self.batcher.select(&indices),
            shape,
            order,
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
            self.order = loader.pass_order(self.epoch, pass);
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
    fn the_weights_of_a_window_add_up_to_1_in_proportion_to_size() {
        let shape = EpochShape { accumulation: 2, ..shape(4, 7) };
        let weights: Vec<f32> = (0..7).map(|iteration| shape.weight_of(10, iteration)).collect();
        let expected = [0.5, 0.5, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0, 1.0];
        assert!(weights.iter().zip(expected).all(|(weight, expected)| (weight - expected).abs() < 1e-6), "{weights:?}");
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
    fn a_balanced_pass_has_as_many_images_of_every_class() {
        let members = [(0..2).collect(), (2..100).collect(), (100..109).collect::<Vec<u32>>()];
        let stream = Stream::new(9, Purpose::Shuffle);
        let mut seen = [0; 109];
        for epoch in 1..=300 {
            let order = balanced(&members, 109, &mut stream.at(epoch, 0));
            let of = |class: &Vec<u32>| order.iter().filter(|image| class.contains(image)).count();
            let counts: Vec<usize> = members.iter().map(of).collect();
            assert!(order.len() == 109 && counts.iter().all(|count| [36, 37].contains(count)), "{counts:?}");
            order.iter().for_each(|image| seen[*image as usize] += 1);
            let of_first: Vec<_> = (0..2).map(|image| order.iter().filter(|other| **other == image).count()).collect();
            assert!(of_first[0].abs_diff(of_first[1]) <= 1, "{of_first:?}");
        }
        // 36.33 of a pass are of the 98 images of the largest class: each is seen 111 times, standard deviation 8.4.
        assert!(seen[2..100].iter().all(|times| (70..152).contains(times)), "{seen:?}");
        assert_ne!(balanced(&members, 109, &mut stream.at(1, 0)), balanced(&members, 109, &mut stream.at(1, 1)));
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
