//! Batches made on the device: the set lies there, the host sends an order and what it drew for each image, and the images
//! of many batches are picked, distorted and normalised at once. A **block** is what is made at once.
//!
//! What a device cannot do (see [`Form`]) and sets that are too large are sent as bytes, a block at a time and ahead of the
//! trainer. The pictures are those that the host would make: the same draws, and the same arithmetic.

mod distort;
mod pixels;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use burn::data::dataloader::batcher::Batcher as _;
use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{Device, Int, Tensor};
use kiln_pixels::words::words;

use super::ImageShape;
use super::augment::Form;
use super::batch::{Batch, ImageBatcher, SampleRef};
use super::loader::Making;
use crate::error::panic_text;
use crate::ops::transfer;
use crate::{Error, Result};
use distort::Distorter;
use pixels::{LARGEST_SET, Resident};

/// Pixels in a block: enough that the launches that make it are few per batch, and little memory.
const BLOCK_PIXELS: usize = 4 << 20;

/// Makes blocks on a device.
#[derive(Clone, Debug)]
pub(super) struct BlockMaker {
    device: Device,
    shape: ImageShape,
    /// The network's input for each pixel value of each channel, `[channels * 256]`.
    table: Tensor<1>,
    /// Where each channel's entries begin in the table, `[1, channels, 1]`.
    first_entries: Tensor<3>,
    source: Source,
}

/// Where the pixels of a block come from.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them, and they live as long as a run")]
enum Source {
    /// The set lies on the device, which also distorts.
    Device(Resident, Distorter),
    /// The host distorts and sends bytes.
    Host,
}

/// How the batches of a batcher can be made.
enum Plan {
    /// Mixed with one another, which the host does; or there are none.
    Mixed,
    /// Wholly on the device.
    Resident(Vec<Form>),
    /// From images that are sent.
    Sent,
}

impl Plan {
    fn of(batcher: &ImageBatcher) -> Self {
        let set = batcher.set();
        let bytes = 4 * words(set.shape.len()) * set.len();
        // Places within an image are computed as floats.
        let is_exact = (set.shape.height + 3) * (set.shape.width + 3) < 1 << 24;
        match batcher.forms() {
            _ if batcher.is_mixed() || set.is_empty() => Self::Mixed,
            Some(forms) if bytes <= LARGEST_SET && is_exact => Self::Resident(forms),
            _ => Self::Sent,
        }
    }
}

/// Where the batches of a batcher are made for a device that is not the host.
pub(super) fn making(batcher: &ImageBatcher) -> Making {
    match Plan::of(batcher) {
        Plan::Mixed => Making::Host,
        Plan::Resident(_) => Making::Device,
        Plan::Sent => Making::Sent,
    }
}

/// What the host prepares for a block.
struct Prepared {
    /// The batches in it, first to last.
    batches: Vec<Place>,
    labels: Vec<i32>,
    pixels: Pixels,
}

enum Pixels {
    /// The images' places in the set, and what was drawn for each.
    Picked { order: Vec<i32>, drawn: Vec<f32> },
    /// The distorted images themselves, as words.
    Sent(Vec<f32>),
}

/// A batch's place in its epoch.
pub(super) struct Place {
    pub(super) size: usize,
    pub(super) weight: f32,
    pub(super) iteration: usize,
}

impl BlockMaker {
    /// Blocks of the batches of `batcher` on `device`, which is without autodiff; none when batches are mixed, which the host does.
    pub(super) fn new(batcher: &ImageBatcher, device: &Device) -> Option<Self> {
        let (set, table) = (batcher.set(), batcher.table().values());
        let shape = set.shape;
        let source = match Plan::of(batcher) {
            Plan::Mixed => return None,
            Plan::Resident(forms) => Source::Device(Resident::new(set, device), Distorter::new(&forms, shape, device)),
            Plan::Sent => Source::Host,
        };
        let table = transfer::floats(table, [shape.channels * 256], device);
        let first_entries = (0..shape.channels).map(|channel| (channel * 256) as f32).collect();
        let first_entries = transfer::floats(first_entries, [1, shape.channels, 1], device);
        Some(Self { device: device.clone(), shape, table, first_entries, source })
    }

