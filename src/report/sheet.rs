//! Sheets: many small pictures of one size in one PNG, which is smaller than a file for each.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};

use crate::data::ImageSet;
use crate::predict::LayerOutput;
use crate::{Error, Result};

/// Pictures beside each other on a sheet.
const COLUMNS: usize = 32;

/// The longest side of a picture on a page, in its own pixels; larger ones are shrunk.
pub const LARGEST_SIDE: usize = 48;

/// Pictures of one size in one PNG.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The size of one picture in pixels.
    pub width: usize,
    /// The same, down.
    pub height: usize,
    /// Pictures beside each other.
    pub columns: usize,
    /// How many pictures there are.
    pub count: usize,
    png: Vec<u8>,
}

/// One picture on its way to a sheet: `[height, width, channels]`, 1 channel or 3.
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// `[height, width, channels]`.
    pub values: Vec<u8>,
}

impl Picture {
    /// An image `[channels, height, width]` of a data set: grey or RGB; of other numbers of channels the first.
    pub fn of_image(pixels: &[u8], shape: crate::data::ImageShape) -> Self {
        let plane = shape.height * shape.width;
        let channels = if shape.channels == 3 { 3 } else { 1 };
        let values = (0..plane).flat_map(|place| (0..channels).map(move |channel| pixels[channel * plane + place]));
        Self { width: shape.width, height: shape.height, channels, values: values.collect() }
    }

    /// The same picture with no side longer than `side`, each pixel the mean of those that it covers.
    #[must_use]
    pub fn shrunk(self, side: usize) -> Self {
        let factor = self.width.max(self.height).div_ceil(side.max(1));
        if factor <= 1 {
            return self;
        }
        let (width, height) = (self.width.div_ceil(factor), self.height.div_ceil(factor));
        let mut values = Vec::with_capacity(width * height * self.channels);
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let rows = row * factor..((row + 1) * factor).min(self.height);
            let columns = column * factor..((column + 1) * factor).min(self.width);
            let count = rows.len() * columns.len();
            for channel in 0..self.channels {
                let covered = rows.clone().flat_map(|row| columns.clone().map(move |column| row * self.width + column));
                let sum: usize = covered.map(|place| usize::from(self.values[place * self.channels + channel])).sum();
                values.push((sum / count) as u8);
            }
        }
        Self { width, height, channels: self.channels, values }
    }

    /// A channel of a layer's output or a weight in grey: `low` is black and `high` white.
    pub fn grey(values: &[f32], (width, height): (usize, usize), (low, high): (f32, f32)) -> Self {
        let scale = 255.0 / (high - low).max(f32::MIN_POSITIVE);
        let mut values: Vec<u8> = values.iter().map(|value| ((value - low) * scale) as u8).collect();
        values.resize(width * height, 0);
        Self { width, height, channels: 1, values }
    }

    /// Weights `[channels, height, width]` as colours. With 3 channels as red, green and blue round grey; else the mean
    /// over the channels, blue below 0, white at 0 and red above. `largest` is the largest absolute value to be shown.
    pub fn of_weights(values: &[f32], (channels, height, width): (usize, usize, usize), largest: f32) -> Self {
        let plane = height * width;
        let scaled = |value: f32| (value / largest.max(f32::MIN_POSITIVE)).clamp(-1.0, 1.0);
        let pixel = |place: usize| -> [u8; 3] {
            if channels == 3 {
                return std::array::from_fn(|channel| (127.5 + 127.5 * scaled(values[channel * plane + place])) as u8);
            }
            let sum: f32 = (0..channels).map(|channel| values[channel * plane + place]).sum();
            diverging(scaled(sum / channels as f32))
        };
        Self { width, height, channels: 3, values: (0..plane).flat_map(pixel).collect() }
    }
}

