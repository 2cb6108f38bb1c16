//! The result in a sentence, and how the run ended.

use maud::{Markup, html};

use super::percent;
use crate::report::content::Report;
use crate::report::{duration, thousands};
use crate::run::Status;

pub(super) fn section(report: &Report) -> Markup {
    html! {
        @match &report.test {
            Some(test) => {
                @let figures = &test.evaluation;
                @let [low, high] = figures.accuracy_interval;
                p.lead {
                    "Of " (thousands(figures.images as u64)) " test images, none of which it learned from, the network named "
                    (thousands(figures.correct as u64)) " rightly: an accuracy of " strong { (percent(figures.accuracy)) }
                    ", with a 95 % Wilson interval of " (format!("{:.2} to {:.2} %", low * 100.0, high * 100.0)) "."
                }
                p.soft {
                    "Mean loss " (format!("{:.4}", figures.loss)) " nats, calibration error " (percent(figures.calibration_error))
                    @if let Some(best) = report.best_epoch { ", weights of epoch " (best) }
                    (trained(report)) "."
                }
            }
            None => p.lead { "There is no test result." },
        }
        p.soft { (ending(report)) }
        @for notice in &report.notices { p.warn { (notice) } }
        @for warning in &report.record.warnings { p.warn { (warning) } }
    }
}

/// ", trained in 3 min 5 s on flex".
fn trained(report: &Report) -> String {
    let seconds: f64 = report.epochs.iter().map(|epoch| epoch.seconds).sum();
    match report.epochs.len() {
        0 => String::new(),
        epochs => format!(", {epochs} epochs in {} on {}", duration(seconds), report.record.device),
    }
}

fn ending(report: &Report) -> String {
    let record = &report.record;
    let state = match record.status {
        Status::Running => "The run is in training, or was killed",
        Status::Done => "The run is done",
        Status::Interrupted => "The run was interrupted",
        Status::Failed => "The run failed",
    };
    let message = record.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
    let ended = record.ended.as_ref().map_or_else(String::new, |ended| format!(", ended {ended}"));
    format!("{state}{message}. Begun {}{ended}.", record.started)
}
