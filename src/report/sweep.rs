//! A sweep in words: a line for each run as it ends, the ranking, and whether the best is best by more than luck.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::compare::{chance, points, seeds};
use super::{duration, thousands};
use crate::sweep::{RunResult, SweepResult, TrialRow, label, short, shown};

/// The columns of the values that are tried, as wide as it takes.
#[derive(Clone, Debug)]
pub struct SweepColumns {
    keys: Vec<(String, String, usize)>,
    has_seeds: bool,
}

impl SweepColumns {
    /// For these keys, and for trials with one seed or several.
    pub fn new<'a>(keys: impl Iterator<Item = &'a str>, has_seeds: bool) -> Self {
        let keys: Map<String, Json> = keys.map(|key| (key.to_owned(), Json::Null)).collect();
        let column = |path: &String| {
            let heading = short(path, &keys).to_owned();
            let width = heading.chars().count().max(9);
            (path.clone(), heading, width)
        };
        Self { keys: keys.keys().map(column).collect(), has_seeds }
    }

    /// The headings above the lines of runs.
    pub fn heading(&self) -> String {
        let seed = if self.has_seeds { "  seed" } else { "" };
        format!("trial{seed}   epochs{}  valid. acc.    time", self.headings())
    }

    /// A run of a trial that has come to the end of a rung.
    pub fn line(
        &self,
        (trial, seed): (usize, u64),
        values: &[(String, Json)],
        whole: usize,
        result: &RunResult,
    ) -> String {
        let seed = if self.has_seeds { format!("  {seed:>4}") } else { String::new() };
        let values: Map<String, Json> = values.iter().cloned().collect();
        let epochs = format!("{}/{whole}", result.epochs);
        let start = format!("{trial:>5}{seed}  {epochs:>7}{}", self.values(&values));
        match (&result.error, result.validation_accuracy) {
            (None, Some(accuracy)) => {
                format!("{start}  {:>9.2} %  {:>6}", accuracy * 100.0, duration(result.seconds))
            }
            (error, _) => format!("{start}     failed: {}", error.as_deref().unwrap_or("it reached nothing")),
        }
    }

    fn headings(&self) -> String {
        self.keys.iter().map(|(_, heading, width)| format!("  {heading:>width$}")).collect()
    }

    fn values(&self, values: &Map<String, Json>) -> String {
        let cell = |(path, _, width): &(String, String, usize)| {
            let value = values.get(path).map(shown).unwrap_or_default();
            format!("  {value:>width$}")
        };
        self.keys.iter().map(cell).collect()
    }
}

/// The ranking: a row for each trial, the best first.
pub fn sweep_table(result: &SweepResult) -> String {
    let columns = SweepColumns::new(result.keys.iter().map(|key| &*key.path), result.seeds.len() > 1);
    let mut text = format!("trial  epochs{}  validation accuracy     time", columns.headings());
    for row in &result.trials {
        let _ = write!(text, "\n{:>5}  {:>6}{}  ", row.trial, row.epochs, columns.values(&row.values));
        let _ = match &row.error {
            Some(error) => write!(text, "failed: {error}"),
            None => write!(text, "{:<19}  {:>7}", accuracy(row), duration(row.seconds)),
        };
    }
    text
}

fn accuracy(row: &TrialRow) -> String {
    match (row.validation_accuracy, row.validation_sd) {
        (Some(mean), Some(sd)) => format!("{:.2} ± {:.2} %", mean * 100.0, sd * 100.0),
        (Some(mean), None) => format!("{:.2} %", mean * 100.0),
        (None, _) => "-".into(),
    }
}

/// The answer: which is best and by how much more than luck, and what the winner does on the test images.
pub fn sweep_verdict(result: &SweepResult) -> Vec<String> {
    let Some(winner) = result.winning() else {
        return vec!["No trial was trained to its end, so none can be called the best.".into()];
    };
    let name = label(winner.trial, &winner.values);
    let on = format!("{} validation images", thousands(result.validation_images as u64));
    let mut sentences = match &result.comparison {
        None => vec![format!("{name} is the only trial that was trained to its end: {} on {on}.", accuracy(winner))],
        Some(_) => lead(result, &on),
    };
    if let Some(test) = &result.test {
        let figures = match test.sd {
            Some(sd) => format!(
                "{:.2} ± {:.2} % (mean ± sd over {} seeds)",
                test.mean * 100.0,
                sd * 100.0,
                test.accuracies.len()
            ),
            None => format!("{:.2} %", test.mean * 100.0),
        };
        sentences.push(format!(
            "{name} was chosen on {on}; test accuracy, measured once on {} images: {figures}.",
            thousands(test.images as u64)
        ));
    }
    sentences
}

