//! Rectangles of the image covered: what a rectangle is covered with, and the distortion of whatever draws rectangles.

use std::fmt::Debug;
use std::ops::Range;

use kiln_pixels::noise;
use rand_chacha::ChaCha8Rng;

use super::{Distort, Drawn, Form, Scratch};
use crate::data::ImageShape;

/// The rows and columns of a rectangle.
pub(super) type Place = (Range<usize>, Range<usize>);

/// A way to draw rectangles.
pub(super) trait Rectangle: Debug + Send + Sync {
    /// The rows and columns to cover in an image of this shape, if any.
    fn draw(&self, shape: ImageShape, rng: &mut ChaCha8Rng) -> Option<Place>;
}

/// The rectangles that `rectangle` draws, covered.
#[derive(Debug)]
pub(super) struct Covered<R> {
    pub(super) rectangle: R,
    pub(super) cover: Cover,
}

impl<R: Rectangle> Distort for Covered<R> {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        if let Some((rows, columns)) = self.rectangle.draw(self.cover.shape, rng) {
            self.cover.paint(rows, columns, rng, image);
        }
    }

    fn form(&self) -> Option<Form> {
        self.cover.form()
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Drawn {
        Drawn::rectangle(self.rectangle.draw(self.cover.shape, rng))
    }
}

/// What covers a rectangle.
#[derive(Debug)]
pub(super) struct Cover {
    /// One value per channel; none for noise.
    pub(super) colour: Option<Vec<u8>>,
    pub(super) shape: ImageShape,
}

impl Cover {
    /// The same for a device; none for noise, whose draws are as many as the pixels.
    pub(super) fn form(&self) -> Option<Form> {
        self.colour.clone().map(Form::Cover)
    }

    /// Covers `rows` and `columns` of every channel.
    pub(super) fn paint(&self, rows: Range<usize>, columns: Range<usize>, rng: &mut ChaCha8Rng, image: &mut [u8]) {
        let ImageShape { height, width, .. } = self.shape;
        for (channel, pixels) in image.chunks_exact_mut(height * width).enumerate() {
            for row in rows.clone() {
                let pixels = &mut pixels[row * width..][columns.clone()];
                match self.colour.as_ref().and_then(|colour| colour.get(channel)) {
                    Some(value) => pixels.fill(*value),
                    None => noise::fill(pixels, rng),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Stream};

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 5, width: 6 };

    #[test]
    fn a_rectangle_of_every_channel_is_covered_and_nothing_else() {
        let mut rng = Stream::new(1, Purpose::Augmentation).at(1, 0);
        let mut image = [7; 60];
        let cover = Cover { colour: Some(vec![1, 2]), shape: SHAPE };
        cover.paint(1..3, 4..6, &mut rng, &mut image);
        let expected = |channel: usize, place: usize| {
            if (1..3).contains(&(place / 6)) && place % 6 >= 4 { channel as u8 + 1 } else { 7 }
        };
        let expected: Vec<u8> = (0..60).map(|place| expected(place / 30, place % 30)).collect();
        assert_eq!(image[..], expected);
        Cover { colour: None, shape: SHAPE }.paint(0..5, 0..6, &mut rng, &mut image);
        assert!(image.iter().collect::<std::collections::BTreeSet<_>>().len() > 30);
    }
}
