//! Back propagation: how the loss changes with each parameter.

use maud::{Markup, html};

use super::super::scrolling;
use super::{bar, count, number, pictures, zoom_to};
use crate::Result;
use crate::report::lesson::{FilterChange, Lesson};
use crate::report::sheet::Sheet;
use crate::report::thousands;

pub(super) fn section(lesson: &Lesson) -> Result<Markup> {
    Ok(html! {
        p {
            "Which of the numbers should change, and in which direction? " dfn { "Back propagation" } " goes from the loss back through every \
             layer to the input, and finds for each parameter how the loss changes when that parameter grows a little: its "
            dfn { "gradient" } ". A gradient above 0 means: make this number smaller, and the loss falls."
        }
        @if let Some(weight) = &lesson.weight {
            p {
                "Take the weight " code { (weight.tensor) } ", " (super::update::place(lesson, weight)) ", of all first-layer weights the one with the \
                 largest gradient. Its value is " strong { (number(weight.before)) } " and its gradient is " strong { (number(weight.gradient)) }
                ": if it grew by 0.001, the loss would "
                @if weight.gradient < 0.0 { "fall" } @else { "rise" }
                " by about " (number((weight.gradient * 0.001).abs())) "."
            }
        }
        (norms(lesson))
        @if let Some(clipped) = lesson.clipped {
            p {
                "All gradients together have a norm of " (number(clipped[0])) ", more than this config allows (" code { "train.clip_norm" }
                " = " (number(clipped[1])) "): before the update they are all scaled down by the same factor."
            }
        }
        @if let Some(filters) = &lesson.filters { (gradient(filters)?) }
    })
}

/// The gradient's norm of every parameter, from the last layer back to the first.
fn norms(lesson: &Lesson) -> Markup {
    let parameters = &lesson.explanation.parameters;
    let largest = parameters.iter().map(|parameter| parameter.gradient_norm).fold(f64::MIN_POSITIVE, f64::max);
    let table = html! {
        table.norms {
            caption { "From the last layer back to the first: the length (L2 norm) of each parameter's gradient." }
            thead { tr {
                th.name scope="col" { "parameter" } th scope="col" { "numbers" } th scope="col" { "gradient norm" } td {}
            } }
            tbody {
                @for parameter in parameters.iter().rev() {
                    tr {
                        th.name scope="row" { (parameter.name) }
                        td { (thousands(parameter.count as u64)) }
                        td { (number(parameter.gradient_norm)) }
                        td { (bar(parameter.gradient_norm / largest, "one")) }
                    }
                }
            }
        }
    };
    scrolling("Gradient norms", &table)
}

fn gradient(filters: &FilterChange) -> Result<Markup> {
    let Some(sheet) = Sheet::of_filters(&filters.gradient, filters.form.size, None)? else { return Ok(html! {}) };
    let shown = filters.gradient.len();
    let caption = html! {
        "The gradient of the first layer's "
        @if shown < filters.form.count { "first " (shown) " of " (filters.form.count) " filters" } @else { (count(shown, "filter")) }
        (legend(filters))
    };
    Ok(pictures("gradient", &caption, &sheet, zoom_to(&sheet, 50), |at| format!("gradient of filter {}", at + 1)))
}

/// What the colours of filters mean.
pub(super) fn legend(filters: &FilterChange) -> &'static str {
    match filters.form.size.0 {
        3 => ", as red, green and blue; grey is 0.",
        1 => ": blue is below 0, white is 0, red is above.",
        _ => ", the mean over their channels: blue is below 0, white is 0, red is above.",
    }
}
