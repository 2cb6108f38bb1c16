//! Pictures that are broken in every way that a seed thinks of: none may make the program panic, or take more memory
//! than their heads say. `KILN_FUZZ_CASES=100000 cargo test --lib data::broken_pictures` tries as many as one likes.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::ImageShape;
use super::picture;
use super::preprocess::{Fit, Preprocess};

/// A picture with a stroke, in every format and in several depths.
fn good() -> Vec<Vec<u8>> {
    let picture = |side: u32| -> DynamicImage {
        let ink = |x: u32, y: u32| x.abs_diff(side / 2) < side / 10 + 1 && y > side / 5 && y < side - side / 5;
        RgbImage::from_fn(side, side + 3, |x, y| {
            Rgb(if ink(x, y) { [20, 30, 90] } else { [250, 248, (240 + x % 9) as u8] })
        })
        .into()
    };
    let depths = [
        picture(24),
        picture(70).to_luma8().into(),
        picture(33).to_rgba8().into(),
        picture(20).to_rgb16().into(),
        picture(21).to_luma_alpha8().into(),
    ];
    let mut all = Vec::new();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
        for picture in &depths {
            let mut bytes = Cursor::new(Vec::new());
            // Not every format has every depth.
            if picture.write_to(&mut bytes, format).is_ok() {
                all.push(bytes.into_inner());
            }
        }
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 30).encode_image(&picture(90)).unwrap();
    all.push(bytes);
    assert!(all.len() > 15);
    all
}

/// One of `good` with bytes changed, cut off, doubled, put in or taken from another.
fn broken(rng: &mut ChaCha8Rng, good: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = good[rng.random_range(0..good.len())].clone();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..bytes.len().max(1));
        // Sizes and depths are in the head.
        let in_head = at % 64;
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[in_head.min(at)] = rng.random_range(0..=255) as u8,
            2 if at > 0 => bytes.truncate(at),
            3 => {
                let extreme = [0, 1, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, u32::MAX][rng.random_range(0..7)];
                let field = if rng.random_range(0..2) == 0 { extreme.to_be_bytes() } else { u32::to_le_bytes(extreme) };
                let end = (in_head + 4).min(bytes.len());
                let start = in_head.min(end);
                bytes[start..end].copy_from_slice(&field[..end - start]);
            }
            4 => {
                let end = (at + rng.random_range(0..200)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let mut piece = vec![0; rng.random_range(0..30)];
                rng.fill_bytes(&mut piece);
                bytes.splice(at..at, piece);
            }
            6 => {
                let other = &good[rng.random_range(0..good.len())];
                let from = rng.random_range(0..other.len());
                bytes.truncate(at.max(1));
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let end = (at + rng.random_range(0..50)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn no_broken_picture_panics_or_takes_more_memory_than_it_declares() {
    let cases = std::env::var("KILN_FUZZ_CASES").map_or(3000, |cases| cases.parse().unwrap());
    let good = good();
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let preprocess = |fit| Preprocess { shape, mean: vec![0.0], std: vec![1.0], fit };
    let fits = [preprocess(Fit::Digit { box_size: 20 }), preprocess(Fit::Resize)];
    let outcomes: Vec<bool> = (0..cases)
        .into_par_iter()
        .map(|case: u64| {
            let bytes = broken(&mut ChaCha8Rng::seed_from_u64(case), &good);
            let Ok(memory) = picture::memory(&bytes) else {
                assert!(picture::decode(&bytes).is_err(), "case {case}");
                return false;
            };
            let Ok(picture) = picture::decode(&bytes) else { return false };
            assert!(picture.as_bytes().len() as u64 <= memory, "case {case}: {memory}");
            for preprocess in &fits {
                if let Ok(pixels) = picture::fit(&picture, preprocess) {
                    assert_eq!(pixels.len(), 28 * 28, "case {case}");
                }
            }
            true
        })
        .collect();
    let decoded = outcomes.iter().filter(|decoded| **decoded).count() as f64 / outcomes.len() as f64;
    assert!((0.05..0.95).contains(&decoded), "{decoded} of the pictures can be read");
}
