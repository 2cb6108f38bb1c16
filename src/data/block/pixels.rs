//! The images of a set in a device's memory, three pixels to a word: graphics APIs have no bytes, and a word is a float, since
//! every backend computes with those. A float holds whole numbers of 24 bits exactly.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};
use kiln_pixels::words::{PIXELS, pack, words};
use rayon::prelude::*;

use crate::data::ImageSet;
use crate::ops::transfer;

/// The largest tensor that a set is cut into: every Vulkan device takes a buffer of this size.
const LARGEST_PART: usize = 64 << 20;

/// The largest set that is put onto a device, in bytes; batches of a larger one are sent to it.
pub(super) const LARGEST_SET: usize = 1 << 30;

/// The pixels, `[images, length]`, 0 to 255, from `[images, words]`.
pub(super) fn unpack(words: Tensor<2>, length: usize) -> Tensor<2> {
    let [images, count] = words.dims();
    // Powers of 2 change no digit, so that these are exact.
    let above = |place: i32| words.clone().mul_scalar(f64::from(256.0_f32.powi(-place))).floor();
    let (second, third) = (above(1), above(2));
    let first = words.clone() - second.clone().mul_scalar(256.0);
    let second = second - third.clone().mul_scalar(256.0);
    Tensor::stack::<3>(vec![first, second, third], 2).reshape([images, count * PIXELS]).slice([0..images, 0..length])
}

/// All images of a set on a device.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    /// Where each part begins and ends in the set, and its words, `[images, words]`.
    parts: Vec<(Range<usize>, Tensor<2>)>,
}

impl Resident {
    /// Puts the images of `set` onto `device`.
    pub(super) fn new(set: &ImageSet, device: &Device) -> Self {
        Self::in_parts(set, (LARGEST_PART / (4 * words(set.shape.len()))).max(1), device)
    }

    fn in_parts(set: &ImageSet, images: usize, device: &Device) -> Self {
        let (length, width) = (set.shape.len(), words(set.shape.len()));
        let part = |start: usize| {
            let range = start..(start + images).min(set.len());
            let mut packed = vec![0.0; range.len() * width];
            let pixels = &set.pixels[range.start * length..range.end * length];
            packed.par_chunks_mut(width).zip(pixels.par_chunks(length)).for_each(|(out, image)| pack(image, out));
            (range.clone(), transfer::floats(packed, [range.len(), width], device))
        };
        Self { parts: (0..set.len()).step_by(images).map(part).collect() }
    }

    /// The words of the images at `order`, `[order, words]`.
    pub(super) fn select(&self, order: &Tensor<1, Int>) -> Option<Tensor<2>> {
        if let [(_, all)] = self.parts.as_slice() {
            return Some(all.clone().select(0, order.clone()));
        }
        // Every part gives a row for every image, and those that are another part's do not count.
        let rows = self.parts.iter().map(|(range, part)| {
            let place = order.clone().sub_scalar(range.start as i64);
            let last = range.len() as i64 - 1;
            let inside = place.clone().greater_equal_scalar(0).bool_and(place.clone().lower_equal_scalar(last));
            part.clone().select(0, place.clamp(0, last)) * inside.float().unsqueeze_dim(1)
        });
        rows.reduce(|sum, rows| sum + rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    #[test]
    fn pixels_of_any_number_come_back_from_their_words() {
        let all: Vec<u8> = (0..=255).cycle().take(3 * 256).collect();
        let mut packed = vec![0.0; 256];
        pack(&all, &mut packed);
        let back: Vec<f32> =
            unpack(transfer::floats(packed, [256, 1], &Device::flex()), 3).into_data().try_into_vec().unwrap();
        assert_eq!(back, all.iter().map(|pixel| f32::from(*pixel)).collect::<Vec<_>>());
        for length in 1..10 {
            let pixels: Vec<u8> = (0..length).map(|place| 255 - place as u8 * 17).collect();
            let mut packed = vec![0.0; words(length)];
            pack(&pixels, &mut packed);
            let tensor = transfer::floats(packed, [1, words(length)], &Device::flex());
            let back: Vec<f32> = unpack(tensor, length).into_data().try_into_vec().unwrap();
            assert_eq!(back, pixels.iter().map(|pixel| f32::from(*pixel)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_set_in_parts_gives_the_same_images() {
        let shape = ImageShape { channels: 1, height: 1, width: 5 };
        let pixels = (0..35).map(|value| value * 7).collect();
        let set = ImageSet::new(shape, pixels, vec![0; 7], ["0".to_owned()].into()).unwrap();
        let order = [6, 0, 3, 2, 3, 5];
        for images in [1, 3, 7, 100] {
            let resident = Resident::in_parts(&set, images, &Device::flex());
            let order_there = transfer::ints(order.to_vec(), [6], &Device::flex());
            let found: Vec<f32> = unpack(resident.select(&order_there).unwrap(), 5).into_data().try_into_vec().unwrap();
            let expected = order.iter().flat_map(|index| set.image(*index as usize)).map(|pixel| f32::from(*pixel));
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }
}
