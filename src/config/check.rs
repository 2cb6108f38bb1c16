//! Collecting what is wrong with an experiment, so that everything is said at once.

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
