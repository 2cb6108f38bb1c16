//! The ranges that several models allow: wide enough for any small image, narrow enough that no size overflows.

use super::layers::NormSpec;
use crate::check::Problems;

/// Masks are drawn with this resolution: a smaller probability drops nothing.
const LEAST_DROPOUT: f64 = 1.0 / (1_u64 << 32) as f64;

/// Channels of convolutions, one number per `part`: 1 to 4096 each.
pub(super) fn channels(problems: &mut Problems, key: &str, part: &str, found: &[usize]) {
    for (index, &value) in found.iter().enumerate() {
        problems.require((1..=4096).contains(&value), key, || {
            format!("{part} {}: channels must be 1 to 4096, got {value}", index + 1)
        });
    }
}

/// The stages of a residual network by name, with their channels.
pub(super) fn stages(channels: &[usize]) -> Vec<(String, usize)> {
    channels.iter().enumerate().map(|(index, &channels)| (format!("stage {}", index + 1), channels)).collect()
}

/// The groups of group norms after `layers`, which are named with their channels: only with such norms, and every one of the
/// layers must be divided by them.
pub(super) fn groups(problems: &mut Problems, norm: NormSpec, found: Option<usize>, layers: &[(String, usize)]) {
    let NormSpec::Group(groups) = norm else {
        problems.require(found.is_none(), "groups", || {
            let found = found.unwrap_or_default();
            format!("belongs to model.norm = \"group\", got {found}; set that, or this to \"none\"")
        });
        return;
    };
    let range = 1..=4096;
    problems.within_range("groups", groups, range.clone());
    let misfit = layers.iter().find(|(_, channels)| range.contains(&groups) && channels % groups != 0);
    let Some((layer, channels)) = misfit else { return };
    let divides_all = |groups: &usize| layers.iter().all(|(_, channels)| channels % groups == 0);
    let allowed = range.filter(divides_all).map(|groups| groups.to_string()).collect::<Vec<_>>().join(", ");
    let default = if found.is_none() { ", the default," } else { "" };
    problems.add(
        "groups",
        format!(
            "must divide the channels of every layer, but {layer} has {channels} and {groups}{default} does not divide \
             them; allowed: {allowed}"
        ),
    );
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

/// The probability of dropping an activation: 0 to below 1.
pub(super) fn dropout(problems: &mut Problems, key: &str, found: f64) {
    problems.require((0.0..1.0).contains(&found), key, || format!("must be at least 0 and below 1, got {found}"));
    problems.require(!(found > 0.0 && found < LEAST_DROPOUT), key, || {
        format!(
            "masks are drawn in steps of {LEAST_DROPOUT:e}, the smallest probability that drops anything; got {found:?}"
        )
    });
}
