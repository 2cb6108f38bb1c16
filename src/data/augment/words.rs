//! How parts and probabilities are said.

/// A fraction in hundredths, without the digits that rounding leaves.
pub(super) fn percent(fraction: f64) -> f64 {
    (fraction * 1e6).round() / 1e4
}

/// " in 50 % of the images"; nothing where it is all of them.
pub(super) fn often(probability: f64) -> String {
    if probability == 1.0 { String::new() } else { format!(" in {} % of the images", percent(probability)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_said_in_the_fewest_digits() {
        assert_eq!(percent(0.08).to_string(), "8");
        assert_eq!(percent(0.125).to_string(), "12.5");
        assert_eq!(often(1.0), "");
        assert_eq!(often(0.3), " in 30 % of the images");
    }
}
