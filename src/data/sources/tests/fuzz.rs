//! Data sets damaged in every way that a seed thinks of: a source refuses them as the user's, or opens what is a data
//! set after all. It never panics, and never hands on a set that contradicts itself.
//!
//! `KILN_FUZZ_CASES=100000 cargo test --lib data::sources::tests::fuzz` runs as many cases as one likes.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;

use super::*;
use crate::data::random;
use crate::seed::{Purpose, Stream};

fn cases() -> usize {
    match std::env::var("KILN_FUZZ_CASES") {
        Ok(text) => text.parse().expect("KILN_FUZZ_CASES is a number"),
        Err(_) => 300,
    }
}

#[test]
fn no_damage_to_its_files_makes_a_source_panic() {
    let stream = Stream::new(1, Purpose::Synthetic);
    let (mut opened, mut refused) = (0, 0);
    for case in 0..cases() {
        let (folder, examples) = examples();
        for (index, source) in examples.iter().enumerate() {
            let mut rng = stream.at(index, case);
            let files = files_below(folder.path(), source);
            if files.is_empty() {
                continue;
            }
            for _ in 0..=random::below(&mut rng, 2) {
                damage(&files[random::below(&mut rng, files.len())], &files, &mut rng);
            }
            match catch_unwind(AssertUnwindSafe(|| source.open(1))) {
                Err(_) => panic!("case {case} of {source:?} panicked"),
                Ok(Ok(splits)) => {
                    opened += 1;
                    consistent(&splits, case);
                }
                Ok(Err(error)) => {
                    refused += 1;
                    assert_eq!(error.exit_code(), 2, "case {case}: {}", error.render());
                    assert!(!error.tips().is_empty(), "case {case}: {}", error.render());
                }
            }
        }
    }
    assert!(opened > 0 && refused > opened / 10, "{opened} opened, {refused} refused");
}

fn consistent(splits: &Splits, case: usize) {
    let Splits { train, test, .. } = splits;
    assert_eq!((train.shape, &train.classes), (test.shape, &test.classes), "case {case}");
    for split in [train, test] {
        assert!(!split.is_empty() && !split.shape.is_empty(), "case {case}");
        assert_eq!(split.pixels.len(), split.len() * split.shape.len(), "case {case}");
        assert!(split.labels.iter().all(|label| usize::from(*label) < split.classes.len()), "case {case}");
    }
    assert!(train.class_counts().iter().all(|count| *count > 0), "case {case}");
}

/// The files of one example, sorted.
fn files_below(root: &Path, source: &SourceConfig) -> Vec<PathBuf> {
    let mut files: Vec<_> = glob::glob(&format!("{}/{}/**/*", root.display(), source.kind()))
        .unwrap()
        .map(|path| path.unwrap())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn damage(file: &Path, all: &[PathBuf], rng: &mut ChaCha8Rng) {
    // A second damage may meet what the first has taken away.
    let Ok(bytes) = fs::read(file) else { return };
    let place = random::below(rng, bytes.len() + 1);
    let _ = match random::below(rng, 9) {
        0 => fs::write(file, flipped(bytes, rng)),
        // The sizes stand at the beginning of most formats.
        1 => fs::write(file, number_in_the_head(bytes, rng)),
        2 => fs::write(file, &bytes[..place]),
        3 => fs::write(file, [&bytes[..], &noise(rng)].concat()),
        4 => fs::write(file, [&bytes[..place], &noise(rng), &bytes[place..]].concat()),
        5 => fs::remove_file(file),
        6 => fs::remove_file(file).and_then(|()| fs::create_dir(file)),
        7 => fs::copy(&all[random::below(rng, all.len())], file).map(drop),
        _ => pack(file, bytes, rng),
    };
}

/// Up to four bits.
fn flipped(mut bytes: Vec<u8>, rng: &mut ChaCha8Rng) -> Vec<u8> {
    for _ in 0..=random::below(rng, 4) {
        if !bytes.is_empty() {
            let place = random::below(rng, bytes.len());
            bytes[place] ^= 1 << random::below(rng, 8);
        }
    }
    bytes
}

/// A number that a reader may trust: none, all bits set, a large one, or any.
fn number_in_the_head(mut bytes: Vec<u8>, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let word = 4 * random::below(rng, 4);
    let number = match random::below(rng, 5) {
        0 => 0_u32,
        1 => u32::MAX,
        2 => 1 << 31,
        3 => random::below(rng, 600) as u32,
        _ => random::below(rng, 1 << 32) as u32,
    };
    if let Some(place) = bytes.get_mut(word..word + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn noise(rng: &mut ChaCha8Rng) -> Vec<u8> {
    (0..random::below(rng, 64)).map(|_| random::below(rng, 256) as u8).collect()
}

/// The same, compressed, whole or damaged before or after.
fn pack(file: &Path, bytes: Vec<u8>, rng: &mut ChaCha8Rng) -> std::io::Result<()> {
    let packed = match random::below(rng, 5) {
        0 => damaged::gzip(&bytes),
        1 => flipped(damaged::gzip(&bytes), rng),
        2 => {
            let whole = damaged::gzip(&bytes);
            whole[..random::below(rng, whole.len())].to_vec()
        }
        // Compressed bytes that go on where the header says they end.
        3 => damaged::gzip(&[bytes, vec![0; 1 << 20]].concat()),
        _ => damaged::gzip(&number_in_the_head(bytes, rng)),
    };
    fs::remove_file(file)?;
    fs::write(format!("{}.gz", file.display()), packed)
}
