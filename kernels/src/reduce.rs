//! Sums in a fixed order, in 32 running sums that vector registers hold.

/// The sum of a slice.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    sum_of(values, |value| value)
}

/// The sum of `term` over a slice.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; 32];
    let parts = values.chunks_exact(32);
    let rest = parts.remainder();
    for part in parts {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += term(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += term(*value);
    }
    sums.iter().sum()
}

/// `sum of left * (right - mean)`.
#[inline(always)]
pub(super) fn centred_dot(left: &[f32], right: &[f32], mean: f32) -> f32 {
    let mut sums = [0.0; 32];
    for (left, right) in left.chunks(32).zip(right.chunks(32)) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * (right - mean);
        }
    }
    sums.iter().sum()
}

/// The sums of `left` and of `left * (right - mean)`, where `is_active` of `mask`.
#[inline(always)]
pub(super) fn centred_dot_where(
    left: &[f32],
    right: &[f32],
    mask: &[f32],
    mean: f32,
    is_active: impl Fn(f32) -> bool,
) -> [f32; 2] {
    let (mut plain, mut weighted) = ([0.0; 32], [0.0; 32]);
    let parts = left.chunks_exact(32).zip(right.chunks_exact(32)).zip(mask.chunks_exact(32));
    for ((left, right), mask) in parts {
        for i in 0..32 {
            let left = if is_active(mask[i]) { left[i] } else { 0.0 };
            plain[i] += left;
            weighted[i] += left * (right[i] - mean);
        }
    }
    let rest = left.len() / 32 * 32..left.len();
    for (i, j) in rest.enumerate() {
        let left = if is_active(mask[j]) { left[j] } else { 0.0 };
        plain[i] += left;
        weighted[i] += left * (right[j] - mean);
    }
    [plain.iter().sum(), weighted.iter().sum()]
}

/// Adds `values` to `sums`, one to one.
#[inline(always)]
pub(super) fn add(sums: &mut [f32], values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}