    /// Makes these images on the device and holds them to those that the host makes: drivers and compilers of graphics APIs are
    /// many, and a wrong picture would be seen by nobody. What was distorted may differ by a pixel value or two, where a value
    /// between two was rounded otherwise.
    ///
    /// # Errors
    /// When they differ, or the device fails.
    pub(super) fn check(&self, batcher: &ImageBatcher, samples: &[SampleRef]) -> Result<()> {
        let wrong = |reason: String| {
            Error::failed("the device makes other pictures than the host").caused_by(reason).tip(
                "with KILN_STOCK_OPS=1 in the environment the host makes them; the driver or Burn's code for it has a fault",
            )
        };
        let made = catch_unwind(AssertUnwindSafe(|| {
            let Prepared { pixels, .. } = self.prepare(batcher, samples, Vec::new());
            transfer::read([self.make(pixels, samples.len())?])
        }));
        let made = made.map_err(|panic| wrong(panic_text(&*panic)))??.concat();
        let expected = batcher.batch(samples.to_vec(), &Device::flex()).images;
        let expected = transfer::read([expected])?.concat();
        let table = batcher.table().values();
        let steps = table.windows(2).map(|pair| (pair[1] - pair[0]).abs()).filter(|step| step.is_finite());
        // Between two channels, the table steps down by a whole range.
        let step = steps.fold(f32::INFINITY, f32::min);
        let most = match &self.source {
            Source::Device(_, distorter) if !distorter.is_identity() => 2.5 * step,
            _ => 0.5 * step,
        };
        let far = |(made, expected): (&f32, &f32)| made.is_nan() || (made - expected).abs() > most;
        match made.iter().zip(&expected).filter(|pair| far(*pair)).count() {
            0 if made.len() == expected.len() => Ok(()),
            count => Err(wrong(format!("{count} of {} values of the first images differ", expected.len()))),
        }
    }

    /// How many batches of `size` images are made at once.
    pub(super) fn batches(&self, size: usize) -> usize {
        (BLOCK_PIXELS / (size * self.shape.len()).max(1)).max(1)
    }

    /// The host's part of a block of these images.
    fn prepare(&self, batcher: &ImageBatcher, samples: &[SampleRef], batches: Vec<Place>) -> Prepared {
        let labels = samples.iter().map(|sample| i32::from(batcher.set().labels[sample.index])).collect();
        let pixels = match &self.source {
            Source::Host => Pixels::Sent(batcher.packed(samples)),
            Source::Device(..) => Pixels::Picked {
                order: samples.iter().map(|sample| sample.index as i32).collect(),
                drawn: batcher.draws(samples),
            },
        };
        Prepared { batches, labels, pixels }
    }

    /// The device's part: the network inputs, `[images, channels, height, width]`.
    fn make(&self, pixels: Pixels, images: usize) -> Result<Tensor<4>> {
        let ImageShape { channels, height, width } = self.shape;
        let (length, plane) = (self.shape.len(), height * width);
        let unpacked = |words| pixels::unpack(words, length).reshape([images, channels, plane]);
        let pixels = match (pixels, &self.source) {
            (Pixels::Picked { order, drawn }, Source::Device(resident, distorter)) => {
                let order = transfer::ints(order, [images], &self.device);
                let words = resident.select(&order).ok_or_else(|| Error::failed("there are no images to pick from"))?;
                if distorter.is_identity() {
                    unpacked(words)
                } else {
                    let drawn = transfer::floats(drawn, [images, distorter.numbers()], &self.device);
                    distorter.apply(unpacked(words), &drawn)
                }
            }
            (Pixels::Sent(sent), _) => unpacked(transfer::floats(sent, [images, words(length)], &self.device)),
            (Pixels::Picked { .. }, Source::Host) => {
                return Err(Error::failed("images are to be picked on a device that has none"));
            }
        };
        let entries = (pixels + self.first_entries.clone()).reshape([images * length]).int();
        Ok(self.table.clone().select(0, entries).reshape([images, channels, height, width]))
    }
}

