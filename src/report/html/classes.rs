//! How each class fared, with bars and intervals.

use maud::{Markup, html};

use super::{percent, scrolling};
use crate::report::content::Report;
use crate::report::thousands;

pub(super) fn section(report: &Report) -> Option<Markup> {
    let test = report.test.as_ref()?;
    let table = html! {
        table {
            thead { tr {
                th.name scope="col" { "class" }
                th scope="col" { "images" } th scope="col" { "recall" } th scope="col" { "95 % interval" }
                th scope="col" { "" } th scope="col" { "precision" } th scope="col" { "F1" }
            } }
            tbody {
                @for (metrics, [low, high]) in test.evaluation.classes.iter().zip(&test.recall_intervals) {
                    tr {
                        th.name scope="row" title=(metrics.class) { span.clip { (metrics.class) } }
                        td { (thousands(metrics.images as u64)) }
                        td { (percent(metrics.recall)) }
                        td { (format!("{:.2} to {:.2}", low * 100.0, high * 100.0)) }
                        td {
                            span.bar aria-hidden="true" {
                                b style={ "width:" (percentage(metrics.recall)) } {}
                                u style={ "left:" (percentage(*low)) ";right:" (percentage(1.0 - high)) } {}
                            }
                        }
                        td { (percent(metrics.precision)) }
                        td { (percent(metrics.f1)) }
                    }
                }
            }
        }
    };
    Some(html! {
        p.soft {
            "Recall: of the images with this label, the share answered so; the bar shows it with its 95 % Wilson interval. \
             Precision: of the answers for this class, the share that is right."
        }
        (scrolling("Classes", &table))
    })
}

/// A share as a width in CSS.
pub(super) fn percentage(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}
