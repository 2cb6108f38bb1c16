//! Collecting what is wrong with an experiment, so that everything is said at once.

use std::fmt::Display;
use std::ops::RangeInclusive;

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

    /// Says so when `value` is not a share: at least 0 and below 1.
    pub fn share(&mut self, key: &str, value: f64) {
        self.require((0.0..1.0).contains(&value), key, || format!("must be at least 0 and below 1, got {value}"));
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