/// The batches of an epoch, some at a time ahead of whoever asks for them.
pub(super) struct Blocks {
    maker: BlockMaker,
    epoch: usize,
    /// Whether the batches are for training with gradients.
    autodiff: bool,
    prepared: Receiver<Prepared>,
    /// Batches that were not given yet, in all.
    left: usize,
    block: Block,
    /// Images of the epoch, and those in batches that were given.
    images: usize,
    done: usize,
}

/// What is left of a block.
#[derive(Default)]
struct Block {
    tensors: Option<(Tensor<4>, Tensor<1, Int>)>,
    /// Rows that were given.
    row: usize,
    batches: VecDeque<Place>,
}

/// What blocks are made of: the batches that are left of an epoch.
pub(super) struct Rest {
    pub(super) epoch: usize,
    /// How many batches are left.
    pub(super) batches: usize,
    /// Images in a full batch.
    pub(super) batch_size: usize,
    /// Images of the whole epoch, and those in batches before the rest.
    pub(super) images: usize,
    pub(super) done: usize,
}

impl Blocks {
    /// The rest of an epoch for `device`; `next` gives the images and the place of each batch, in their order.
    pub(super) fn begin(
        maker: &BlockMaker,
        batcher: &ImageBatcher,
        device: &Device,
        rest: &Rest,
        mut next: impl FnMut() -> Option<(Vec<SampleRef>, Place)> + Send + 'static,
    ) -> Self {
        // One block is prepared while the one before waits to be taken.
        let (sender, prepared) = sync_channel(1);
        let (preparer, batcher, together) = (maker.clone(), batcher.clone(), maker.batches(rest.batch_size));
        thread::spawn(move || {
            loop {
                let (mut samples, mut batches) = (Vec::new(), Vec::new());
                while batches.len() < together
                    && let Some((more, place)) = next()
                {
                    samples.extend(more);
                    batches.push(place);
                }
                // An error says that nobody wants more.
                if batches.is_empty() || sender.send(preparer.prepare(&batcher, &samples, batches)).is_err() {
                    return;
                }
            }
        });
        Self {
            maker: maker.clone(),
            epoch: rest.epoch,
            autodiff: device.is_autodiff(),
            prepared,
            left: rest.batches,
            block: Block::default(),
            images: rest.images,
            done: rest.done,
        }
    }

    fn take(&mut self) -> Result<Batch> {
        if self.block.batches.is_empty() {
            let Prepared { batches, labels, pixels } =
                self.prepared.recv().map_err(|_| Error::failed("the thread that prepares batches stopped"))?;
            let images = labels.len();
            let targets = transfer::ints(labels, [images], &self.maker.device);
            let tensors = Some((self.maker.make(pixels, images)?, targets));
            self.block = Block { tensors, row: 0, batches: batches.into() };
        }
        let block = &mut self.block;
        let (Some((images, targets)), Some(Place { size, weight, iteration })) =
            (&block.tensors, block.batches.pop_front())
        else {
            return Err(Error::failed("a block has no batch"));
        };
        let rows = block.row..block.row + size;
        let [_, channels, height, width] = images.dims();
        let mut images = images.clone().slice([rows.clone(), 0..channels, 0..height, 0..width]);
        let mut targets = targets.clone().slice([rows]);
        block.row += size;
        if block.batches.is_empty() {
            block.tensors = None;
        }
        if self.autodiff {
            (images, targets) = (images.autodiff(), targets.autodiff());
        }
        Ok(Batch { images, targets, mixed: None, size, weight, epoch: self.epoch, iteration })
    }
}

impl Iterator for Blocks {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let batch = self.take();
        self.done += batch.as_ref().map_or(0, |batch| batch.size);
        Some(batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<Batch> for Blocks {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.images, Some("images".to_owned()))
    }
}

#[cfg(test)]
mod tests;
