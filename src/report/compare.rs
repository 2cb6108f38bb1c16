//! A comparison in words: what was reached, and whether the difference is more than luck.

use std::fmt::Write as _;

use super::thousands;
use crate::compare::{Comparison, Pair, Summary};

/// The comparison as text: a row for each arm, then the verdicts.
pub fn comparison(comparison: &Comparison) -> String {
    let names = comparison.arms.iter().map(|arm| arm.name.chars().count());
    let width = names.max().unwrap_or(0).max(4);
    let mut text =
        format!("{:<width$}  {:>6}  accuracy on {} test images", "", "models", thousands(comparison.images as u64));
    for arm in &comparison.arms {
        let _ = write!(text, "\n{:<width$}  {:>6}  {}", arm.name, arm.accuracies.len(), accuracy(arm));
    }
    text.push('\n');
    for sentence in verdicts(comparison) {
        let _ = write!(text, "\n{sentence}");
    }
    text
}

/// An arm's mean accuracy, with its standard deviation over seeds where there are several.
pub(super) fn accuracy(arm: &Summary) -> String {
    let mean = arm.mean * 100.0;
    match arm.sd {
        Some(sd) => format!("{mean:.2} ± {:.2} % (mean ± sd over seeds)", sd * 100.0),
        None => format!("{mean:.2} %"),
    }
}

/// The answer in sentences: which is best, and what it can be told apart from; one sentence for each pair.
pub(super) fn verdicts(comparison: &Comparison) -> Vec<String> {
    let mut sentences = Vec::new();
    let corrected = comparison.pairs.len() > 1;
    if corrected {
        sentences.push(leader(comparison));
    }
    sentences.extend(comparison.pairs.iter().map(|pair| verdict(comparison, pair)));
    if corrected {
        sentences.push("The chances p are corrected by Holm's method for the number of pairs.".into());
    }
    if comparison.arms.iter().all(|arm| arm.accuracies.len() == 1) {
        sentences.push(
            "This compares these very models. Whether one config is better than another takes several seeds of each."
                .into(),
        );
    }
    sentences
}

/// The arm with the highest mean, and whether it is ahead of all others.
fn leader(comparison: &Comparison) -> String {
    let best = comparison.best();
    let rivals: Vec<&str> = comparison
        .pairs
        .iter()
        .filter(|pair| !pair.distinguishable && (pair.a == best || pair.b == best))
        .map(|pair| &*comparison.arms[if pair.a == best { pair.b } else { pair.a }].name)
        .collect();
    let name = &comparison.arms[best].name;
    let mean = comparison.arms[best].mean * 100.0;
    match &rivals[..] {
        [] => format!("{name} is the best, with {mean:.2} %."),
        _ => format!("{name} has the highest mean, {mean:.2} %, but cannot be told apart from {}.", rivals.join(", ")),
    }
}

fn verdict(comparison: &Comparison, pair: &Pair) -> String {
    let name = |arm: usize| &*comparison.arms[arm].name;
    if pair.distinguishable {
        let (better, worse) = if pair.difference > 0.0 { (pair.b, pair.a) } else { (pair.a, pair.b) };
        let [low, high] = ordered(pair);
        return format!(
            "{} is better than {} by {:.2} points (95 % interval {:.2} to {:.2}, p {}).",
            name(better),
            name(worse),
            points(pair.difference.abs()),
            points(low),
            points(high),
            chance(pair.p_adjusted)
        );
    }
    format!(
        "{} and {} are not distinguishable with {} images{}: the difference is {:+.2} points (95 % interval {:+.2} to \
         {:+.2}, p {}); one below {:.2} points would not show.",
        name(pair.a),
        name(pair.b),
        thousands(comparison.images as u64),
        seeds(&comparison.arms[pair.a], &comparison.arms[pair.b]),
        points(pair.difference),
        points(pair.interval[0]),
        points(pair.interval[1]),
        chance(pair.p_adjusted),
        points(pair.detectable)
    )
}

/// A share as percentage points, in the hundredths that are shown: less than half of one is 0, which has no sign.
pub(super) fn points(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0 + 0.0
}

/// The interval of how much better the better one is.
fn ordered(pair: &Pair) -> [f64; 2] {
    let [low, high] = pair.interval;
    if pair.difference > 0.0 { [low, high] } else { [-high, -low] }
}

/// " and 3 seeds each".
pub(super) fn seeds(a: &Summary, b: &Summary) -> String {
    match (a.accuracies.len(), b.accuracies.len()) {
        (1, 1) => String::new(),
        (a, b) if a == b => format!(" and {a} seeds each"),
        (a, b) => format!(" and {a} and {b} seeds"),
    }
}

pub(super) fn chance(p: f64) -> String {
    if p < 0.001 { "below 0.001".into() } else { format!("= {p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Answers, Arm};

    fn arm(name: &str, right: &[usize], from_seed: u64) -> Arm {
        let model = |(seed, right): (u64, &usize)| Answers {
            seed: Some(seed),
            right: (0..1000).map(|image| image < *right).collect(),
        };
        Arm { name: name.into(), models: (from_seed..).zip(right).map(model).collect() }
    }

    #[test]
    fn a_difference_that_is_shown_as_nothing_has_no_sign() {
        let shown = [-0.00004, -0.0, 0.0, 0.00004, -0.00006].map(|share| format!("{:+.2}", points(share)));
        assert_eq!(shown, ["+0.00", "+0.00", "+0.00", "+0.00", "-0.01"]);
    }

    #[test]
    fn two_models_and_a_clear_difference() {
        let found = Comparison::new(&[arm("old", &[940], 1), arm("new", &[960], 1)], 1).unwrap();
        insta::assert_snapshot!(comparison(&found), @r"
              models  accuracy on 1,000 test images
        old        1  94.00 %
        new        1  96.00 %

        new is better than old by 2.00 points (95 % interval 1.09 to 2.91, p below 0.001).
        This compares these very models. Whether one config is better than another takes several seeds of each.
        ");
    }

    #[test]
    fn what_is_luck_is_called_so_whichever_comes_first() {
        let (a, b) = (arm("a", &[950, 960, 940], 1), arm("b", &[952, 941, 962], 10));
        for arms in [[a.clone(), b.clone()], [b, a]] {
            let text = comparison(&Comparison::new(&arms, 1).unwrap());
            assert!(text.contains("are not distinguishable with 1,000 images and 3 seeds each"), "{text}");
            assert!(text.contains("points would not show"), "{text}");
        }
    }

    #[test]
    fn of_three_the_best_is_named_with_those_it_cannot_be_told_from() {
        let arms = [
            arm("low", &[900, 901, 902, 900], 1),
            arm("high", &[952, 941, 962, 949], 1),
            arm("higher", &[953, 944, 958, 951], 1),
        ];
        let text = comparison(&Comparison::new(&arms, 1).unwrap());
        assert!(text.contains("higher has the highest mean, 95.15 %, but cannot be told apart from high."), "{text}");
        assert!(text.contains("higher is better than low by 5.07 points"), "{text}");
        assert!(text.contains("Holm"), "{text}");
    }
}
