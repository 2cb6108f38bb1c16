//! From an encoded picture to the bytes that a network was trained on. Used by every command that takes pictures, and by
//! the data set of pictures in folders, so that training and inference cannot differ.

use std::io::Cursor;
use std::ops::Deref;
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use kiln_pixels::digit;
pub(super) use kiln_pixels::flat::resize;
use kiln_pixels::flat::{flatten, planes};
use kiln_pixels::png::Plain;

use super::ImageShape;
use super::memory::{Budget, Reserved};
use super::preprocess::{Fit, Preprocess};
use crate::{Error, Result};

/// An encoded picture must be smaller than this, in bytes.
pub const MAX_BYTES: u64 = 128 << 20;

/// The most pixels that a picture may have; a larger one is refused before memory is taken for it.
pub const MAX_PIXELS: u64 = 64_000_000;

const FORMATS: &str = "PNG, JPEG, BMP, WebP or GIF";

/// How the names of pictures end.
pub(crate) const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "webp", "gif"];

/// Whether a file is called like a picture.
pub(crate) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The memory of all pictures that are decoded at a time; one that needs more waits until it is alone.
static DECODING: Budget = Budget::new(768 << 20);

/// A decoded picture, with its part of the memory that all share.
#[derive(Debug)]
pub struct Decoded {
    picture: DynamicImage,
    _reserved: Reserved<'static>,
}

impl Deref for Decoded {
    type Target = DynamicImage;

    fn deref(&self) -> &DynamicImage {
        &self.picture
    }
}

/// Decodes a PNG, JPEG, BMP, WebP or GIF (of an animation, the first frame), turned as its EXIF orientation says. Waits
/// while other pictures take as much memory as they may together.
///
/// # Errors
/// A usage error when the bytes are no such picture, are cut off or damaged, or declare more than [`MAX_PIXELS`].
pub fn decode(bytes: &[u8]) -> Result<Decoded> {
    let _reserved = DECODING.reserve(memory(bytes)?);
    Ok(Decoded { picture: decode_kept(bytes)?, _reserved })
}

/// About how many bytes of memory it takes to decode and [`fit`] a picture, from what its head declares.
///
/// # Errors
/// As [`decode`], as far as the head tells.
pub(crate) fn memory(bytes: &[u8]) -> Result<u64> {
    let format = format(bytes)?;
    if let Some(picture) = plain(bytes, format) {
        let decoded = picture.pixels() as u64 * u64::from(picture.colour().bytes_per_pixel());
        let flat = bytes_to_flatten(picture.colour(), picture.pixels() as u64);
        return Ok(decoded + flat.max(picture.filtered_bytes() as u64));
    }
    let mut decoder = open(bytes, format)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let decoded = decoder.total_bytes();
    let of_decoder = match format {
        // Coefficients of 16 bits for three colours.
        ImageFormat::Jpeg if is_progressive_jpeg(bytes) => 6 * pixels,
        ImageFormat::WebP | ImageFormat::Gif => 4 * pixels,
        _ => 0,
    };
    let orientation = decoder.orientation().map_err(|error| damaged(format, error))?;
    let turned = if orientation == Orientation::NoTransforms { 0 } else { decoded };
    let flat = bytes_to_flatten(decoder.color_type(), pixels);
    Ok(decoded + of_decoder.max(turned).max(flat))
}

/// How many bytes [`flatten`] takes beside a picture.
fn bytes_to_flatten(colour: ColorType, pixels: u64) -> u64 {
    match colour {
        ColorType::Rgb8 => 0,
        ColorType::La8 | ColorType::La16 | ColorType::Rgba16 => (4 + 3) * pixels,
        _ => 3 * pixels,
    }
}

/// A picture that need not be left to the `image` crate.
fn plain(bytes: &[u8], format: ImageFormat) -> Option<Plain<'_>> {
    (format == ImageFormat::Png).then(|| Plain::open(bytes))?
}

