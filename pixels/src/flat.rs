//! Pictures of any kind as 8-bit colour without transparency, as planes, and in another size.

use std::borrow::Cow;

use image::imageops::FilterType;
use image::{DynamicImage, Rgb, RgbImage};

use crate::ImageShape;

/// Resizes to `shape`, aspect ignored: pixels `[c, h, w]`.
pub fn resize(picture: &DynamicImage, shape: ImageShape) -> Vec<u8> {
    let flat = DynamicImage::from(flatten(picture).into_owned());
    let resized = flat.resize_exact(shape.width as u32, shape.height as u32, FilterType::Triangle);
    planes(&resized.into_rgb8(), shape.channels)
}

/// One plane of luminance, or one per colour.
pub fn planes(picture: &RgbImage, channels: usize) -> Vec<u8> {
    match channels {
        1 => picture.pixels().map(luminance).collect(),
        _ => (0..channels).flat_map(|channel| picture.pixels().map(move |pixel| pixel.0[channel])).collect(),
    }
}

/// Rec. 709 luma. The weights add up to 10000, so grey stays what it is.
fn luminance(pixel: &Rgb<u8>) -> u8 {
    let [red, green, blue] = pixel.0.map(u32::from);
    ((2126 * red + 7152 * green + 722 * blue + 5000) / 10_000) as u8
}

/// The picture in 8-bit colour without transparency: laid over white when what is opaque is dark on average, else over
/// black, so that ink drawn on nothing can be seen.
pub fn flatten(picture: &DynamicImage) -> Cow<'_, RgbImage> {
    if let Some(flat) = picture.as_rgb8() {
        return Cow::Borrowed(flat);
    }
    if let Some(grey) = picture.as_luma8() {
        return rgb(picture, grey.iter().flat_map(|value| [*value; 3]).collect());
    }
    if !picture.color().has_alpha() {
        return Cow::Owned(picture.to_rgb8());
    }
    if let Some(pixels) = picture.as_rgba8().map(|opaque| opaque.as_raw().as_chunks::<4>().0)
        && pixels.iter().all(|[.., alpha]| *alpha == u8::MAX)
    {
        return rgb(picture, pixels.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect());
    }
    let picture = picture.as_rgba8().map_or_else(|| Cow::Owned(picture.to_rgba8()), Cow::Borrowed);
    let (mut light, mut total) = (0_u64, 0_u64);
    for pixel in picture.pixels() {
        let [red, green, blue, alpha] = pixel.0;
        light += u64::from(luminance(&Rgb([red, green, blue]))) * u64::from(alpha);
        total += u64::from(alpha);
    }
    let ground = if light <= total * 127 { 255 } else { 0 };
    let mut flat = RgbImage::new(picture.width(), picture.height());
    for (flat, pixel) in flat.pixels_mut().zip(picture.pixels()) {
        let [colours @ .., alpha] = pixel.0;
        let alpha = u32::from(alpha);
        flat.0 = colours.map(|colour| ((u32::from(colour) * alpha + ground * (255 - alpha) + 127) / 255) as u8);
    }
    Cow::Owned(flat)
}

/// As `picture` is large, with these colours.
fn rgb(picture: &DynamicImage, colours: Vec<u8>) -> Cow<'_, RgbImage> {
    RgbImage::from_raw(picture.width(), picture.height(), colours)
        .map_or_else(|| Cow::Owned(picture.to_rgb8()), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> DynamicImage {
        RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 90])).into()
    }

    #[test]
    fn grey_and_opaque_pictures_are_what_they_are_in_colour() {
        let colour = gradient();
        assert_eq!(flatten(&colour.to_rgba8().into()).into_owned(), colour.to_rgb8());
        let grey = DynamicImage::from(colour.to_luma8());
        assert_eq!(flatten(&grey).into_owned(), grey.to_rgb8());
    }
}
