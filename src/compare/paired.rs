//! Two models on the same images.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};

use super::Estimate;

/// 97.5 % of a normal distribution lie below this many standard deviations.
const NORMAL: f64 = 1.959_963_984_540_054;

/// The images on which two models disagree (McNemar, 1947): those on which they agree say nothing about the difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Images that the first alone answers rightly.
    pub only_first: usize,
    /// Images that the second alone answers rightly.
    pub only_second: usize,
    /// The chance that as many or more of the disagreements fall to one side if each were as likely to fall to either: the
    /// exact two-sided binomial test.
    pub p_value: f64,
}

/// The difference of two models. The interval is that of Bonett and Price, "Adjusted Wald confidence interval for a
/// difference of binomial proportions based on paired data" (2012).
pub(super) fn estimate(first: &[bool], second: &[bool]) -> (Estimate, McNemar) {
    let only = |one: &[bool], other: &[bool]| one.iter().zip(other).filter(|(one, other)| **one && !**other).count();
    let (only_first, only_second) = (only(first, second), only(second, first));
    let images = first.len() as f64;
    let mcnemar = McNemar { only_first, only_second, p_value: two_sided(only_first, only_second) };
    let adjusted = |count: usize| (count as f64 + 1.0) / (images + 2.0);
    let (lost, won) = (adjusted(only_first), adjusted(only_second));
    let centre = won - lost;
    let error = ((won + lost - centre * centre) / (images + 2.0)).sqrt();
    let estimate = Estimate {
        difference: (only_second as f64 - only_first as f64) / images,
        interval: [centre - NORMAL * error, centre + NORMAL * error],
        p_value: mcnemar.p_value,
        detectable: NORMAL * error,
    };
    (estimate, mcnemar)
}

/// The chance, under a fair coin thrown `a + b` times, of a split at least as uneven.
fn two_sided(a: usize, b: usize) -> f64 {
    let Ok(coin) = Binomial::new(0.5, (a + b) as u64) else { return 1.0 };
    (2.0 * coin.cdf(a.min(b) as u64)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(both: usize, first: usize, second: usize, none: usize) -> (Vec<bool>, Vec<bool>) {
        let of = |x: bool, y: bool, count: usize| std::iter::repeat_n((x, y), count);
        of(true, true, both)
            .chain(of(true, false, first))
            .chain(of(false, true, second))
            .chain(of(false, false, none))
            .unzip()
    }

    /// Computed with R: `binom.test(5, 20)` gives 0.04139; `binom.test(0, 6)` 0.03125; `binom.test(10, 20)` 1.
    #[test]
    fn the_exact_test_agrees_with_r() {
        for (a, b, expected) in [(5, 15, 0.041_389), (0, 6, 0.031_25), (10, 10, 1.0), (0, 0, 1.0), (15, 5, 0.041_389)] {
            assert!((two_sided(a, b) - expected).abs() < 1e-6, "{a} {b}: {}", two_sided(a, b));
        }
    }

    #[test]
    fn images_on_which_both_agree_do_not_count_and_the_signs_are_right() {
        let (first, second) = answers(900, 5, 15, 80);
        let (found, mcnemar) = estimate(&first, &second);
        assert_eq!((mcnemar.only_first, mcnemar.only_second), (5, 15));
        assert!((found.difference - 0.01).abs() < 1e-12);
        // (16 - 6) / 1002, and 1.96 standard errors of sqrt((22 / 1002 - 0.00998^2) / 1002).
        assert!(
            (found.interval[0] - 0.000_824).abs() < 1e-5 && (found.interval[1] - 0.019_136).abs() < 1e-5,
            "{:?}",
            found.interval
        );
        let (turned, _) = estimate(&second, &first);
        assert!((turned.interval[0] + found.interval[1]).abs() < 1e-12 && turned.p_value == found.p_value);
    }

    #[test]
    fn models_that_agree_everywhere_are_not_called_different() {
        let (first, second) = answers(10, 0, 0, 3);
        let (found, mcnemar) = estimate(&first, &second);
        assert_eq!((found.difference, mcnemar.p_value), (0.0, 1.0));
        assert!(found.interval[0] < 0.0 && found.interval[1] > 0.0);
    }
}
