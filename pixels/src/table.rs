//! How often pixel values are seen, and what network inputs they become.

use crate::ImageShape;

/// What pixels become, as a look-up table: one network input per channel and pixel value.
#[derive(Clone, Debug)]
pub struct Table {
    channels: Vec<[f32; 256]>,
}

impl Table {
    /// `(pixel / 255 - mean[c]) / std[c]` for each channel `c`.
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        let channel = |(mean, std): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        Self { channels: mean.iter().zip(std).map(channel).collect() }
    }

    /// The entries, those of a channel one after another: 256 for each.
    pub fn values(&self) -> Vec<f32> {
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

/// How often each pixel value is seen in each channel of images `[images, c, h, w]`.
pub fn histograms(pixels: &[u8], shape: ImageShape) -> Vec<[u64; 256]> {
    let plane = shape.height * shape.width;
    let mut histograms = vec![[0_u64; 256]; shape.channels];
    for image in pixels.chunks_exact(shape.len().max(1)) {
        for (histogram, pixels) in histograms.iter_mut().zip(image.chunks_exact(plane)) {
            for &pixel in pixels {
                histogram[usize::from(pixel)] += 1;
            }
        }
    }
    histograms
}

/// Pixel values that are kept as floats, 0 to 255, as bytes.
pub fn to_bytes(values: &[f32], bytes: &mut [u8]) {
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = *value as u8;
    }
}

/// Counts the pixel values of an image at some `places` of each channel, of `plane` pixels, into the channels' histograms.
pub fn count_at(image: &[u8], places: &[usize], plane: usize, histograms: &mut [[u64; 256]]) {
    for (histogram, pixels) in histograms.iter_mut().zip(image.chunks_exact(plane)) {
        for &place in places {
            histogram[usize::from(pixels[place])] += 1;
        }
    }
}

/// Mean and standard deviation of a histogram of pixel values, in units of 0..=1; the deviation of one that never changes is 1, so
/// that nothing is divided by 0. The sums are whole numbers, so the
/// result does not depend on the order of the images.
pub fn moments(histogram: &[u64; 256]) -> (f32, f32) {
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
