//! The colours of a picture's pixels, channel by channel, in which ink is looked for.

use std::borrow::Cow;

use image::{GrayImage, RgbImage};

/// The channels of colour. In [`Planes`] of a grey picture one plane stands for all of them, and what is computed for a
/// channel is computed once.
pub(super) const CHANNELS: usize = 3;

/// The planes of a picture: [`CHANNELS`] of them, or 1 when it is grey.
pub(super) struct Planes<'a, const C: usize> {
    pub(super) width: usize,
    pub(super) height: usize,
    channels: [Cow<'a, [u8]>; C],
}

/// The planes that stand for the channels, one after the other.
pub(super) fn of_channels<const C: usize>() -> [usize; CHANNELS] {
    std::array::from_fn(|channel| channel % C)
}

impl<const C: usize> Planes<'_, C> {
    /// The colours of row `y`.
    #[inline(always)]
    pub(super) fn row(&self, y: usize) -> [&[u8]; C] {
        std::array::from_fn(|channel| &self.channels[channel][y * self.width..(y + 1) * self.width])
    }

    /// The colour of the first pixel.
    pub(super) fn first(&self) -> [u8; C] {
        std::array::from_fn(|channel| self.channels[channel][0])
    }
}

impl<'a> Planes<'a, 1> {
    pub(super) fn of_grey(picture: &'a GrayImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Self { width, height, channels: [Cow::Borrowed(picture.as_raw())] }
    }

    /// The one plane of a picture in colour that shows none.
    pub(super) fn of_colourless(picture: &RgbImage) -> Option<Self> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let (pieces, rest) = picture.as_raw().as_chunks::<{ TOGETHER * CHANNELS }>();
        if !pieces.iter().all(|piece| is_grey(piece)) || !is_grey(rest) {
            return None;
        }
        let mut plane = vec![0; width * height];
        for (value, pixel) in plane.iter_mut().zip(picture.as_raw().as_chunks::<CHANNELS>().0) {
            *value = pixel[0];
        }
        Some(Self { width, height, channels: [Cow::Owned(plane)] })
    }
}

/// Pixels that are compared together.
const TOGETHER: usize = 32;

/// Whether all pixels, of [`CHANNELS`] bytes each, have the same value in all of them.
#[inline(always)]
fn is_grey(pixels: &[u8]) -> bool {
    // Each byte is compared with the next, but for the last of a pixel.
    let mask = const {
        let mut mask = [u8::MAX; TOGETHER * CHANNELS];
        let mut last = CHANNELS - 1;
        while last < mask.len() {
            mask[last] = 0;
            last += CHANNELS;
        }
        mask
    };
    let mut differ = 0;
    for ((here, next), mask) in pixels.iter().zip(pixels.get(1..).unwrap_or_default()).zip(mask) {
        differ |= (here ^ next) & mask;
    }
    differ == 0
}

impl Planes<'_, CHANNELS> {
    pub(super) fn of_colour(picture: &RgbImage) -> Self {
        let pixels = picture.as_raw().as_chunks::<CHANNELS>().0;
        let mut channels = [(); CHANNELS].map(|()| vec![0; pixels.len()]);
        let [red, green, blue] = &mut channels;
        for (((pixel, red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
            [*red, *green, *blue] = *pixel;
        }
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Self { width, height, channels: channels.map(Cow::Owned) }
    }
}
