//! A learning-rate range test as plain data: its curve, what follows from it, and the same in the terminal.

use serde::Serialize;

use super::braille::{GUTTER, Line, Plot};
use super::{decimal, thousands};
use crate::config::Experiment;

/// The loss is smoothed over so many decades to either side of a rate (the standard deviation of Gaussian weights): single
/// batches differ, and a mean of the past alone would move the curve towards larger rates.
const SMOOTHED_DECADES: f64 = 0.1;

/// Points at the beginning of which none is suggested, and at the end: as Lightning's `lr_find` (`skip_begin`, `skip_end`).
const SKIPPED: (usize, usize) = (10, 1);

/// A curve that is level to within this share of its fall is at its lowest where that begins: at rates beyond, what is learned
/// already does not show that they are too large.
const LEVEL: f64 = 0.01;

/// The suggestion is this share of the rate with the lowest loss: the lower end of Smith's (2017) range, "1/3 or 1/4" of its upper
/// end.
const SHARE: f64 = 1.0 / 3.0;

/// The loss must have fallen to less than this share of what it was at first for a suggestion to mean anything.
const FALLEN: f64 = 0.95;

/// One update of a range test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RangePoint {
    /// The rate of the update.
    pub learning_rate: f64,
    /// The training loss before it, in nats.
    pub loss: f64,
}

/// A range test: what the loss did while the learning rate rose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeTest {
    /// The experiment's name.
    pub experiment: String,
    /// `optimizer.kind`.
    pub optimizer: String,
    /// The experiment's own `optimizer.learning_rate`.
    pub own_rate: f64,
    /// The lowest rate that was planned for.
    pub from: f64,
    /// The highest.
    pub to: f64,
    /// Each update, up to the one at which training diverged.
    pub points: Vec<RangePoint>,
    /// The losses, smoothed over neighbouring rates.
    pub smoothed: Vec<f64>,
    /// The rate at which training diverged.
    pub diverged_at: Option<f64>,
    /// The rate at which the smoothed loss is lowest: beyond it, it rises, or falls no further.
    pub lowest: Option<f64>,
    /// Where the smoothed loss falls steepest, over the logarithm of the rate.
    pub steepest: Option<f64>,
    /// The rate that is suggested, with two digits: a third of the one with the lowest loss. None when the loss did not fall.
    pub suggestion: Option<f64>,
}

impl RangeTest {
    /// What follows from `points`.
    pub(crate) fn new(
        experiment: &Experiment,
        (from, to): (f64, f64),
        points: Vec<RangePoint>,
        diverged_at: Option<f64>,
    ) -> Self {
        let smoothed = smoothed(&points);
        let lowest = lowest(&smoothed);
        let has_fallen = lowest.is_some_and(|lowest| smoothed[lowest] < FALLEN * smoothed[0]);
        let lowest = lowest.filter(|_| has_fallen);
        let steepest =
            lowest.and_then(|lowest| steepest(&points, &smoothed, lowest)).map(|at| points[at].learning_rate);
        let lowest = lowest.map(|lowest| points[lowest].learning_rate);
        Self {
            experiment: experiment.name.clone(),
            optimizer: experiment.optimizer.kind().into(),
            own_rate: experiment.optimizer.learning_rate(),
            from,
            to,
            smoothed,
            points,
            diverged_at,
            lowest,
            steepest,
            suggestion: lowest.map(|lowest| two_digits(lowest * SHARE)),
        }
    }

    /// What came of it, in lines with their labels.
    pub(crate) fn verdict(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let number = |value: f64| decimal(value, 2);
        let end = match self.diverged_at {
            Some(rate) => {
                format!("training diverged at {}, after {} updates", number(rate), thousands(self.points.len() as u64))
            }
            None => format!("training did not diverge up to {}", number(self.to)),
        };
        lines.push(("range", format!("{} to {}: {end}", number(self.from), number(self.to))));
        if let (Some(lowest), Some(steepest)) = (self.lowest, self.steepest) {
            let says = "the smoothed loss is lowest there; a third of it is suggested, the lower end of the range of Smith (2017)";
            lines.push(("lowest", format!("{}: {says}", number(lowest))));
            let says =
                "the smoothed loss falls steepest there, over log(rate): what Lightning and fastai's `steep` suggest";
            lines.push(("steepest", format!("{}: {says}", number(steepest))));
        }
        lines.push(("config", format!("{} is the config's own rate", number(self.own_rate))));
        lines
    }
}

/// The losses as means over neighbouring points, weighted by how near they are.
fn smoothed(points: &[RangePoint]) -> Vec<f64> {
    let place = |point: &RangePoint| point.learning_rate.log10();
    let at = |centre: &RangePoint| {
        let weight = |point: &RangePoint| (-0.5 * ((place(point) - place(centre)) / SMOOTHED_DECADES).powi(2)).exp();
        let (sum, weights) = points.iter().fold((0.0, 0.0), |(sum, weights), point| {
            let weight = weight(point);
            (sum + weight * point.loss, weights + weight)
        });
        sum / weights
    };
    points.iter().map(at).collect()
}

