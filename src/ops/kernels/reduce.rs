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
