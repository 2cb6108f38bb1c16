//! From bytes to what the network sees. There is one implementation, used by training and by inference, and its
//! parameters travel in the artifact.

use kiln_pixels::table::{self, Table};
use serde::{Deserialize, Serialize};

use super::{ImageSet, ImageShape};

/// How pixels become network inputs: `(pixel / 255 - mean[c]) / std[c]` per channel `c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// The size the network takes.
    #[serde(flatten)]
    pub shape: ImageShape,
    /// Mean of the training pixels per channel, in units of 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of the training pixels per channel, in units of 0..=1; never 0.
    pub std: Vec<f32>,
    /// How a picture of any size is brought to `shape`.
    pub fit: Fit,
}

/// How a picture of any size and colour becomes one image of the network's size. "Fit" as in Pillow's `ImageOps.fit` and
/// CSS's `object-fit`; it has nothing to do with fitting a model to data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fit {
    /// As MNIST was made: ink found and made bright on black, cropped, fitted into a box keeping its aspect, and its
    /// centre of mass put into the centre.
    Digit {
        /// Side of the box in pixels that the ink is fitted into (20 in MNIST's 28).
        box_size: usize,
    },
    /// Resized to the network's size, aspect ignored.
    Resize,
}

impl Fit {
    /// [`Fit::Digit`] with MNIST's proportions: a box of 20 in an image of 28.
    pub fn digit(shape: ImageShape) -> Self {
        let side = shape.height.min(shape.width);
        Self::Digit { box_size: ((side * 20 + 14) / 28).max(1) }
    }
}

impl Preprocess {
    /// Measures mean and standard deviation per channel over the training images.
    ///
    /// A channel that never changes gets a standard deviation of 1, so that nothing is divided by 0.
    pub fn from_training(set: &ImageSet, fit: Fit) -> Self {
        let (mean, std) = table::histograms(&set.pixels, set.shape).iter().map(table::moments).unzip();
        Self { shape: set.shape, mean, std, fit }
    }

    /// The network's input for each channel and each pixel value.
    pub fn table(&self) -> Table {
        Table::new(&self.mean, &self.std)
    }

    /// Turns one image `[c, h, w]` into network inputs `[c, h, w]`; to do it often, keep the [`table`](Self::table).
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        self.table().apply(pixels, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(shape: ImageShape, pixels: &[u8]) -> ImageSet {
        let labels = vec![0; pixels.len() / shape.len()];
        ImageSet::new(shape, pixels.to_vec(), labels, ["0".to_owned()].into()).unwrap()
    }

    #[test]
    fn training_images_come_out_with_mean_0_and_deviation_1_in_each_channel() {
        let shape = ImageShape { channels: 3, height: 1, width: 2 };
        let set = set(shape, &[0, 255, 10, 20, 7, 7, 0, 255, 30, 40, 7, 7]);
        let preprocess = Preprocess::from_training(&set, Fit::Resize);
        assert_eq!(preprocess.std[2], 1.0, "a constant channel");
        let mut out = [0.0; 12];
        for (pixels, out) in set.pixels.chunks(6).zip(out.chunks_mut(6)) {
            preprocess.apply(pixels, out);
        }
        for channel in 0..2 {
            let values: Vec<f32> = [0, 6].iter().flat_map(|image| out[image + channel * 2..][..2].to_vec()).collect();
            let mean = values.iter().sum::<f32>() / 4.0;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 4.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
        }
        assert_eq!(out[4..6], [0.0, 0.0]);
    }

    #[test]
    fn the_digit_box_keeps_the_proportions_of_mnist() {
        let fit = |side| Fit::digit(ImageShape { channels: 1, height: side, width: side });
        assert_eq!(fit(28), Fit::Digit { box_size: 20 });
        assert_eq!(fit(32), Fit::Digit { box_size: 23 });
    }
}
