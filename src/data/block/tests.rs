use std::num::NonZero;

use burn::data::dataloader::DataLoader as _;

use super::*;
use crate::data::augment::AugmentConfig;
use crate::data::epoch_shape::EpochShape;
use crate::data::loader::{EpochLoader, Making};
use crate::data::mixing::Mixing;
use crate::data::preprocess::{Fit, Preprocess};
use crate::data::sources::{Source as _, SyntheticConfig};

fn batcher(images: usize, channels: usize, list: &[AugmentConfig]) -> ImageBatcher {
    let config = SyntheticConfig { train: images, height: 9, width: 14, channels, ..Default::default() };
    let set = config.open(1).unwrap().train;
    ImageBatcher::new(set.clone(), &Preprocess::from_training(&set, Fit::Resize)).augmented(list, 5)
}

fn loader(batcher: &ImageBatcher, shape: EpochShape) -> EpochLoader {
    EpochLoader::shuffled(batcher.clone(), shape, 9, &Device::flex().autodiff()).unwrap()
}

/// Everything in a batch: the bits of its images, targets, size, weight, epoch and iteration.
type Content = (Vec<u32>, Vec<i64>, usize, f32, usize, usize);

/// Everything in the batches of the rest of an epoch.
fn batches(loader: &EpochLoader, (epoch, iteration): (usize, usize)) -> Vec<Content> {
    loader.set_position(epoch, iteration);
    let values = |batch: Batch| {
        assert!(batch.images.is_autodiff() && batch.mixed.is_none());
        let images: Vec<f32> = batch.images.into_data().try_to_vec().unwrap();
        let labels = batch.targets.into_data().iter::<i64>().collect();
        (images.into_iter().map(f32::to_bits).collect(), labels, batch.size, batch.weight, batch.epoch, batch.iteration)
    };
    loader.iter().map(|batch| values(batch.unwrap())).collect()
}

fn shape() -> EpochShape {
    // A second pass, smaller batches at the end of a pass, and windows of two.
    EpochShape { batch_size: 16, iterations: 9, drop_last: false, accumulation: 2 }
}

#[test]
fn batches_made_on_the_device_are_those_of_the_host() {
    for channels in [1, 3] {
        let none = std::iter::once((Vec::new(), Making::Device));
        let each = AugmentConfig::examples().into_iter().map(|config| {
            let making = if batcher(4, channels, std::slice::from_ref(&config)).forms().is_some() {
                Making::Device
            } else {
                Making::Sent
            };
            (vec![config], making)
        });
        let movable = |config: &AugmentConfig| ["affine", "flip", "crop", "cutout"].contains(&config.kind());
        let several = std::iter::once((
            AugmentConfig::examples().into_iter().filter(movable).collect::<Vec<_>>(),
            Making::Device,
        ));
        let mut seen = Vec::new();
        for (list, making) in none.chain(each).chain(several) {
            if channels == 1 && list.iter().any(|config| config.kind() == "color_jitter") {
                continue;
            }
            let batcher = batcher(70, channels, &list);
            let host = loader(&batcher, shape());
            let device = loader(&batcher, shape()).on_device().unwrap();
            assert_eq!((host.making(), device.making()), (Making::Host, making), "{list:?}");
            for start in [(1, 0), (3, 4)] {
                assert_eq!(batches(&host, start), batches(&device, start), "{list:?}");
            }
            seen.push(making);
        }
        assert!(seen.contains(&Making::Sent), "some kinds need the host");
    }
}

#[test]
fn an_epoch_may_have_many_blocks_and_be_left_in_the_middle() {
    let batcher = batcher(64, 1, &[]);
    let shape = EpochShape::one_pass(64, 4);
    let mut maker = BlockMaker::new(&batcher, &Device::flex()).unwrap();
    assert_eq!(maker.batches(4), BLOCK_PIXELS / (4 * 126));
    maker.source = Source::Host;
    for _ in 0..3 {
        let loader = loader(&batcher, shape).on_device().unwrap();
        loader.set_position(2, 0);
        let mut batches = loader.iter();
        assert_eq!(batches.next().unwrap().unwrap().iteration, 0);
        assert_eq!(batches.progress().items_processed, 4);
        drop(batches);
        assert_eq!(loader.position(), (3, 0));
    }
}

#[test]
fn mixed_batches_are_the_hosts() {
    let mixing = Mixing { mixup: Some(0.2), cutmix: None };
    let loader = loader(&batcher(40, 1, &[]).mixed(mixing, 3), shape()).on_device().unwrap();
    assert_eq!(loader.making(), Making::Host);
}

#[test]
fn as_many_batches_as_fit_are_made_at_once() {
    let maker = BlockMaker::new(&batcher(20, 1, &[]), &Device::flex()).unwrap();
    assert_eq!(maker.batches(BLOCK_PIXELS), 1);
    assert!(NonZero::new(maker.batches(0)).is_some());
}

#[test]
fn a_device_that_makes_other_pictures_is_refused() {
    let affine = AugmentConfig::examples().into_iter().find(|config| config.kind() == "affine").unwrap();
    let batcher = batcher(40, 3, &[affine]);
    let samples: Vec<_> = (0..16).map(|index| SampleRef { index, epoch: 1, position: index }).collect();
    let mut maker = BlockMaker::new(&batcher, &Device::flex()).unwrap();
    maker.check(&batcher, &samples).unwrap();
    let right = maker.table.clone();
    maker.table = right.clone().add_scalar(0.2);
    let error = maker.check(&batcher, &samples).unwrap_err().render();
    assert!(error.contains("of 6048 values") && error.contains("KILN_STOCK_OPS=1"), "{error}");
    // A device that fails.
    maker.table = right.narrow(0, 0, 3);
    let error = maker.check(&batcher, &samples).unwrap_err().render();
    assert!(error.contains("other pictures"), "{error}");
}