/// The first place that is as low as the lowest, but for [`LEVEL`] of the fall, of those where a suggestion may be.
fn lowest(smoothed: &[f64]) -> Option<usize> {
    let places = || SKIPPED.0..smoothed.len().saturating_sub(SKIPPED.1);
    let low = places().map(|place| smoothed[place]).reduce(f64::min)?;
    let level = low + LEVEL * (smoothed[0] - low).max(0.0);
    places().find(|place| smoothed[*place] <= level)
}

/// The place before `lowest` at which the smoothed loss falls steepest over the logarithm of the rate. The points lie at
/// equal distances there, so the slope is half the difference of the neighbours.
fn steepest(points: &[RangePoint], smoothed: &[f64], lowest: usize) -> Option<usize> {
    let places = SKIPPED.0.max(1)..(lowest + 1).min(points.len().saturating_sub(1));
    let slope = |place: usize| smoothed[place + 1] - smoothed[place - 1];
    places.min_by(|a, b| slope(*a).total_cmp(&slope(*b)))
}

/// A rate rounded to two significant digits, as people write one in a config.
fn two_digits(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

/// The curve for a terminal that is `width` characters wide: each loss in dots, the smoothed one as a line. What is far above
/// the beginning is cut off.
pub fn range_curve(test: &RangeTest, width: usize, colour: bool) -> String {
    let Some(first) = test.smoothed.first() else { return String::new() };
    let ceiling = first * 1.25;
    let below = |loss: f64| Some(loss.min(ceiling)).filter(|loss| loss.is_finite());
    let lines = [
        Line {
            name: "loss",
            values: test.points.iter().map(|point| below(point.loss)).collect(),
            code: 36,
            dotted: true,
        },
        Line {
            name: "smoothed",
            values: test.smoothed.iter().map(|loss| below(*loss)).collect(),
            code: 33,
            dotted: false,
        },
    ];
    let plot = Plot {
        columns: width.saturating_sub(GUTTER + 1).max(20),
        colour,
        unit: "rate",
        places: test.points.iter().map(|point| format!("{:.1e}", point.learning_rate)).collect(),
        mark: test.place_of_suggestion(),
        format: |value| format!("{value:.3}"),
    };
    plot.draw("loss", &lines).iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

impl RangeTest {
    /// The first point at the suggested rate or above it.
    pub(super) fn place_of_suggestion(&self) -> Option<usize> {
        let suggestion = self.suggestion?;
        self.points.iter().position(|point| point.learning_rate >= suggestion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 121 updates from 1e-6 to 1: level, falling between 1e-4 and 1e-2, rising from 1e-1 on.
    fn test(loss: impl Fn(f64) -> f64) -> RangeTest {
        let rate = |update: i32| 1e-6 * 10_f64.powf(f64::from(update) / 20.0);
        let points =
            (0..121).map(|update| RangePoint { learning_rate: rate(update), loss: loss(rate(update)) }).collect();
        RangeTest::new(&Experiment::default(), (1e-6, 1.0), points, None)
    }

    fn valley(rate: f64) -> f64 {
        let fall = ((rate.log10() + 4.0) / 2.0).clamp(0.0, 1.0);
        let rise = (rate.log10() + 1.0).max(0.0);
        2.3 - 2.0 * fall * fall * (3.0 - 2.0 * fall) + 4.0 * rise
    }

    #[test]
    fn a_third_of_where_the_loss_is_lowest_is_suggested() {
        let found = test(valley);
        let near = |value: Option<f64>, expected: f64| (value.unwrap() / expected).log10().abs() < 0.15;
        assert!(near(found.steepest, 1e-3), "{:?}", found.steepest);
        assert!(near(found.lowest, 1e-2), "{:?}", found.lowest);
        assert!(near(found.suggestion, 1e-2 / 3.0), "{:?}", found.suggestion);
        assert!(format!("{}", found.suggestion.unwrap()).trim_start_matches(['0', '.']).len() <= 2);
        // A batch that is an outlier moves nothing far.
        let with_outlier = test(|rate| if (2e-5..2.1e-5).contains(&rate) { 0.5 } else { valley(rate) });
        assert!(near(with_outlier.suggestion, 1e-2 / 3.0), "{:?}", with_outlier.suggestion);
    }

    #[test]
    fn a_loss_that_does_not_fall_gives_no_suggestion_and_no_panic() {
        for found in [
            test(|_| 2.3),
            test(|rate| 2.3 + rate),
            RangeTest::new(&Experiment::default(), (1e-6, 1.0), Vec::new(), Some(1e-6)),
        ] {
            assert_eq!((found.suggestion, found.steepest, found.lowest), (None, None, None));
            range_curve(&found, 80, false);
        }
    }

    #[test]
    fn the_curve_is_drawn_in_every_width() {
        for width in 40..=120 {
            let text = range_curve(&test(valley), width, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}\n{text}");
            assert!(text.contains("1.0e-6") && text.contains("1.0e0") && text.contains("▲ 3."), "{text}");
        }
    }
}