/// As [`decode`], of a picture for which the caller has set [`memory`] aside. One that shows no colour and is opaque may come
/// in grey however it is kept, since [`fit`] and [`raw`] make the same of both.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_reserved(bytes: &[u8]) -> Result<DynamicImage> {
    let format = format(bytes)?;
    plain(bytes, format).and_then(|picture| picture.decode_plain()).map_or_else(|| decode_as(bytes, format), Ok)
}

/// As [`decode_reserved`], as it is kept.
fn decode_kept(bytes: &[u8]) -> Result<DynamicImage> {
    let format = format(bytes)?;
    plain(bytes, format).and_then(|picture| picture.decode()).map_or_else(|| decode_as(bytes, format), Ok)
}

fn decode_as(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage> {
    if format == ImageFormat::Jpeg && !is_complete_jpeg(bytes) {
        return Err(
            Error::usage("the JPEG picture is cut off: its end is missing").tip("copy or make the picture again")
        );
    }
    let mut decoder = open(bytes, format)?;
    let orientation = decoder.orientation().map_err(|error| damaged(format, error))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| damaged(format, error))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn format(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.len() as u64 >= MAX_BYTES {
        return Err(Error::usage(format!("a picture must be smaller than {} MiB", MAX_BYTES >> 20))
            .tip("make the picture smaller"));
    }
    let format = image::guess_format(bytes).ok().filter(|format| {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
        matches!(format, Png | Jpeg | Bmp | WebP | Gif)
    });
    format.ok_or_else(|| {
        let found = match bytes {
            [] => "an empty file".to_owned(),
            bytes => format!("{} bytes that begin with {}", bytes.len(), beginning(bytes)),
        };
        Error::usage(format!("a picture must be {FORMATS}, got {found}")).tip("convert it to PNG")
    })
}

/// Reads the head of a picture.
fn open(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Four channels of 16 bits, and as much again for the decoder's own work.
    limits.max_alloc = Some(MAX_PIXELS * 8 * 2);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| damaged(format, error))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::usage(format!(
            "a picture may have at most {} million pixels, got {width} x {height}",
            MAX_PIXELS / 1_000_000
        ))
        .tip("make the picture smaller"));
    }
    Ok(decoder)
}

fn damaged(format: ImageFormat, error: image::ImageError) -> Error {
    Error::usage(format!("the {} picture is damaged or cut off", name(format)))
        .caused_by(error)
        .tip("copy or make the picture again")
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => "PNG",
    }
}

fn beginning(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(8)];
    match std::str::from_utf8(start) {
        Ok(text) if text.chars().all(|letter| !letter.is_control()) => format!("\"{text}\""),
        _ => start.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// Whether the end marker is there. The decoder fills a missing rest with grey, which nobody should train on.
fn is_complete_jpeg(bytes: &[u8]) -> bool {
    // Segments up to the start of the scan may hold a whole thumbnail, with an end marker of its own.
    let scan = jpeg_segments(bytes).last().map_or(2, |(_, end)| end);
    bytes.get(scan..).is_some_and(|scan| scan.windows(2).any(|pair| pair == [0xff, 0xd9]))
}

/// Whether the frame is one that is refined from scan to scan, for which a decoder keeps everything until the end.
fn is_progressive_jpeg(bytes: &[u8]) -> bool {
    jpeg_segments(bytes).any(|(marker, _)| matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce))
}

/// The segments of a JPEG up to the start of the first scan: the marker of each, and where it ends.
fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let mut place = Some(2);
    std::iter::from_fn(move || {
        let start = place.take()?;
        let &[0xff, marker, high, low] = bytes.get(start..start + 4)? else { return None };
        let end = start + 2 + usize::from(u16::from_be_bytes([high, low]));
        place = (marker != 0xda).then_some(end);
        Some((marker, end))
    })
}

