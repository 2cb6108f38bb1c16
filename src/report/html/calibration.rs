//! The reliability diagram: whether the network is right as often as it says.

use maud::{Markup, html};

use super::chart::round;
use super::percent;
use crate::eval::CalibrationBin;
use crate::report::content::Report;
use crate::report::thousands;

/// The square that the diagram is drawn in, and the margins round it.
const SIDE: f64 = 240.0;
const MARGIN: f64 = 34.0;
const TOP: f64 = 20.0;

pub(super) fn section(report: &Report) -> Option<Markup> {
    let test = report.test.as_ref()?;
    Some(html! {
        p {
            "Expected calibration error: " strong { (percent(test.evaluation.calibration_error)) }
            @if let Some(before) = test.evaluation.uncalibrated {
                ", with the temperature that was fitted on the validation images; without it " (percent(before.calibration_error))
            }
            ". Answers given with 90 % confidence should be right 9 times in 10: bars should end on the line. The mean distance, \
             weighted by images, is the error (15 bins; Guo et al., 2017)."
        }
        div.grid { (diagram(&test.calibration)) }
    })
}

fn diagram(bins: &[CalibrationBin]) -> Markup {
    let x = |share: f64| round(MARGIN + share * SIDE);
    let y = |share: f64| round(TOP + (1.0 - share) * SIDE);
    html! {
        figure.card {
            figcaption { "Accuracy by confidence" }
            svg viewBox={ "0 0 " (MARGIN + SIDE + 16.0) " " (TOP + SIDE + 20.0) } role="group" aria-label="Reliability diagram" {
                @for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
                    line.axis x1=(x(0.0)) x2=(x(1.0)) y1=(y(tick)) y2=(y(tick)) {}
                    text x=(x(0.0) - 4.0) y=(y(tick) + 3.5) text-anchor="end" { (tick * 100.0) }
                    text x=(x(tick)) y=(y(0.0) + 14.0) text-anchor="middle" { (tick * 100.0) }
                }
                @for bin in bins.iter().filter(|bin| bin.images > 0) {
                    rect.fill.one x=(x(bin.from) + 1.0) width=(round((bin.to - bin.from) * SIDE - 2.0))
                        y=(y(bin.accuracy)) height=(round(bin.accuracy * SIDE)) {}
                }
                line.ideal x1=(x(0.0)) y1=(y(0.0)) x2=(x(1.0)) y2=(y(1.0)) {}
                @for bin in bins.iter().filter(|bin| bin.images > 0) { (hit(bin, x(bin.from))) }
            }
        }
    }
}

fn hit(bin: &CalibrationBin, x: f64) -> Markup {
    let says = format!(
        "confidence {:.1} %, right {:.1} %, {} images",
        bin.confidence * 100.0,
        bin.accuracy * 100.0,
        thousands(bin.images as u64)
    );
    html! {
        g.hit tabindex="0" role="img" aria-label=(says) {
            rect x=(x) y=(TOP) width=(round((bin.to - bin.from) * SIDE)) height=(SIDE) {}
            g.tip { text x=(MARGIN) y="12" { (says) } }
        }
    }
}
