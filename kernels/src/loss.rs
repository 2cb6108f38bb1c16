//! Softmax cross-entropy with label smoothing, and its gradient, in one pass over the logits.

use super::simd::vectorised;
use super::size::{assert_length, product};

/// The mean loss over the batch and the gradient of the logits `[batch, classes]`.
pub struct CrossEntropy {
    /// `mean over rows of -sum over k of q[k] * log_softmax(logits)[k]`, natural logarithm.
    pub loss: f32,
    /// `(softmax(logits) - q) / batch`.
    pub gradient: Vec<f32>,
}

/// The cross-entropy to `q[k] = (1 - smoothing) * (k == target) + smoothing / classes` (Szegedy et al., 2016, section 7).
///
/// # Panics
/// If there is no target, a target is not a class, or `logits` has not one row of `classes` values for each target.
pub fn cross_entropy(logits: &[f32], classes: usize, targets: &[usize], smoothing: f32) -> CrossEntropy {
    assert!(!targets.is_empty(), "cross-entropy: the mean over a batch needs at least one target");
    assert_length("cross-entropy's logits", logits, product(&[targets.len(), classes]));
    if let Some(target) = targets.iter().find(|target| **target >= classes) {
        panic!("cross-entropy: target {target} is no class; there are {classes}");
    }
    let mut gradient = logits.to_vec();
    let scale = 1.0 / targets.len() as f32;
    let mut loss = 0.0;
    vectorised(
        #[inline(always)]
        || {
            for (row, target) in gradient.chunks_exact_mut(classes).zip(targets) {
                loss += row_gradient(row, *target, smoothing, scale);
            }
        },
    );
    CrossEntropy { loss: (loss / targets.len() as f64) as f32, gradient }
}

/// The loss of one row of logits, which becomes its gradient.
#[inline(always)]
fn row_gradient(row: &mut [f32], target: usize, smoothing: f32, scale: f32) -> f64 {
    let rest = smoothing / row.len() as f32;
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (hit, mean) = (row[target] - largest, row.iter().map(|logit| logit - largest).sum::<f32>() * rest);
    let mut total = 0.0;
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
        total += *value;
    }
    // -sum q log p = log(total) * sum q - sum q (logit - largest)
    let loss = f64::from(total.ln()) - f64::from((1.0 - smoothing) * hit + mean);
    for value in row.iter_mut() {
        *value = (*value / total - rest) * scale;
    }
    row[target] -= (1.0 - smoothing) * scale;
    loss
}
