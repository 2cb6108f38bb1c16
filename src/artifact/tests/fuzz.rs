//! Valid files of every format, mutated at random: none may panic, and whatever is accepted must be what was written.
//! The seed is fixed. `KILN_FUZZ_CASES=100000 cargo test fuzz` runs as many cases as it says.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::*;

/// Cases per format when nobody asks for more: a second or two.
const CASES: usize = 1500;

fn cases() -> usize {
    match std::env::var("KILN_FUZZ_CASES") {
        Ok(count) => count.parse().expect("KILN_FUZZ_CASES must be a number"),
        Err(_) => CASES,
    }
}

/// Changes the bytes in one of the ways in which files go wrong, or in which someone makes them.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    let length = bytes.len().max(1);
    let at = rng.random_range(0..length).min(bytes.len().saturating_sub(1));
    let end = (at + rng.random_range(1..64)).min(bytes.len());
    // Structure is at the beginning and, in ONNX, at the end.
    let near = if rng.random() { at % 400 } else { at };
    match rng.random_range(0..9) {
        0 => bytes.iter_mut().skip(near).take(1).for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
        1 => bytes.iter_mut().skip(near).take(1).for_each(|byte| *byte = rng.random()),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at.min(end)..end)),
        4 => {
            let inserted = (0..rng.random_range(1..64)).map(|_| rng.random()).collect::<Vec<u8>>();
            drop(bytes.splice(at..at, inserted));
        }
        // A length field: the largest numbers of 1, 2, 4 and 8 bytes, and small ones.
        5 => {
            let width = [1, 2, 4, 8][rng.random_range(0..4)];
            let value = [0_u64, 1, u64::MAX, u64::MAX >> 1, 1 << 31, 1 << 20][rng.random_range(0..6)];
            let near = near.min(bytes.len());
            let count = width.min(bytes.len() - near);
            bytes[near..near + count].copy_from_slice(&value.to_le_bytes()[..count]);
        }
        // A piece of a file of another format.
        6 => {
            let from = rng.random_range(0..other.len());
            let piece = &other[from..(from + rng.random_range(1..2000)).min(other.len())];
            drop(bytes.splice(at.min(end)..end, piece.iter().copied()));
        }
        // A piece of itself, again.
        7 => {
            let piece = bytes[at.min(end)..end].to_vec();
            drop(bytes.splice(at..at, piece));
        }
        // A number in the text.
        _ => {
            let digits = bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(index, _)| index);
            let digits = digits.collect::<Vec<_>>();
            if let Some(&place) = digits.get(at % digits.len().max(1)) {
                let number = ["-1", "99999999999999999999", "1e400", "0", "4096", "null"][rng.random_range(0..6)];
                drop(bytes.splice(place..=place, number.bytes()));
            }
        }
    }
}

#[test]
fn fuzzed_files_are_refused_or_are_what_was_written() {
    let files = files();
    let originals = files.iter().map(|(_, _, bytes)| decode(bytes).unwrap()).collect::<Vec<_>>();
    for (index, (format, dtype, good)) in files.iter().enumerate() {
        let other = &files[(index + 1) % files.len()].2;
        (0..cases()).into_par_iter().for_each(|case| {
            let mut rng = Stream::new(17, Purpose::Synthetic).at(index, case);
            let mut bytes = good.clone();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut bytes, other, &mut rng);
            }
            if let Ok(found) = decode(&bytes) {
                assert!(originals.contains(&found), "{format} {dtype:?}: case {case}");
                assert!(files.iter().any(|(_, _, file)| *file == bytes), "{format} {dtype:?}: case {case}");
            }
        });
    }
}

/// A JSON value that someone might put in place of another.
fn crafted(rng: &mut ChaCha8Rng) -> serde_json::Value {
    let number = [0.0, -1.0, 1.0, 0.5, 3e38, 1e-40, 4_294_967_296.0][rng.random_range(0..7)];
    match rng.random_range(0..9) {
        0 => json!(null),
        1 => json!(number),
        2 => json!([0_u64, 1, 2, 28, 512, 513, 65_536, 1 << 40, u64::MAX][rng.random_range(0..9)]),
        3 => json!([number]),
        4 => json!(vec![1; rng.random_range(0..70_000)]),
        5 => json!("\u{1b}[31m".repeat(rng.random_range(0..20))),
        6 => json!(vec!["x"; rng.random_range(0..20)]),
        7 => {
            let kind = ["linear", "mlp", "lenet", "convnet", "resnet", "digit"][rng.random_range(0..6)];
            json!({ "kind": kind })
        }
        _ => json!({}),
    }
}

/// Every place in `value`, as the pointers of RFC 6901.
fn pointers(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found))
        }
        serde_json::Value::Array(list) => {
            list.iter().enumerate().take(3).for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn fuzzed_manifests_are_refused_or_can_be_used() {
    for (index, model) in ModelConfig::examples().iter().enumerate() {
        let (manifest, _) = sample(model, 1);
        let mut places = Vec::new();
        pointers(&serde_json::to_value(&manifest).unwrap(), "", &mut places);
        (0..cases()).into_par_iter().for_each(|case| {
            let mut rng = Stream::new(18, Purpose::Synthetic).at(index, case);
            let bytes = forged::forged(model, |value, _| {
                for _ in 0..rng.random_range(1..3) {
                    let place = &places[rng.random_range(0..places.len())];
                    if let Some(field) = value.pointer_mut(place) {
                        *field = crafted(&mut rng);
                    }
                }
            });
            if let Ok((manifest, weights)) = decode(&bytes) {
                let again = encode(Format::Burnpack, manifest.dtype, &manifest, &weights).unwrap();
                assert_eq!(decode(&again).unwrap(), (manifest, weights), "{}: case {case}", model.kind());
            }
        });
    }
}
