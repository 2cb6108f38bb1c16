//! Collecting what is wrong with an experiment, so that everything is said at once.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// How a message begins about a number that has another meaning in the numbers that are computed with.
pub const ROUNDED: &str = "in the 32-bit numbers that kiln computes with,";

/// What is wrong so far, each with the key it is about.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: Vec<String>,
    found: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as written in `--set`: `train.epochs`.
    pub key: String,
    /// What is allowed and what was found: "must be at least 1, got 0".
    pub message: String,
}

impl Problems {
    /// Says that `key` of the current section is wrong.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        let mut path = self.prefix.clone();
        path.push(key.to_owned());
        self.found.push(Problem { key: path.join("."), message: message.into() });
    }

    /// Says so when `ok` is false.
    pub fn require(&mut self, ok: bool, key: &str, message: impl FnOnce() -> String) {
        if !ok {
            self.add(key, message());
        }
    }

    /// Says so when `value` is outside `allowed`.
    pub fn within_range<T: PartialOrd + Display>(&mut self, key: &str, value: T, allowed: RangeInclusive<T>) {
        if allowed.contains(&value) {
            return;
        }
        let [low, high] = [allowed.start(), allowed.end()];
        self.add(
            key,
            if value > *high {
                format!("must be at most {high}, got {value}")
            } else {
                format!("must be at least {low}, got {value}")
            },
        );
    }

    /// Says so when `value` is not above 0 and at most `most`.
    pub fn above_zero(&mut self, key: &str, value: f64, most: f64) {
        self.require(value > 0.0 && value <= most, key, || format!("must be above 0 and at most {most}, got {value}"));
    }

    /// Says so when `value`, which is computed with as an `f32`, is not above 0 and at most `most`, as given and as it is
    /// computed with.
    pub fn above_zero_f32(&mut self, key: &str, value: f64, most: f64) {
        let allowed = value > 0.0 && value <= most;
        self.require(allowed, key, || format!("must be above 0 and at most {most}, got {value}"));
        if allowed {
            self.not_lost(key, value);
        }
    }

    /// Says so when `value`, which is computed with as an `f32`, is not 0 to `most`, as given and as it is computed with.
    pub fn at_most_f32(&mut self, key: &str, value: f64, most: f64) {
        self.within_range(key, value, 0.0..=most);
        if value > 0.0 && value <= most {
            self.not_lost(key, value);
        }
    }

    /// Says so when `value`, which is computed with as an `f32`, is not at least 0 and below 1, as given and as it is
    /// computed with.
    pub fn fraction_f32(&mut self, key: &str, value: f64) {
        let allowed = (0.0..1.0).contains(&value);
        self.require(allowed, key, || format!("must be at least 0 and below 1, got {value}"));
        if allowed && value as f32 == 1.0 {
            let nearest = 1.0 - f32::EPSILON / 2.0;
            self.add(key, format!("{ROUNDED} {value:?} is 1, which is too much; the nearest that is not is {nearest}"));
        } else if allowed && value > 0.0 {
            self.not_lost(key, value);
        }
    }

    /// Says so when a value above 0 is 0 as an `f32`, or so small that a device may take it for 0.
    fn not_lost(&mut self, key: &str, value: f64) {
        self.require(value as f32 >= f32::MIN_POSITIVE, key, || {
            format!("{ROUNDED} {value:?} is 0; the nearest that is not is {:e}", f32::MIN_POSITIVE)
        });
    }

    /// Runs `check` with `key` put before every key that it names.
    pub fn within(&mut self, key: impl Into<String>, check: impl FnOnce(&mut Self)) {
        self.prefix.push(key.into());
        check(self);
        self.prefix.pop();
    }

    /// Everything found, in order.
    pub fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}

/// A section that can say what is wrong with its values. Messages do not name their key: the collector does.
pub trait Check {
    /// Adds every problem of this section.
    fn check(&self, problems: &mut Problems);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: impl FnOnce(&mut Problems)) -> String {
        let mut problems = Problems::default();
        check(&mut problems);
        problems.into_vec().into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_value_that_is_named_as_the_nearest_is_allowed_and_the_next_is_not() {
        let fraction = |value| said(|problems| problems.fraction_f32("beta_2", value));
        insta::assert_snapshot!(fraction(0.999_999_99), @"in the 32-bit numbers that kiln computes with, 0.99999999 is 1, which is too much; the nearest that is not is 0.99999994");
        assert_eq!(fraction(0.999_999_94), "");
        assert_eq!(fraction(0.0), "");
        insta::assert_snapshot!(fraction(1e-50), @"in the 32-bit numbers that kiln computes with, 1e-50 is 0; the nearest that is not is 1.1754944e-38");
        let epsilon = |value| said(|problems| problems.above_zero_f32("epsilon", value, 1.0));
        assert_ne!(epsilon(1e-38), "");
        assert_eq!(epsilon(1.175_494_4e-38), "");
        assert_eq!(epsilon(0.0), "must be above 0 and at most 1, got 0");
        let decay = |value| said(|problems| problems.at_most_f32("weight_decay", value, 1.0));
        assert_eq!((decay(0.0), decay(1.0)), (String::new(), String::new()));
        assert_ne!(decay(1e-45), "");
        assert_eq!(decay(f64::NAN), "must be at least 0, got NaN");
    }
}