/// The largest absolute value in any of `filters`.
pub fn largest_of(filters: &[Vec<f32>]) -> f32 {
    filters.iter().flatten().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Blue at -1, white at 0, red at 1.
fn diverging(value: f32) -> [u8; 3] {
    let end = if value < 0.0 { [33.0, 102.0, 172.0] } else { [178.0, 24.0, 43.0] };
    end.map(|end: f32| (247.0 + (end - 247.0) * value.abs()) as u8)
}

impl Sheet {
    /// A sheet of `pictures`, all of the first one's size and channels. None of no picture.
    ///
    /// # Errors
    /// When the PNG cannot be made.
    pub fn new(pictures: &[Picture]) -> Result<Option<Self>> {
        Self::in_columns(pictures, COLUMNS)
    }

    /// The same with up to `columns` pictures beside each other.
    ///
    /// # Errors
    /// As [`Sheet::new`].
    pub fn in_columns(pictures: &[Picture], columns: usize) -> Result<Option<Self>> {
        let Some(first) = pictures.first() else { return Ok(None) };
        let (width, height, channels) = (first.width, first.height, first.channels);
        let columns = pictures.len().min(columns.max(1));
        let rows = pictures.len().div_ceil(columns);
        let stride = columns * width * channels;
        let mut pixels = vec![0; rows * height * stride];
        for (place, picture) in pictures.iter().enumerate() {
            let (across, down) = (place % columns * width * channels, place / columns * height);
            for (row, line) in picture.values.chunks_exact(width * channels).take(height).enumerate() {
                pixels[(down + row) * stride + across..][..line.len()].copy_from_slice(line);
            }
        }
        let mut png = Vec::new();
        let colour = if channels == 3 { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
        PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive)
            .write_image(&pixels, (columns * width) as u32, (rows * height) as u32, colour)
            .map_err(|error| Error::failed("cannot make a picture for the report").caused_by(error))?;
        Ok(Some(Self { width, height, columns, count: pictures.len(), png }))
    }

    /// The PNG.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// Its width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.columns * self.width, self.count.div_ceil(self.columns) * self.height)
    }

    /// A sheet of the images of `set` at `indices`, none with a side longer than `side`.
    ///
    /// # Errors
    /// As [`Sheet::new`].
    pub fn of_images(set: &ImageSet, indices: &[usize], side: usize) -> Result<Option<Self>> {
        let picture = |&index: &usize| Picture::of_image(set.image(index), set.shape).shrunk(side);
        Self::new(&indices.iter().map(picture).collect::<Vec<_>>())
    }

    /// A sheet of filters, each `[channels, height, width]`. `largest` is the absolute value with the most colour; without
    /// it, the largest of these filters.
    ///
    /// # Errors
    /// As [`Sheet::new`].
    pub fn of_filters(filters: &[Vec<f32>], size: (usize, usize, usize), largest: Option<f32>) -> Result<Option<Self>> {
        let largest = largest.unwrap_or_else(|| largest_of(filters));
        let picture = |values: &Vec<f32>| Picture::of_weights(values, size, largest).shrunk(LARGEST_SIDE);
        Self::new(&filters.iter().map(picture).collect::<Vec<_>>())
    }

    /// A sheet of a layer's output: its first `most` channels, or all features in rows of 32, dark to bright.
    ///
    /// # Errors
    /// As [`Sheet::new`].
    pub fn of_layer(output: &LayerOutput, most: usize) -> Result<Option<Self>> {
        let low = output.values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = output.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let pictures: Vec<Picture> = match output.shape[..] {
            [_, height, width] => output
                .values
                .chunks_exact((height * width).max(1))
                .take(most)
                .map(|values| Picture::grey(values, (width, height), (low, high)).shrunk(LARGEST_SIDE))
                .collect(),
            _ => {
                let width = output.values.len().clamp(1, 32);
                let height = output.values.len().div_ceil(width).min(LARGEST_SIDE);
                let shown = &output.values[..output.values.len().min(width * height)];
                vec![Picture::grey(shown, (width, height), (low, high))]
            }
        };
        Self::new(&pictures)
    }

    /// The PNG as an address that holds it.
    pub fn data_uri(&self) -> String {
        format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&self.png))
    }

    /// Rows of pictures.
    pub fn rows(&self) -> usize {
        self.count.div_ceil(self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    #[test]
    fn a_sheet_holds_every_picture_at_its_place() {
        let shape = ImageShape { channels: 3, height: 1, width: 2 };
        let pixels: Vec<u8> = (0..6 * 40).map(|value| value as u8).collect();
        let set = ImageSet::new(shape, pixels, vec![0; 40], ["a".to_owned()].into()).unwrap();
        let indices: Vec<usize> = (0..40).rev().collect();
        let sheet = Sheet::of_images(&set, &indices, LARGEST_SIDE).unwrap().unwrap();
        assert_eq!((sheet.columns, sheet.rows(), sheet.count), (32, 2, 40));
        let read = image::load_from_memory(&sheet.png).unwrap().to_rgb8();
        assert_eq!((read.width(), read.height()), (64, 2));
        // The picture at place 33, in the second row, is image 6: red 36, 37, green 38, 39, blue 40, 41.
        assert_eq!([read.get_pixel(2, 1).0, read.get_pixel(3, 1).0], [[36, 38, 40], [37, 39, 41]]);
    }

    #[test]
    fn a_large_picture_is_shrunk_to_means() {
        let picture = Picture { width: 3, height: 2, channels: 1, values: vec![0, 10, 20, 30, 40, 50] };
        let small = picture.shrunk(2);
        assert_eq!((small.width, small.height, small.values), (2, 1, vec![20, 35]));
    }

    #[test]
    fn no_weight_has_no_colour_and_the_largest_has_the_most() {
        assert_eq!(diverging(0.0), [247; 3]);
        assert_eq!((diverging(1.0), diverging(-1.0)), ([178, 24, 43], [33, 102, 172]));
    }
}
