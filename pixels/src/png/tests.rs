//! What is decoded here, compared with what the `image` crate decodes.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder as _, ImageFormat, ImageReader};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

fn reference(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
    ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png).decode()
}

/// A drawing with a part that is noise, in `channels`, of which those of colour are alike when it is `grey`.
fn drawing(rng: &mut ChaCha8Rng, channels: usize, grey: bool) -> (u32, u32, Vec<u8>) {
    let (width, height): (u32, u32) = (rng.random_range(1..70), rng.random_range(1..40));
    let [left, right, top] = [0, width / 2, 0].map(|from| rng.random_range(from..=width.max(height)));
    let opaque = rng.random_range(0..3) > 0;
    let mut pixels = Vec::new();
    for place in 0..width * height {
        let (x, y) = (place % width, place / width);
        let shade: u8 = match (x >= left && x < right, y > top) {
            (true, true) => rng.random_range(0..=255),
            (true, false) => 20,
            (false, _) => (250 - (x.abs_diff(left).min(9) * 7)) as u8,
        };
        let colour = [shade, if grey { shade } else { shade / 2 }, shade];
        pixels.extend_from_slice(&colour[..if channels < 3 { 1 } else { 3 }]);
        if channels.is_multiple_of(2) {
            pixels.push(if opaque { 255 } else { shade | 1 });
        }
    }
    (width, height, pixels)
}

#[test]
fn what_is_decoded_is_what_the_image_crate_decodes() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let filters = [
        FilterType::NoFilter,
        FilterType::Sub,
        FilterType::Up,
        FilterType::Avg,
        FilterType::Paeth,
        FilterType::Adaptive,
    ];
    let colours = [ColorType::L8, ColorType::La8, ColorType::Rgb8, ColorType::Rgba8];
    let mut in_grey = 0;
    for case in 0..960 {
        let (colour, filter) = (colours[case % 4], filters[case / 4 % 6]);
        let compression = [CompressionType::Fast, CompressionType::Best, CompressionType::Uncompressed][case / 24 % 3];
        let (width, height, pixels) = drawing(&mut rng, usize::from(colour.channel_count()), case / 72 % 2 == 0);
        let mut bytes = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut bytes, compression, filter);
        encoder.write_image(&pixels, width, height, colour.into()).unwrap();
        let expected = reference(&bytes).unwrap();
        let picture = Plain::open(&bytes).unwrap();
        assert_eq!(picture.decode().as_ref(), Some(&expected), "case {case}: {colour:?}, {filter:?}");
        let plain = picture.decode_plain().unwrap();
        assert_eq!(plain.to_rgba8(), expected.to_rgba8(), "case {case}: {colour:?}, {filter:?}");
        in_grey += usize::from(plain.as_luma8().is_some() && colour != ColorType::L8);
    }
    assert!(in_grey > 150, "{in_grey}");
}

#[test]
fn what_is_damaged_or_of_another_kind_is_left_to_the_image_crate() {
    let (mut rng, mut accepted) = (ChaCha8Rng::seed_from_u64(4), 0);
    for case in 0..3000 {
        let (width, height, pixels) = drawing(&mut rng, 3, false);
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(&pixels, width, height, ColorType::Rgb8.into()).unwrap();
        for _ in 0..rng.random_range(1..3) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        // Most with the checksum made right again.
        let mut rest = bytes.get(8..).unwrap_or_default();
        let mut right = bytes[..bytes.len().min(8)].to_vec();
        while let Some(chunk) = next_chunk(&mut rest) {
            right.extend_from_slice(&(chunk.data.len() as u32).to_be_bytes());
            right.extend_from_slice(chunk.checked);
            right.extend_from_slice(&crc32fast::hash(chunk.checked).to_be_bytes());
        }
        for bytes in [&bytes, &right] {
            for decoded in [Plain::decode, Plain::decode_plain].map(|decode| decode(&Plain::open(bytes)?)) {
                let Some(decoded) = decoded else { continue };
                accepted += 1;
                assert_eq!(decoded.to_rgba8(), reference(bytes).unwrap().to_rgba8(), "case {case}");
            }
        }
    }
    assert!(accepted > 200, "{accepted}");
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let checked = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
    };
    let (width, height, pixels) = drawing(&mut rng, 3, false);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(&pixels, width, height, ColorType::Rgb8.into()).unwrap();
    // Behind the head: what only describes, what makes colours transparent, and what is not known.
    for (kind, data, is_plain) in
        [(b"sRGB", &[0][..], true), (b"tRNS", &[0, 1, 0, 1, 0, 1], false), (b"eXIf", b"II*\0\x08\0\0\0\0\0", false)]
    {
        let mut with = bytes.clone();
        with.splice(33..33, chunk(kind, data));
        assert_eq!(Plain::open(&with).is_some(), is_plain, "{}", String::from_utf8_lossy(kind));
    }
}
