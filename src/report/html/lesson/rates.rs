//! Three learning rates beside each other. What became of each is said in words that follow from its losses, whatever
//! they are.

use maud::{Markup, html};

use super::super::chart::{Chart, Line};
use super::{count, nats, number, probability};
use crate::report::lesson::{Lesson, RateRun};

/// Losses at the end whose mean is where a run ended, since single batches differ.
const END: usize = 10;

/// A chart ends at this many times the loss that the runs began with.
const CEILING: f64 = 1.5;

pub(super) fn section(lesson: &Lesson) -> Option<Markup> {
    let longest = lesson.runs.iter().map(|run| run.losses.len()).max().filter(|longest| *longest > 0)?;
    let start = lesson.own_run()?.losses.first().copied()?;
    let names: Vec<String> = lesson.runs.iter().map(|run| number(run.learning_rate)).collect();
    let lines = lesson
        .runs
        .iter()
        .zip(&names)
        .map(|(run, name)| Line { name, values: (0..longest).map(|place| run.losses.get(place).copied()).collect() });
    let ceiling = start * CEILING;
    let leaves = lesson.runs.iter().any(|run| run.losses.iter().any(|loss| *loss > ceiling));
    let chart = Chart {
        title: "Loss of each iteration's batch, at three learning rates",
        unit: "iteration",
        places: (1..=longest).map(|iteration| iteration.to_string()).collect(),
        mark: None,
        ceiling: Some(ceiling),
        points: 25,
        marker: false,
        lines: lines.collect(),
        format: |value| if value < 1000.0 { format!("{value:.2}") } else { format!("{value:.1e}") },
    };
    Some(html! {
        p {
            "The learning rate is the one number that decides most. Here is the same network three times: the same weights to begin with, the \
             same batches in the same order, only the learning rate differs. It is the same in every iteration"
            @if lesson.explanation.learning_rate != lesson.own_run()?.learning_rate {
                "; a whole run with this config would let it rise and fall as its schedule says"
            }
            "."
        }
        div.beside {
            div {
                (chart.render()?)
                @if leaves { p.soft { "The chart ends near " (number(ceiling)) ": a line at its top is higher than that." } }
            }
            (verdicts(lesson))
        }
    })
}

/// What became of each run, in words.
fn verdicts(lesson: &Lesson) -> Markup {
    html! {
        ul.verdicts {
            @for (place, run) in lesson.runs.iter().enumerate() {
                li.card.{ "rate-" (place) } {
                    h3 { (heading(run)) }
                    p { strong { (verdict(lesson, run)) ": " } (story(run, lesson.classes.len())) }
                    @if let Some(accuracy) = run.accuracy {
                        p.soft { (probability(accuracy)) " of " (count(lesson.held_out.images, &format!("{} image", lesson.held_out.part))) " right in the end." }
                    }
                }
            }
        }
    }
}

fn heading(run: &RateRun) -> String {
    let rate = number(run.learning_rate);
    match run.factor {
        1.0 => format!("{rate}, the config's own"),
        factor if factor < 1.0 => format!("{rate}, the config's / {}", number(1.0 / factor)),
        factor => format!("{rate}, the config's × {}", number(factor)),
    }
}

/// The mean of a run's last losses.
fn end(run: &RateRun) -> f64 {
    let last = &run.losses[run.losses.len().saturating_sub(END)..];
    last.iter().sum::<f64>() / last.len().max(1) as f64
}

/// Whether the rate was right, by comparison with the config's own.
fn verdict(lesson: &Lesson, run: &RateRun) -> &'static str {
    let own = lesson.own_run().map_or(f64::NAN, end);
    let is_worse = run.diverged_at.is_some() || end(run) > own * 1.05;
    match run.factor {
        _ if run.factor == 1.0 => {
            let others = lesson.runs.iter().filter(|other| other.factor != 1.0 && other.diverged_at.is_none());
            let is_best = run.diverged_at.is_none() && others.into_iter().all(|other| end(other) > own);
            if is_best { "Right" } else { "Not the best of the three here" }
        }
        factor if factor < 1.0 && is_worse => "Too small",
        factor if factor > 1.0 && is_worse => "Too large",
        _ => "As good as the config's own here, or better",
    }
}

/// What the losses did.
fn story(run: &RateRun, classes: usize) -> String {
    let Some(&start) = run.losses.first() else { return "its very first loss was no number.".to_owned() };
    if let Some(iteration) = run.diverged_at {
        let last = run.losses.last().copied().unwrap_or(start);
        return format!(
            "the loss went from {} to {}, and in iteration {iteration} it was no number any more. The steps were so long that each \
             landed farther from the goal than the last, until the weights left the numbers that a computer can hold.",
            nats(start),
            number(last)
        );
    }
    let (end, guess) = (end(run), (classes as f64).ln());
    let peak = run
        .losses
        .iter()
        .copied()
        .enumerate()
        .fold((0, start), |best, found| if found.1 > best.1 { found } else { best });
    let done = count(run.losses.len(), "iteration");
    let (from, to) = (nats(start), nats(end));
    let mut story = if peak.1 > 2.0 * start {
        format!(
            "the loss shot up from {from} to {} in iteration {}. After {done} it was {to}",
            number(peak.1),
            peak.0 + 1
        )
    } else {
        match end / start {
            ratio if ratio < 0.9 => format!("the loss fell from {from} to {to} in {done}"),
            ratio if ratio <= 1.1 => format!("the loss barely moved: {from} at the start, {to} after {done}"),
            _ => format!(
                "the loss ended higher than it began: from {from} to {to} in {done}. Each step overshot what the gradient promised"
            ),
        }
    };
    if (end / guess - 1.0).abs() < 0.02 {
        story += &format!(", no better than guessing evenly ({})", nats(guess));
    }
    story + "."
}
