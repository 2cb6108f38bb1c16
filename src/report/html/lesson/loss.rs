//! The loss: of one image worked out, of every image of the batch as a bar, and the mean.

use maud::{Markup, html};

use super::super::{picture, zoomed_style};
use super::batch::SHOWN;
use super::{bar, count, exact, nats, number, probability, zoom_to};
use crate::Result;
use crate::report::PredictionRow;
use crate::report::lesson::Lesson;
use crate::report::sheet::{Picture, Sheet};
use crate::report::thousands;

pub(super) fn section(lesson: &Lesson) -> Result<Markup> {
    let classes = lesson.classes.len() as f64;
    Ok(html! {
        p {
            "How wrong is the prediction? The " dfn { "loss" } " says it in one number: " dfn { "cross-entropy" } ", −ln of the probability that \
             the network gave to the label. A network that is sure and right has a loss of 0. Guessing evenly among "
            (count(lesson.classes.len(), "class")) " gives ln(" (lesson.classes.len()) ") = " (nats(classes.ln()))
            ". To be sure and wrong costs most."
        }
        @if let Some(row) = lesson.explanation.predictions.first() { (worked(lesson, row)) }
        (bars(lesson)?)
        (mean(lesson))
    })
}

/// The first image's loss, worked out.
fn worked(lesson: &Lesson, row: &PredictionRow) -> Markup {
    html! {
        p.formula {
            "First picture, label " strong.name { (lesson.class(row.label)) } ": p = " (exact(row.label_probability)) ", so its loss is −ln("
            (exact(row.label_probability)) ") = " strong { (nats(row.loss())) }
        }
    }
}

/// Picture, label, probability and loss of every image.
fn bars(lesson: &Lesson) -> Result<Markup> {
    let rows = &lesson.explanation.predictions;
    let all: Vec<Picture> =
        lesson.inputs.iter().take(SHOWN).map(|pixels| Picture::of_image(pixels, lesson.shape).shrunk(28)).collect();
    let Some(sheet) = Sheet::new(&all)? else { return Ok(html! {}) };
    let highest =
        rows.iter().map(PredictionRow::loss).filter(|loss| loss.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    Ok(html! {
        (zoomed_style("small", &sheet, zoom_to(&sheet, 28)))
        figure {
            figcaption {
                "The loss of "
                @if rows.len() > SHOWN { "the first " (SHOWN) " of " (count(rows.len(), "picture")) } @else { "each of the " (count(rows.len(), "picture")) }
                ": the label, its probability, and −ln of it as a bar."
            }
            ol.losses.small {
                @for (place, row) in rows.iter().take(SHOWN).enumerate() {
                    li {
                        (picture(&sheet, place, &format!("picture {}", place + 1)))
                        span.text {
                            span.clip.name title=(lesson.class(row.label)) { (lesson.class(row.label)) }
                            span.soft { (probability(row.label_probability)) }
                            span.value { @if row.loss().is_finite() { (format!("{:.2}", row.loss())) } @else { "∞" } }
                        }
                        (bar(row.loss() / highest, if row.predicted == row.label { "one" } else { "two" }))
                    }
                }
            }
            p.soft { "Blue bars belong to pictures that came out right, red ones to those that did not." }
        }
    })
}

fn mean(lesson: &Lesson) -> Markup {
    let (plain, loss) = (lesson.mean_loss(), lesson.explanation.loss_before);
    let sum: f64 = lesson.explanation.predictions.iter().map(PredictionRow::loss).sum();
    html! {
        p.formula {
            "The loss of the batch is their mean: " (format!("{sum:.2}")) " / " (thousands(lesson.explanation.predictions.len() as u64)) " = "
            strong { (nats(plain)) }
        }
        @if lesson.label_smoothing > 0.0 {
            p {
                "This config smooths its labels: the target is not 100 % for the label, but " (number(100.0 - 100.0 * lesson.label_smoothing))
                " %, and the rest is spread over all classes, so that the network does not strive to be surer than it can be. With that, the \
                 loss that it learns from is " strong { (nats(loss)) } "."
            }
        }
        p { "This one number is all that training looks at. Everything that follows is about making it smaller." }
    }
}
