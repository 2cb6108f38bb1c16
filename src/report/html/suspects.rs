//! Labels that look wrong.

use maud::{Markup, html};

use super::{name, picture, sheet_style};
use crate::report::content::{Report, Test};

pub(super) fn section(report: &Report) -> Option<Markup> {
    let test = report.test.as_ref()?;
    let Some(sheet) = &test.suspect_pictures else {
        return Some(html! { p { "None: no answer contradicts a label." } });
    };
    let confident = test.suspects.iter().filter(|suspect| suspect.confident).count();
    Some(html! {
        p.soft {
            "Test images, which the network did not learn from, that are seen as another class than their label, also when they are \
             distorted as in training, or lie among training images of another class. " (confident) " of these " (test.suspects.len())
            " contradict their label with at least the confidence that is usual for the other class (confident learning: Northcutt, \
             Jiang and Chuang, 2021). A network can be wrong and a label right: look before you change one."
        }
        @if !test.known_label_errors.is_empty() { (known(test)) }
        (sheet_style("suspect", sheet))
        ul.cards.suspect {
            @for (place, suspect) in test.suspects.iter().enumerate() {
                li {
                    (picture(sheet, place, &format!("test image {}", suspect.index)))
                    div {
                        span.clip title=(name(report, suspect.label)) { "label " strong { (name(report, suspect.label)) } }
                        span.clip title=(name(report, suspect.suggested)) { "looks like " strong { (name(report, suspect.suggested)) } }
                        span.soft { "image " (suspect.index) ", margin " (format!("{:.2}", suspect.margin)) ", of neighbours " (format!("{:.1}", suspect.neighbour_margin)) }
                        @if suspect.known { " " span.tag { "known" } }
                    }
                }
            }
        }
    })
}

fn known(test: &Test) -> Markup {
    let found = test.suspects.iter().filter(|suspect| suspect.known).count();
    let all = test.known_label_errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    html! {
        p {
            "Of the " (test.known_label_errors.len()) " labels of MNIST's test set that most people asked did not agree with \
             (Northcutt, Athalye and Mueller, 2021: images " (all) "), " strong { (found) } " are in this list."
        }
    }
}