/// Brings a picture of any size and colour to the network's size as `preprocess` says: pixels `[c, h, w]`.
///
/// Transparent parts are laid over white when the ink is dark, over black when it is light.
///
/// # Errors
/// A usage error when a digit is looked for and the picture is blank.
pub fn fit(picture: &DynamicImage, preprocess: &Preprocess) -> Result<Vec<u8>> {
    let shape = preprocess.shape;
    match preprocess.fit {
        Fit::Resize => Ok(resize(picture, shape)),
        Fit::Digit { box_size } => {
            let plane = digit::fit(picture, (shape.height, shape.width), box_size).ok_or_else(blank)?;
            Ok(plane.repeat(shape.channels))
        }
    }
}

fn blank() -> Error {
    Error::usage("no ink was found: the picture is blank")
        .tip("draw the digit clearly darker or lighter than what is behind it")
}

/// Takes a picture that is already as the training images are, without any change: pixels `[c, h, w]`.
///
/// # Errors
/// A usage error when it has another size.
pub fn raw(picture: &DynamicImage, preprocess: &Preprocess) -> Result<Vec<u8>> {
    let shape = preprocess.shape;
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    if (height, width) != (shape.height, shape.width) {
        return Err(Error::usage(format!(
            "a raw picture must be {} pixels wide and {} high, got {width} x {height}",
            shape.width, shape.height
        ))
        .tip("without `--raw`, pictures of any size are fitted"));
    }
    Ok(planes(&flatten(picture), shape.channels))
}

/// How a picture's pixels may be kept, in words.
pub(super) const COLOURS: [&str; 9] = [
    "grey",
    "grey with alpha",
    "colour",
    "colour with alpha",
    "grey, 16 bits",
    "grey with alpha, 16 bits",
    "colour, 16 bits",
    "colour with alpha, 16 bits",
    "colour, in floating point",
];

/// Which of [`COLOURS`] a picture has.
pub(super) fn colour(picture: &DynamicImage) -> u8 {
    match picture.color() {
        ColorType::L8 => 0,
        ColorType::La8 => 1,
        ColorType::Rgb8 => 2,
        ColorType::Rgba8 => 3,
        ColorType::L16 => 4,
        ColorType::La16 => 5,
        ColorType::Rgb16 => 6,
        ColorType::Rgba16 => 7,
        _ => 8,
    }
}

/// The widest image that is drawn with two characters per pixel, to fit into 80 columns.
const WIDEST_SHADED: usize = 40;

