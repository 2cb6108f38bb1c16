//! The ranges that several models allow: wide enough for any small image, narrow enough that no size overflows.

use crate::check::Problems;

/// Channels of convolutions, one number per `part`: 1 to 4096 each.
pub(super) fn channels(problems: &mut Problems, key: &str, part: &str, found: &[usize]) {
    for (index, &value) in found.iter().enumerate() {
        problems.require((1..=4096).contains(&value), key, || {
            format!("{part} {}: channels must be 1 to 4096, got {value}", index + 1)
        });
    }
}

/// Widths of fully connected layers: at most 16, of 1 to 65,536 each.
pub(super) fn widths(problems: &mut Problems, key: &str, found: &[usize]) {
    problems.require(found.len() <= 16, key, || format!("must name at most 16 layers, got {}", found.len()));
    for (index, &value) in found.iter().enumerate() {
        problems.require((1..=65_536).contains(&value), key, || {
            format!("layer {}: width must be 1 to 65536, got {value}", index + 1)
        });
    }
}

/// A share of activations: 0 to below 1.
pub(super) fn share(problems: &mut Problems, key: &str, found: f64) {
    problems.require((0.0..1.0).contains(&found), key, || format!("must be at least 0 and below 1, got {found}"));
}
