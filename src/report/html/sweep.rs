//! The page of a sweep: its trials, what each key explains, every trial as a line through its values, and what was reached on
//! the way.

use maud::{Markup, html};
use serde_json::Value as Json;

use super::chart::round;
use super::{document, percent, scrolling};
use crate::report::sweep::sweep_verdict;
use crate::report::{decimal, duration};
use crate::sweep::{FEWEST, Importance, Key, SweepResult, TrialRow, short, shown};

/// What a page of a sweep shows.
#[derive(Debug)]
pub struct SweepPage<'a> {
    /// The outcome.
    pub result: &'a SweepResult,
    /// What each key explains, by what the trials had reached at the end of the first rung; nothing where they are too few.
    pub importance: Option<Vec<Importance>>,
    /// What each trial had reached on its way: its number, the epochs, the mean validation accuracy over seeds.
    pub reached: Vec<(usize, usize, f64)>,
    /// The file of the sweep.
    pub config: String,
}

/// The page.
pub fn sweep_page(page: &SweepPage) -> String {
    let sections = [
        ("trials", "Trials", Some(trials(page.result))),
        ("importance", "What the keys explain", Some(importance(page))),
        ("values", "Every trial, through its values", parallel(page.result)),
        ("course", "Accuracy on the way", course(page)),
        ("config", "Config", Some(html! { pre { (page.config) } })),
    ];
    let introduction = html! { @for sentence in sweep_verdict(page.result) { p.lead { (sentence) } } };
    document(&page.result.name, &introduction, &sections)
}

