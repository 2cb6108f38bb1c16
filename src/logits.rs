//! What a network's outputs mean: the most likely class, and the probabilities. Computed on the host in `f64`.

/// The place of the highest logit; the first of equals.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = index;
        }
    }
    best
}

/// `ln(sum(exp(logits)))`, shifted by the maximum so that nothing overflows.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    log_sum_exp_at(logits, 1.0)
}

/// The same of logits that are divided by `temperature`.
pub fn log_sum_exp_at(logits: &[f32], temperature: f64) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|value| (f64::from(value - highest) / temperature).exp()).sum();
    f64::from(highest) / temperature + sum.ln()
}

/// Softmax: one probability per class, adding up to 1.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    probabilities_at(logits, 1.0)
}

/// The same of logits that are divided by `temperature`.
pub fn probabilities_at(logits: &[f32], temperature: f64) -> Vec<f64> {
    let log_sum = log_sum_exp_at(logits, temperature);
    logits.iter().map(|value| (f64::from(*value) / temperature - log_sum).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_survive_large_logits() {
        let found = probabilities(&[1000.0, 1000.0, -1000.0]);
        assert!((found[0] - 0.5).abs() < 1e-12 && (found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        let warm = probabilities_at(&[2.0, 0.0], 4.0);
        assert!((warm[0] - 1.0 / (1.0 + (-0.5_f64).exp())).abs() < 1e-12, "{warm:?}");
    }
}
