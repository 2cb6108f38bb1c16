//! From bytes to what the network sees. There is one implementation, used by training and by inference, and its
//! parameters travel in the artifact.

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
        let plane = set.shape.height * set.shape.width;
        let mut histograms = vec![[0_u64; 256]; set.shape.channels];
        for image in set.pixels.chunks_exact(set.shape.len().max(1)) {
            for (histogram, pixels) in histograms.iter_mut().zip(image.chunks_exact(plane)) {
                for &pixel in pixels {
                    histogram[usize::from(pixel)] += 1;
                }
            }
        }
        let (mean, std) = histograms.iter().map(moments).unzip();
        Self { shape: set.shape, mean, std, fit }
    }

    /// The network's input for each channel and each pixel value.
    pub fn table(&self) -> Table {
        let channel = |(mean, std): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        Table { channels: self.mean.iter().zip(&self.std).map(channel).collect() }
    }

    /// Turns one image `[c, h, w]` into network inputs `[c, h, w]`; to do it often, keep the [`table`](Self::table).
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        self.table().apply(pixels, out);
    }
}

/// [`Preprocess`] as a look-up table: one network input per channel and pixel value.
#[derive(Clone, Debug)]
pub struct Table {
    channels: Vec<[f32; 256]>,
}

impl Table {
    /// The entries, those of a channel one after another: 256 for each.
    pub(super) fn values(&self) -> Vec<f32> {
        self.channels.concat()
    }

    /// Turns one image `[c, h, w]` into network inputs `[c, h, w]`. The only place where this happens.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        let plane = pixels.len() / self.channels.len();
        let planes = pixels.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        for (table, (pixels, out)) in self.channels.iter().zip(planes) {
            for (pixel, out) in pixels.iter().zip(out) {
                *out = table[usize::from(*pixel)];
            }
        }
    }
}

/// Mean and standard deviation of a histogram of pixel values, in units of 0..=1. The sums are whole numbers, so the
/// result does not depend on the order of the images.
fn moments(histogram: &[u64; 256]) -> (f32, f32) {
    let sum = |power: u32| -> u64 { (0_u64..).zip(histogram).map(|(value, count)| value.pow(power) * count).sum() };
    let count = sum(0) as f64;
    if count == 0.0 {
        return (0.0, 1.0);
    }
    let mean = sum(1) as f64 / count;
    let variance = sum(2) as f64 / count - mean * mean;
    let std = if variance > 1e-6 { variance.sqrt() / 255.0 } else { 1.0 };
    ((mean / 255.0) as f32, std as f32)
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