fn trials(result: &SweepResult) -> Markup {
    let values = result.keys.iter().map(|key| (key.path.clone(), Json::Null)).collect();
    let has_seeds = result.seeds.len() > 1;
    let table = html! {
        table {
            thead { tr {
                th.name scope="col" { "trial" }
                @for key in &result.keys { th scope="col" title=(key.path) { (short(&key.path, &values)) } }
                th scope="col" { "epochs" } th scope="col" { "valid. accuracy" }
                @if has_seeds { th scope="col" { "sd" } }
                th scope="col" { "valid. loss" } th scope="col" { "time" }
            } }
            tbody {
                @for row in &result.trials {
                    tr {
                        th.name scope="row" { (row.trial) @if result.winner == Some(row.trial) { " " span.tag { "best" } } }
                        @for key in &result.keys { td { (row.values.get(&key.path).map(shown).unwrap_or_default()) } }
                        td { (row.epochs) }
                        @if let Some(error) = &row.error {
                            td.name colspan=(if has_seeds { 4 } else { 3 }) { "failed: " (error) }
                        } @else {
                            td { (row.validation_accuracy.map_or_else(|| "-".to_owned(), percent)) }
                            @if has_seeds { td { (row.validation_sd.map_or_else(|| "-".to_owned(), percent)) } }
                            td { (row.validation_loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"))) }
                            td { (duration(row.seconds)) }
                        }
                    }
                }
            }
        }
    };
    html! {
        p.soft {
            "The best first: those that were trained further before the others, then by validation accuracy"
            @if has_seeds { ", the mean over " (result.seeds.len()) " seeds" }
            "."
        }
        (scrolling("Trials", &table))
    }
}

fn importance(page: &SweepPage) -> Markup {
    let after = page.result.rungs.first().copied().unwrap_or(0);
    let Some(keys) = &page.importance else {
        return html! { p { "Too few trials to tell: it takes " (FEWEST) " that did not fail." } };
    };
    let table = html! {
        table {
            thead { tr {
                th.name scope="col" { "key" } th scope="col" { "share" } th scope="col" { "" } th scope="col" { "p" } th scope="col" { "groups" }
            } }
            tbody {
                @for key in keys {
                    tr {
                        th.name scope="row" title=(key.path) { span.clip { (key.path) } }
                        @match key.share {
                            Some(share) => {
                                td { (format!("{:.0} %", share * 100.0)) }
                                td { span.bar { b style={ "width:" (round(share * 100.0)) "%" } {} } }
                            }
                            None => { td { "-" } td { "" } }
                        }
                        td { (key.p_value.map_or_else(|| "-".to_owned(), |p| format!("{p:.3}"))) }
                        td { (key.groups) }
                    }
                }
            }
        }
    };
    html! {
        p {
            "The share of the differences in validation accuracy between trials"
            @if page.result.rungs.len() > 1 { ", after " (after) " epochs, where all were measured," }
            " that the values of one key explain by themselves: one-way analysis of variance (epsilon squared; Kelley, 1935). p is the chance of \
             as much from a key that means nothing, by permutation, for each key alone."
        }
        p.soft {
            "What two keys do only together is in none of the shares, and so is luck. More than five numbers are cut into thirds. A search that looks where it was \
             good before, as TPE does, makes the shares less than a grid would."
        }
        (scrolling("What the keys explain", &table))
    }
}

/// The distance between two axes, and the margins, in units that are pixels at least.
const STEP: f64 = 150.0;
const SIDE: f64 = 60.0;
const TOP: f64 = 44.0;
const HEIGHT: f64 = 260.0;
const BOTTOM: f64 = 22.0;

/// Parallel coordinates (Inselberg, 1985): an axis for each key and one for the accuracy, a line for each trial.
fn parallel(result: &SweepResult) -> Option<Markup> {
    let good: Vec<&TrialRow> = result.trials.iter().filter(|row| row.validation_accuracy.is_some()).collect();
    let accuracies = || good.iter().filter_map(|row| row.validation_accuracy);
    let (low, high) = (accuracies().reduce(f64::min)?, accuracies().reduce(f64::max)?);
    let width = (2.0 * SIDE + STEP * result.keys.len() as f64).max(spoken(&good));
    let x = |axis: usize| SIDE + STEP * axis as f64;
    let y = |share: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share);
    let share = |accuracy: f64| if high > low { (accuracy - low) / (high - low) } else { 0.5 };
    let names = result.keys.iter().map(|key| (key.path.clone(), Json::Null)).collect();
    let axes: Vec<Axis> = result.keys.iter().map(|key| Axis::new(key, &good)).collect();
    let line = |row: &TrialRow| {
        let of_keys = axes.iter().zip(&result.keys).enumerate().map(|(place, (axis, key))| {
            format!(
                "{},{}",
                round(x(place)),
                round(y(row.values.get(&key.path).map_or(0.5, |value| axis.share(value))))
            )
        });
        let accuracy = row.validation_accuracy.unwrap_or(low);
        let last = format!("{},{}", round(x(axes.len())), round(y(share(accuracy))));
        of_keys.chain([last]).collect::<Vec<_>>().join(" ")
    };
    let svg = html! {
        svg viewBox={ "0 0 " (width) " " (HEIGHT) } style={ "min-width:" (width) "px;max-width:" (1.4 * width) "px" } role="group" aria-label="Every trial, through its values" {
            @for place in 0..=axes.len() {
                line.axis x1=(x(place)) x2=(x(place)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
            }
            // The best last, on top of the others.
            @for row in good.iter().rev() { (trial(result, row, &line(row), width)) }
            // What the axes say stays readable where lines cross it.
            @for (place, axis) in axes.iter().enumerate() {
                text.over x=(x(place)) y=(TOP - 10.0) text-anchor="middle" { (short(&result.keys[place].path, &names)) }
                @for (at, label) in &axis.marks { text.over x=(x(place) + 4.0) y=(round(y(*at) + 3.5)) { (label) } }
            }
            text.over x=(x(axes.len())) y=(TOP - 10.0) text-anchor="middle" { "valid. accuracy" }
            @for (at, accuracy) in [(0.0, low), (1.0, high)] {
                text.over x=(x(axes.len()) + 4.0) y=(round(y(at) + 3.5)) { (percent(accuracy)) }
            }
        }
    };
    Some(html! {
        p.soft {
            "A line is a trial: the best is the thick one, those that were given up early are pale. Point at one, or go through them with the keyboard, and it says its values."
        }
        (scrolling("Every trial, through its values", &svg))
    })
}

/// A trial in words.
fn says(row: &TrialRow) -> String {
    let value = |(path, value): (&String, &Json)| format!("{} {}", short(path, &row.values), shown(value));
    let values: Vec<String> = row.values.iter().map(value).collect();
    let accuracy = row.validation_accuracy.map_or_else(String::new, |accuracy| format!(": {}", percent(accuracy)));
    format!("trial {}{accuracy}, {} epochs; {}", row.trial, row.epochs, values.join(", "))
}

/// The width that the words of the trials take.
fn spoken(rows: &[&TrialRow]) -> f64 {
    const LETTER: f64 = 6.5;
    LETTER * rows.iter().map(|row| says(row).chars().count()).max().unwrap_or(0) as f64
}

/// One line, which says its values under the pointer and where the keyboard's focus is.
fn trial(result: &SweepResult, row: &TrialRow, points: &str, width: f64) -> Markup {
    let kind = match () {
        () if result.winner == Some(row.trial) => "winner",
        () if row.is_complete => "complete",
        () => "given-up",
    };
    let says = says(row);
    html! {
        g.hit.trial.(kind) tabindex="0" role="img" aria-label=(says) {
            polyline.wide points=(points) {}
            polyline.line points=(points) {}
            g.tip { rect.behind x="0" y="0" width=(width) height="17" {} text x="4" y="12" { (says) } }
        }
    }
}

/// Where the values of a key are on its axis, from 0 at the bottom to 1 at the top.
struct Axis {
    scale: Scale,
    marks: Vec<(f64, String)>,
}

enum Scale {
    Choices(Vec<String>),
    Numbers { low: f64, high: f64, is_log: bool },
}

impl Axis {
    /// By what was tried for `key`; where that is not known, by the values of `trials`.
    fn new(key: &Key, trials: &[&TrialRow]) -> Self {
        let ends = |name: &str| {
            let pair = key.space.get(name)?.as_array()?;
            Some((pair.first()?.as_f64()?, pair.get(1)?.as_f64()?, name.contains("log")))
        };
        let stretch = ["linear", "log", "int", "log_int"].into_iter().find_map(ends);
        if let Some((low, high, is_log)) = stretch.filter(|(low, high, is_log)| high > low && (!is_log || *low > 0.0)) {
            let marks = vec![(0.0, decimal(low, 3)), (1.0, decimal(high, 3))];
            return Self { scale: Scale::Numbers { low, high, is_log }, marks };
        }
        let mut values: Vec<String> = match key.space.get("choices").and_then(Json::as_array) {
            Some(choices) => choices.iter().map(shown).collect(),
            None => trials.iter().filter_map(|row| row.values.get(&key.path).map(shown)).collect(),
        };
        let mut seen = std::collections::BTreeSet::new();
        values.retain(|value| seen.insert(value.clone()));
        let scale = Scale::Choices(values.clone());
        let marks =
            values.iter().enumerate().map(|(place, value)| (place_of(place, values.len()), value.clone())).collect();
        Self { scale, marks }
    }

    fn share(&self, value: &Json) -> f64 {
        match &self.scale {
            Scale::Choices(values) => {
                let value = shown(value);
                place_of(values.iter().position(|choice| *choice == value).unwrap_or(0), values.len())
            }
            Scale::Numbers { low, high, is_log } => {
                let number = value.as_f64().unwrap_or(*low);
                let share = match is_log {
                    true => (number / low).ln() / (high / low).ln(),
                    false => (number - low) / (high - low),
                };
                share.clamp(0.0, 1.0)
            }
        }
    }
}

/// Where one of `count` choices is.
fn place_of(place: usize, count: usize) -> f64 {
    if count > 1 { place as f64 / (count - 1) as f64 } else { 0.5 }
}

/// What each trial had reached at the end of each rung.
fn course(page: &SweepPage) -> Option<Markup> {
    let result = page.result;
    if result.rungs.len() < 2 {
        return None;
    }
    let all = || page.reached.iter().map(|(.., accuracy)| *accuracy);
    let (low, high) = (all().reduce(f64::min)?, all().reduce(f64::max)?);
    let (first, last) = (*result.rungs.first()? as f64, *result.rungs.last()? as f64);
    let rows: Vec<&TrialRow> = result.trials.iter().collect();
    let (left, width) = (SIDE, spoken(&rows).max(560.0));
    // The rungs are multiples of each other: at equal distances by their logarithm.
    let x = |epochs: usize| left + (width - left - SIDE) * (epochs as f64 / first).ln() / (last / first).ln().max(1e-9);
    let span = if high > low { high - low } else { 1.0 };
    let y = |accuracy: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (accuracy - low) / span);
    let line = |row: &TrialRow| {
        let points = page.reached.iter().filter(|(trial, ..)| *trial == row.trial);
        points
            .map(|(_, epochs, accuracy)| format!("{},{}", round(x(*epochs)), round(y(*accuracy))))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let svg = html! {
        svg viewBox={ "0 0 " (width) " " (HEIGHT) } style="min-width:30rem;max-width:48rem" role="group" aria-label="Accuracy on the way" {
            @for epochs in &result.rungs {
                line.axis x1=(round(x(*epochs))) x2=(round(x(*epochs))) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                text x=(round(x(*epochs))) y=(HEIGHT - 6.0) text-anchor="middle" { "epoch " (epochs) }
            }
            @for accuracy in [low, high] { text x=(left - 4.0) y=(round(y(accuracy) + 3.5)) text-anchor="end" { (percent(accuracy)) } }
            @for row in result.trials.iter().rev() { (trial(result, row, &line(row), width)) }
        }
    };
    Some(html! {
        p.soft { "The mean validation accuracy of each trial where some were given up and others went on." }
        (scrolling("Accuracy on the way", &svg))
    })
}
