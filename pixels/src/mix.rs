//! Network inputs of images `[images, c, h, w]`, each mixed with those of a partner of the same batch.

use std::ops::Range;

use crate::ImageShape;

/// `share` of every image and the rest of its partner.
pub fn add(values: &mut [f32], shape: ImageShape, partners: &[usize], share: f32) {
    let original = values.to_vec();
    for (image, partner) in values.chunks_exact_mut(shape.len()).zip(partners) {
        let other = &original[partner * shape.len()..][..shape.len()];
        for (value, other) in image.iter_mut().zip(other) {
            *value = share * *value + (1.0 - share) * other;
        }
    }
}

/// Puts this rectangle of every image's partner into the image.
pub fn paste(
    values: &mut [f32],
    shape: ImageShape,
    partners: &[usize],
    (rows, columns): (&Range<usize>, &Range<usize>),
) {
    let original = values.to_vec();
    let plane = shape.height * shape.width;
    for (image, partner) in values.chunks_exact_mut(shape.len()).zip(partners) {
        let other = &original[partner * shape.len()..][..shape.len()];
        for (to, from) in image.chunks_exact_mut(plane).zip(other.chunks_exact(plane)) {
            for row in rows.clone() {
                let place = row * shape.width + columns.start..row * shape.width + columns.end;
                to[place.clone()].copy_from_slice(&from[place]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 2, width: 3 };

    fn batch() -> Vec<f32> {
        (0..24_u8).map(f32::from).collect()
    }

    #[test]
    fn images_are_added_by_their_shares() {
        let mut values = batch();
        add(&mut values, SHAPE, &[1, 0], 0.75);
        assert_eq!(values[..3], [3.0, 4.0, 5.0]);
        assert_eq!(values[12..15], [9.0, 10.0, 11.0]);
    }

    #[test]
    fn a_rectangle_of_every_channel_comes_from_the_partner() {
        let mut values = batch();
        paste(&mut values, SHAPE, &[1, 0], (&(1..2), &(1..3)));
        assert_eq!(values[..12], [0.0, 1.0, 2.0, 3.0, 16.0, 17.0, 6.0, 7.0, 8.0, 9.0, 22.0, 23.0]);
    }
}