/// The winner and the next best, and which of the others it can be told apart from.
fn lead(result: &SweepResult, on: &str) -> Vec<String> {
    let Some((comparison, next)) = result.comparison.as_ref().and_then(|found| Some((found, found.pairs.first()?)))
    else {
        return Vec::new();
    };
    let name = |arm: usize| &*comparison.arms[arm].name;
    let highest = if result.seeds.len() > 1 { "highest mean" } else { "highest accuracy" };
    // The pair tells how much better the other one is.
    let [low, high] = [-next.interval[1], -next.interval[0]];
    let mut sentences = vec![match next.distinguishable {
        true => format!(
            "{} is better than {}, the next best, by {:.2} points on {on} (95 % interval {:.2} to {:.2}, p {}).",
            name(0),
            name(next.b),
            points(-next.difference),
            points(low),
            points(high),
            chance(next.p_adjusted)
        ),
        false if low == high => {
            format!(
                "{} and {}, the next best, cannot be told apart: they answer every one of {on} alike.",
                name(0),
                name(next.b)
            )
        }
        false => format!(
            "{} has the {highest}, but is not distinguishable from {}, the next best, with {on}{}: the difference is \
             {:+.2} points (95 % interval {:+.2} to {:+.2}, p {}); one below {:.2} points would not show.",
            name(0),
            name(next.b),
            seeds(&comparison.arms[0], &comparison.arms[next.b]),
            points(-next.difference),
            points(low),
            points(high),
            chance(next.p_adjusted),
            points(next.detectable)
        ),
    }];
    let others = comparison.pairs.iter().skip(1);
    let better: Vec<&str> = others.filter(|pair| pair.distinguishable).map(|pair| name(pair.b)).collect();
    if comparison.pairs.len() > 1 {
        let of = comparison.pairs.len() - 1;
        sentences.push(match better.len() {
            0 => "It cannot be told from the others either.".into(),
            all if all == of => "It is better than all others.".into(),
            few if few <= 5 => format!("It is better than {}, and cannot be told from the rest.", better.join(", ")),
            many => format!("It is better than {many} of the {of} others, and cannot be told from the rest."),
        });
        sentences.push("The chances p are corrected by Holm's method for every two trials that were compared.".into());
    }
    if result.seeds.len() == 1 {
        sentences.push(
            "One seed tells these very models apart; whether the values are better takes several (--seeds 3).".into(),
        );
    }
    sentences
}

/// What was trained, against what it would have been.
pub fn sweep_cost(result: &SweepResult) -> String {
    let cost = &result.cost;
    let failed = result.trials.iter().filter(|row| row.error.is_some()).count();
    let failed =
        if failed > 0 { format!("; {failed} of {} trials failed", result.trials.len()) } else { String::new() };
    format!(
        "{} of {} epochs ({} iterations){failed}",
        thousands(cost.epochs as u64),
        thousands(cost.full_epochs as u64),
        thousands(cost.iterations as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Answers, Arm, Comparison};
    use crate::sweep::result::{Cost, Key, TestFigures};

    fn row(trial: usize, rate: f64, accuracy: Option<f64>) -> TrialRow {
        TrialRow {
            trial,
            values: [("optimizer.learning_rate".to_owned(), Json::from(rate))].into_iter().collect(),
            rung: 1,
            is_complete: true,
            epochs: 9,
            validation_accuracy: accuracy,
            validation_sd: accuracy.map(|_| 0.001),
            validation_loss: accuracy.map(|_| 0.1),
            seconds: 12.0,
            error: accuracy.is_none().then(|| "the loss became NaN".into()),
            runs: Vec::new(),
        }
    }

    fn result(right: [usize; 2]) -> SweepResult {
        let arm = |name: &str, right: usize| Arm {
            name: name.into(),
            models: (0..3_u64)
                .map(|seed| Answers {
                    seed: Some(seed),
                    right: (0..5000).map(|image| (image + 7 * seed as usize) % 5000 < right).collect(),
                })
                .collect(),
        };
        let arms = [arm("learning_rate=0.01", right[0]), arm("learning_rate=0.005", right[1])];
        SweepResult {
            schema_version: 1,
            name: "a-sweep-0001".into(),
            search: "grid".into(),
            keys: vec![Key { path: "optimizer.learning_rate".into(), space: Json::Null }],
            seeds: vec![1, 2, 3],
            rungs: vec![9],
            validation_images: 5000,
            trials: vec![
                row(2, 0.01, Some(right[0] as f64 / 5000.0)),
                row(1, 0.005, Some(right[1] as f64 / 5000.0)),
                row(3, 1.0, None),
            ],
            winner: Some(2),
            comparison: Some(Comparison::of_first(&arms, 0).unwrap()),
            test: Some(TestFigures { images: 10_000, accuracies: vec![0.99; 3], mean: 0.99, sd: Some(0.0012) }),
            cost: Cost { epochs: 54, full_epochs: 81, iterations: 5400 },
        }
    }

    #[test]
    fn a_clear_winner_is_told_in_one_sentence_with_an_interval() {
        let found = result([4950, 4800]);
        insta::assert_snapshot!(format!("{}\n\n{}\n\n{}", sweep_table(&found), sweep_verdict(&found).join("\n"), sweep_cost(&found)), @r"
        trial  epochs  learning_rate  validation accuracy     time
            2       9           0.01  99.00 ± 0.10 %          12 s
            1       9          0.005  96.00 ± 0.10 %          12 s
            3       9            1.0  failed: the loss became NaN

        learning_rate=0.01 is better than learning_rate=0.005, the next best, by 3.00 points on 5,000 validation images (95 % interval 2.53 to 3.47, p below 0.001).
        learning_rate=0.01 was chosen on 5,000 validation images; test accuracy, measured once on 10,000 images: 99.00 ± 0.12 % (mean ± sd over 3 seeds).

        54 of 81 epochs (5,400 iterations); 1 of 3 trials failed
        ");
    }

    #[test]
    fn luck_is_called_so() {
        insta::assert_snapshot!(sweep_verdict(&result([4950, 4949]))[0], @"learning_rate=0.01 has the highest mean, but is not distinguishable from learning_rate=0.005, the next best, with 5,000 validation images and 3 seeds each: the difference is +0.02 points (95 % interval -0.01 to +0.05, p = 0.239); one below 0.03 points would not show.");
        let alike = sweep_verdict(&result([4950, 4950]))[0].clone();
        assert!(
            alike.contains("cannot be told apart: they answer every one of 5,000 validation images alike"),
            "{alike}"
        );
        let none = SweepResult { winner: None, ..result([4950, 4949]) };
        assert!(sweep_verdict(&none)[0].starts_with("No trial was trained to its end"));
    }
}
