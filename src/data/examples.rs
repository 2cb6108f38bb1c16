//! Some images of each class, as they are and as training distorts them.

use super::augment::{self, Augment, Scratch};
use super::order::Order;
use super::{AugmentConfig, ImageSet};

/// Some images of one class.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The class.
    pub class: usize,
    /// Their places among the training images, in the order in which the first epoch meets them.
    pub images: Vec<usize>,
    /// The same as each of the first epochs sees them: `[epochs][images]`, each `[channels, height, width]`. Empty when
    /// training distorts nothing.
    pub distorted: Vec<Vec<Vec<u8>>>,
}

/// The first `most` images of each of the first `classes` classes that an experiment with this `seed` trains on, and how
/// it distorts them in its first `epochs` epochs, in the first pass of each.
pub fn examples(
    train: &ImageSet,
    augment: &[AugmentConfig],
    seed: u64,
    (classes, most, epochs): (usize, usize, usize),
) -> Vec<Examples> {
    let order = Order::shuffled(seed);
    let orders: Vec<Vec<u32>> = (1..=epochs.max(1)).map(|epoch| order.of_pass(train.len(), (epoch, 0))).collect();
    let mut found: Vec<Examples> = (0..classes.min(train.classes.len()))
        .map(|class| Examples { class, images: Vec::new(), distorted: Vec::new() })
        .collect();
    for &image in &orders[0] {
        let image = image as usize;
        if let Some(examples) = found.get_mut(train.label(image))
            && examples.images.len() < most
        {
            examples.images.push(image);
        }
    }
    if augment::is_identity(augment) {
        return found;
    }
    let (augment, mut scratch) = (Augment::new(augment, train, seed), Scratch::default());
    for (epoch, order) in (1..=epochs).zip(&orders) {
        let mut positions = vec![0; train.len()];
        for (position, image) in order.iter().enumerate() {
            positions[*image as usize] = position;
        }
        for examples in &mut found {
            let mut distort = |&image: &usize| {
                let mut out = vec![0; train.shape.len()];
                augment.apply(train.image(image), (epoch, positions[image]), &mut scratch, &mut out);
                out
            };
            let distorted = examples.images.iter().map(&mut distort).collect();
            examples.distorted.push(distorted);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use burn::data::dataloader::DataLoader as _;
    use burn::tensor::Device;

    use super::*;
    use crate::data::augment::{AffineConfig, CutoutConfig};
    use crate::data::batch::ImageBatcher;
    use crate::data::epoch_shape::EpochShape;
    use crate::data::loader::EpochLoader;
    use crate::data::preprocess::{Fit, Preprocess};
    use crate::data::{DataConfig, SourceConfig, open};

    #[test]
    fn an_example_is_what_training_sees_in_that_epoch() {
        let source: SourceConfig = toml::from_str("kind = \"synthetic\"\ntrain = 60\ntest = 4\nclasses = 4").unwrap();
        let affine = AffineConfig { shift_pixels: 3.0, rotate_degrees: 20.0, ..AffineConfig::default() };
        let augment = vec![AugmentConfig::Affine(affine), AugmentConfig::Cutout(CutoutConfig::default())];
        let config = DataConfig { source, validation: 0.into(), seed: None, augment: augment.clone() };
        let train = open(&config, 7).unwrap().train;
        let found = examples(&train, &augment, 7, (3, 5, 2));
        assert_eq!(found.iter().map(|one| (one.class, one.images.len())).collect::<Vec<_>>(), [(0, 5), (1, 5), (2, 5)]);

        let table = Preprocess::from_training(&train, Fit::Resize).table();
        let batcher = ImageBatcher::new(train.clone(), &Preprocess::from_training(&train, Fit::Resize));
        let batcher = batcher.augmented(&augment, 7);
        let loader = EpochLoader::shuffled(batcher, EpochShape::one_pass(60, 8), 7, &Device::flex()).unwrap();
        for epoch in 1..=2 {
            loader.set_position(epoch, 0);
            let samples: Vec<usize> =
                (0..8).flat_map(|iteration| loader.samples(epoch, iteration)).map(|sample| sample.index).collect();
            let batches: Vec<f32> = loader
                .iter()
                .flat_map(|batch| batch.unwrap().images.into_data().convert::<f32>().try_to_vec::<f32>().unwrap())
                .collect();
            for one in &found {
                for (image, pixels) in one.images.iter().zip(&one.distorted[epoch - 1]) {
                    let place = samples.iter().position(|sample| sample == image).unwrap();
                    let mut expected = vec![0.0; train.shape.len()];
                    table.apply(pixels, &mut expected);
                    assert_eq!(batches[place * expected.len()..][..expected.len()], expected);
                    assert_ne!(pixels, train.image(*image));
                }
            }
        }
    }

    #[test]
    fn training_that_distorts_nothing_has_nothing_to_show() {
        let source: SourceConfig = toml::from_str("kind = \"synthetic\"\ntrain = 6\ntest = 4\nclasses = 2").unwrap();
        let config = DataConfig { source, validation: 0.into(), seed: None, augment: Vec::new() };
        let train = open(&config, 7).unwrap().train;
        let found = examples(&train, &config.augment, 7, (9, 9, 2));
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|one| one.images.len() == 3 && one.distorted.is_empty()));
    }
}
