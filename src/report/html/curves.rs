//! Loss, accuracy, learning rate and speed over the epochs.

use maud::{Markup, html};

use super::chart::{Chart, Line};
use super::{percent, scrolling};
use crate::report::content::Report;
use crate::report::thousands;
use crate::run::EpochMetrics;

pub(super) fn section(report: &Report) -> Option<Markup> {
    if report.epochs.is_empty() {
        return None;
    }
    let column = |of: fn(&EpochMetrics) -> Option<f64>| report.epochs.iter().map(of).collect::<Vec<_>>();
    let chart = |title, format, ceiling, lines: Vec<Line>| {
        let best = report.epochs.iter().position(|epoch| Some(epoch.epoch) == report.best_epoch);
        let lines = lines.into_iter().filter(|line| line.values.iter().any(Option::is_some)).collect();
        Chart {
            title,
            unit: "epoch",
            places: report.epochs.iter().map(|epoch| epoch.epoch.to_string()).collect(),
            mark: best.map(|place| (place, "best")),
            ceiling,
            points: 120,
            marker: false,
            lines,
            format,
        }
        .render()
    };
    let charts = [
        chart(
            "Loss, in nats",
            |value| format!("{value:.3}"),
            None,
            vec![
                Line { name: "training", values: column(|epoch| Some(epoch.train_loss)) },
                Line { name: "validation", values: column(|epoch| epoch.validation_loss) },
            ],
        ),
        chart(
            "Accuracy",
            |value| format!("{:.1} %", value * 100.0),
            Some(1.0),
            vec![
                Line { name: "training", values: column(|epoch| Some(epoch.train_accuracy)) },
                Line { name: "validation", values: column(|epoch| epoch.validation_accuracy) },
            ],
        ),
        chart(
            "Learning rate at the end of the epoch",
            |value| format!("{value:.1e}"),
            None,
            vec![Line { name: "rate", values: column(|epoch| Some(epoch.learning_rate)) }],
        ),
        chart(
            "Training images per second",
            |value| thousands(value.max(0.0) as u64),
            None,
            vec![Line { name: "images/s", values: column(|epoch| Some(epoch.images_per_second)) }],
        ),
    ];
    Some(html! {
        p.soft {
            "Training is measured while the weights still change and on distorted images, validation after the epoch on images as they are."
        }
        div.grid { @for chart in charts.iter().flatten() { (chart) } }
        details { summary { "All values" } (scrolling("All values", &table(report))) }
    })
}

fn table(report: &Report) -> Markup {
    let optional = |value: Option<f64>, format: fn(f64) -> String| value.map_or_else(|| "-".to_owned(), format);
    html! {
        table {
            thead { tr {
                @for head in ["epoch", "iteration", "learning rate", "train loss", "train acc.", "valid. loss", "valid. acc.", "images/s"] {
                    th scope="col" { (head) }
                }
            } }
            tbody {
                @for epoch in &report.epochs {
                    tr {
                        td { (epoch.epoch) @if report.best_epoch == Some(epoch.epoch) { " " span.tag { "best" } } }
                        td { (thousands(epoch.iteration as u64)) }
                        td { (format!("{:.3e}", epoch.learning_rate)) }
                        td { (format!("{:.4}", epoch.train_loss)) }
                        td { (percent(epoch.train_accuracy)) }
                        td { (optional(epoch.validation_loss, |value| format!("{value:.4}"))) }
                        td { (optional(epoch.validation_accuracy, percent)) }
                        td { (thousands(epoch.images_per_second as u64)) }
                    }
                }
            }
        }
    }
}