/// Draws an image `[c, h, w]` for the terminal: shades, or for wide images half blocks.
pub(crate) fn ascii(pixels: &[u8], shape: ImageShape) -> String {
    let plane = shape.height * shape.width;
    let value = |row: usize, column: usize| {
        let sum: usize = (0..shape.channels).map(|c| usize::from(pixels[c * plane + row * shape.width + column])).sum();
        sum / shape.channels
    };
    let mut text = String::new();
    if shape.width <= WIDEST_SHADED {
        for row in 0..shape.height {
            let line: String = (0..shape.width)
                .flat_map(|column| [[' ', '░', '▒', '▓', '█'][(value(row, column) * 5 / 256).min(4)]; 2])
                .collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
    } else {
        for row in (0..shape.height).step_by(2) {
            let line: String = (0..shape.width)
                .map(|column| {
                    match (value(row, column) > 127, row + 1 < shape.height && value(row + 1, column) > 127) {
                        (false, false) => ' ',
                        (true, false) => '▀',
                        (false, true) => '▄',
                        (true, true) => '█',
                    }
                })
                .collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, ImageEncoder as _, Luma, Rgb, RgbImage};

    use super::*;

    fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> DynamicImage {
        RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 90])).into()
    }

    #[test]
    fn every_format_is_read_and_refused_when_cut_off() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
        for format in [Png, Jpeg, Bmp, WebP, Gif] {
            let bytes = encode(&gradient(), format);
            let picture = decode(&bytes).unwrap();
            assert_eq!((picture.width(), picture.height()), (40, 30), "{format:?}");
            for share in [1, 2, 4, 7] {
                let error = decode(&bytes[..bytes.len() * share / 8]).expect_err(name(format));
                assert_eq!(error.exit_code(), 2);
            }
        }
    }

    #[test]
    fn depth_and_palette_do_not_matter() {
        let deep = ImageBuffer::<Luma<u16>, _>::from_fn(9, 9, |x, _| Luma([(x * 28 * 257) as u16]));
        let shallow = GrayImage::from_fn(9, 9, |x, _| Luma([(x * 28) as u8]));
        let shape = ImageShape { channels: 1, height: 9, width: 9 };
        let pixels = |picture: DynamicImage| resize(&decode(&encode(&picture, ImageFormat::Png)).unwrap(), shape);
        assert_eq!(pixels(deep.into()), pixels(shallow.into()));
    }

    #[test]
    fn the_inks_of_a_printed_picture_become_its_colours() {
        // CMYK, red on the left and blue on the right.
        let picture = decode(include_bytes!("../../tests/fixtures/cmyk.jpg")).unwrap();
        assert_eq!((picture.width(), picture.height()), (16, 16));
        let flat = flatten(&picture);
        for (column, expected) in [(2, [200, 30, 40]), (13, [20, 40, 210])] {
            let found = flat.get_pixel(column, 8).0;
            assert!(found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) < 24), "{found:?}");
        }
    }

    #[test]
    fn transparency_of_16_bits_is_laid_over_what_shows_the_ink() {
        let ink = |x: u32| image::Rgba([0_u16, 0, 0, if x < 4 { u16::MAX } else { 0 }]);
        let picture = ImageBuffer::<image::Rgba<u16>, _>::from_fn(8, 8, |x, _| ink(x));
        let shape = ImageShape { channels: 3, height: 8, width: 8 };
        let pixels = resize(&decode(&encode(&picture.into(), ImageFormat::Png)).unwrap(), shape);
        assert_eq!((pixels[0], pixels[7]), (0, 255));
    }

    #[test]
    fn a_huge_declared_size_is_refused_before_memory_is_taken() {
        let mut bytes = encode(&gradient(), ImageFormat::Bmp);
        for place in [18, 22] {
            bytes[place..place + 4].copy_from_slice(&30_000_u32.to_le_bytes());
        }
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "a picture may have at most 64 million pixels, got 30000 x 30000");
    }

    #[test]
    fn the_orientation_of_a_camera_is_applied() {
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        // A TIFF header and one entry: orientation (0x0112) 6, turn right by 90 degrees.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(gradient().as_bytes(), 40, 30, image::ExtendedColorType::Rgb8).unwrap();
        let picture = decode(&bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (30, 40));
    }

    #[test]
    fn raw_takes_the_exact_size_only() {
        let shape = ImageShape { channels: 3, height: 30, width: 40 };
        let preprocess = Preprocess { shape, mean: vec![0.0; 3], std: vec![1.0; 3], fit: Fit::Resize };
        let pixels = raw(&gradient(), &preprocess).unwrap();
        assert_eq!((pixels[1], pixels[1200 + 40], pixels[2400]), (6, 8, 90));
        assert_eq!(pixels, fit(&gradient(), &preprocess).unwrap());
        let error = raw(&RgbImage::new(30, 40).into(), &preprocess).unwrap_err();
        assert_eq!(error.to_string(), "a raw picture must be 40 pixels wide and 30 high, got 30 x 40");
    }

    #[test]
    fn drawings_for_the_terminal_show_the_shades() {
        let shape = ImageShape { channels: 1, height: 2, width: 3 };
        assert_eq!(ascii(&[0, 128, 255, 255, 0, 0], shape), "  ▒▒██\n██\n");
        let wide = ImageShape { channels: 1, height: 2, width: 41 };
        let pixels: Vec<u8> = (0..82).map(|place| if [0, 2, 41, 42].contains(&place) { 255 } else { 0 }).collect();
        assert_eq!(ascii(&pixels, wide), "█▄▀\n");
    }
}
