//! The wrong answers with the highest loss.

use maud::{Markup, html};

use super::classes::percentage;
use super::{name, percent, picture, sheet_style};
use crate::report::content::{Report, Worst};

pub(super) fn section(report: &Report) -> Option<Markup> {
    let test = report.test.as_ref()?;
    let Some(sheet) = &test.worst_pictures else { return Some(html! { p { "Every answer is right." } }) };
    let wrong = test.evaluation.images - test.evaluation.correct;
    Some(html! {
        p.soft { "The " (test.worst.len()) " wrong answers with the highest loss, of " (wrong) " in all." }
        (sheet_style("worst", sheet))
        ul.cards.worst {
            @for (place, worst) in test.worst.iter().enumerate() {
                li {
                    (picture(sheet, place, &format!("test image {}", worst.index)))
                    div {
                        span.clip title=(name(report, worst.label)) { "label " strong { (name(report, worst.label)) } }
                        span.clip title=(name(report, worst.answer)) { "answer " strong { (name(report, worst.answer)) } }
                        span.soft { "image " (worst.index) ", loss " (format!("{:.2}", worst.loss)) }
                    }
                    (odds(report, worst))
                }
            }
        }
    })
}

fn odds(report: &Report, worst: &Worst) -> Markup {
    html! {
        ul.odds {
            @for (class, probability) in &worst.probabilities {
                li {
                    span.clip title=(name(report, *class)) { (name(report, *class)) }
                    span.bar aria-hidden="true" { b style={ "width:" (percentage(*probability)) } {} }
                    span { (percent(*probability)) }
                }
            }
        }
    }
}
