//! The result in a sentence, and how the run ended.

use maud::{Markup, html};

use super::percent;
use crate::eval::wilson;
use crate::report::content::Report;
use crate::report::{balanced, duration, thousands};
use crate::run::Status;

pub(super) fn section(report: &Report) -> Markup {
    html! {
        @match measured(report) {
            Some((correct, images)) => {
                @let [low, high] = wilson(correct, images);
                p.lead {
                    "Of " (thousands(images as u64)) " test images, none of which it learned from, the network named "
                    (thousands(correct as u64)) " rightly: an accuracy of " strong { (percent(correct as f64 / images.max(1) as f64)) }
                    ", with a 95\u{a0}% Wilson interval of " (format!("{:.2} to {:.2}\u{a0}%", low * 100.0, high * 100.0)) "."
                }
            }
            None => p.lead { "There is no test result." },
        }
        @if let Some(test) = &report.test {
            p.soft {
                "Mean loss " (format!("{:.4}", test.evaluation.loss)) " nats (\u{2212}ln of the label's probability: 0 is certain and right), \
                 calibration error " (percent(test.evaluation.calibration_error)) " (how far probabilities are from the share that is right)"
                @if test.evaluation.is_unequal() { ", " (balanced(&test.evaluation)) }
                @if let Some(best) = report.best_epoch { ", weights of epoch " (best) }
                (trained(report)) "."
            }
        }
        p.soft { (ending(report)) }
        @for notice in &report.notices { p.warn { (notice) } }
        @for finding in findings(report) { p.warn { (finding) } }
        @for warning in &report.record.warnings { p.warn { (warning) } }
    }
}

/// What the finished run's figures say went wrong.
fn findings(report: &Report) -> impl Iterator<Item = &str> {
    let recorded = report.record.result.as_ref().and_then(|result| result.get("findings")?.as_array());
    recorded.into_iter().flatten().filter_map(|finding| finding.as_str())
}

/// Right answers and test images: as measured for this report, else as the run recorded them.
fn measured(report: &Report) -> Option<(usize, usize)> {
    if let Some(test) = &report.test {
        return Some((test.evaluation.correct, test.evaluation.images));
    }
    let recorded = |key: &str| usize::try_from(report.record.result.as_ref()?.get(key)?.as_u64()?).ok();
    Some((recorded("test_correct")?, recorded("test_total")?))
}

/// ", 16 epochs in 3 min 5 s on flex".
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
