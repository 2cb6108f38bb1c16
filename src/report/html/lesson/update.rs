//! The update: one weight worked out, the filters before and after, and what it did to the loss.

use maud::{Markup, html};

use super::backward::legend;
use super::{bar, count, exact, nats, number, pictures, zoom_to};
use crate::Result;
use crate::report::lesson::{FilterChange, FollowedWeight, Lesson};
use crate::report::sheet::{Sheet, largest_of};
use crate::report::thousands;

/// Filters that are shown before and after.
const SHOWN: usize = 12;

pub(super) fn section(lesson: &Lesson) -> Result<Markup> {
    Ok(html! {
        p {
            "Now every parameter is moved against its gradient. How far, the " dfn { "learning rate" } " says. For this iteration it is "
            strong { (number(lesson.explanation.learning_rate)) } "."
            @if lesson.cut.accumulation > 1 {
                " (This config adds up the gradients of " (lesson.cut.accumulation) " batches before each update; here, to keep it simple, the \
                 update follows the first batch alone.)"
            }
        }
        @if let Some(weight) = &lesson.weight { (worked(lesson, weight)) }
        @if let Some(filters) = &lesson.filters { (before_and_after(filters)?) }
        (outcome(lesson))
    })
}

/// Where a weight is, in words: "filter 3, row 1, column 5". Counted from 1.
pub(super) fn place(lesson: &Lesson, weight: &FollowedWeight) -> String {
    let shape = lesson.shape;
    match weight.place[..] {
        [filter, channel, row, column] => {
            let channel = if shape.channels > 1 { format!("channel {}, ", channel + 1) } else { String::new() };
            format!("filter {}, {channel}row {}, column {}", filter + 1, row + 1, column + 1)
        }
        [input, output] if lesson.filters.is_some() => {
            let (plane, rest) = (shape.height * shape.width, input % (shape.height * shape.width));
            let channel = if shape.channels > 1 { format!("channel {}, ", input / plane + 1) } else { String::new() };
            let (row, column) = (rest / shape.width + 1, rest % shape.width + 1);
            format!("from the pixel in {channel}row {row}, column {column} to output {}", output + 1)
        }
        _ => format!("place {:?}", weight.place),
    }
}

/// One weight's update: the formula where it is the gradient's alone, and else what the optimizer made of it.
fn worked(lesson: &Lesson, weight: &FollowedWeight) -> Markup {
    let step = weight.learning_rate * weight.gradient;
    let change = weight.after - weight.before;
    html! {
        @if is_plain(weight) {
            p {
                "The rule of " (weight.rule) " in its first step is as simple as can be: new weight = weight − learning rate × gradient. For the weight \
                 from above:"
            }
            p.formula {
                (exact(weight.before)) " − " (exact(weight.learning_rate)) " × " (signed(weight.gradient)) " = "
                strong { (exact(weight.after)) }
            }
        } @else {
            p {
                "The simplest rule would be: new weight = weight − learning rate × gradient. It would change the weight from above by "
                (number(-step)) ". " (rule(&weight.rule)) " The weight went from"
            }
            p.formula {
                (exact(weight.before)) " to " strong { (exact(weight.after)) } ", a change of " (number(change)) (in_rates(weight, change))
            }
        }
        @if lesson.clipped.is_some() { p.soft { "The gradients were scaled down before (see above)." } }
    }
}

/// Whether the change is the learning rate times the gradient, but for rounding to 32 bits.
fn is_plain(weight: &FollowedWeight) -> bool {
    let expected = weight.before - weight.learning_rate * weight.gradient;
    let size = weight.before.abs().max(weight.after.abs()).max(f64::MIN_POSITIVE);
    (expected - weight.after).abs() <= 4.0 * f64::from(f32::EPSILON) * size && weight.after != weight.before
}

/// How long a step is beside the learning rate.
fn in_rates(weight: &FollowedWeight, change: f64) -> String {
    match (change / weight.learning_rate).abs() {
        ratio if !ratio.is_finite() => String::new(),
        ratio if (ratio - 1.0).abs() < 0.005 => ": as long as the learning rate".to_owned(),
        ratio => format!(": {} times the learning rate", number(ratio)),
    }
}

/// A number below 0 in brackets, as it stands after a multiplication sign.
fn signed(value: f64) -> String {
    if value < 0.0 { format!("({})", exact(value)) } else { exact(value) }
}

/// What an optimizer does with a gradient.
fn rule(name: &str) -> &'static str {
    match name {
        "SGD" => {
            "This config's SGD adds to it: momentum, which keeps a part of earlier steps, or weight decay, which draws every \
             weight a little towards 0."
        }
        "Adam" | "AdamW" => {
            "Adam divides each gradient by how large this parameter's gradients have been lately, so that every parameter takes steps of \
             about the same length. In the first step there is no past, so the step is about as long as the learning rate itself, \
             whatever the gradient's size; only its sign counts."
        }
        "Muon" => {
            "Muon takes the gradients of a whole matrix together and gives them the same strength in every direction \
             (it makes the matrix orthogonal), so that no few directions rule the step."
        }
        _ => "This config's optimizer does more with it.",
    }
}

fn before_and_after(filters: &FilterChange) -> Result<Markup> {
    let size = filters.form.size;
    let cut = |all: &[Vec<f32>]| all.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    let (before, after) = (cut(&filters.before), cut(&filters.after));
    let change: Vec<Vec<f32>> =
        before.iter().zip(&after).map(|(old, new)| old.iter().zip(new).map(|(old, new)| new - old).collect()).collect();
    let scale = largest_of(&before).max(largest_of(&after));
    let sheets = [
        ("filters-before", "Before the update", Sheet::of_filters(&before, size, Some(scale))?),
        ("filters-after", "After the update, in the same colours", Sheet::of_filters(&after, size, Some(scale))?),
        ("filters-change", "The change, its colours made stronger", Sheet::of_filters(&change, size, None)?),
    ];
    let times = scale / largest_of(&change).max(f32::MIN_POSITIVE);
    Ok(html! {
        p {
            "These are " (if before.len() < filters.form.count { format!("{} of the {}", before.len(), filters.form.count) } else { format!("all {}", before.len()) })
            " filters of the first layer" (legend(filters))
            @if times > 2.0 && times < 1e9 { " One update changes them only a little; in the last row the colours are " (number(f64::from(times).round())) " times as strong." }
        }
        div.three {
            @for (class, caption, sheet) in &sheets {
                @if let Some(sheet) = sheet {
                    (pictures(class, &html! { (caption) }, sheet, zoom_to(sheet, 50), |at| format!("filter {}", at + 1)))
                }
            }
        }
    })
}

/// The loss and the right answers of the same batch, before and after.
fn outcome(lesson: &Lesson) -> Markup {
    let [before, after] = lesson.explanation.loss_same_batch;
    let batch = lesson.inputs.len();
    let verb = if after < before {
        "fell"
    } else if after > before {
        "rose"
    } else {
        "stayed"
    };
    let largest = before.max(after);
    html! {
        p {
            "Did it help? The same batch, sent through once more, before the update and after it:"
        }
        table.outcome {
            thead { tr { th.name scope="col" { "the same batch" } th scope="col" { "loss" } td {} } }
            tbody {
                tr { th.name scope="row" { "before" } td { (nats(before)) } td { (bar(before / largest, "two")) } }
                tr { th.name scope="row" { "after" } td { (nats(after)) } td { (bar(after / largest, "one")) } }
            }
        }
        p {
            "The loss " (verb) " from " strong { (nats(before)) } " to " strong { (nats(after)) } ", and " (lesson.explanation.correct_after) " of the batch's "
            (count(batch, "picture")) " now come out right. That was one " dfn { "iteration" } ": forward propagation, loss, back propagation, update. \
             An epoch is " (thousands(lesson.cut.iterations_per_epoch as u64)) " of them."
        }
        p.soft { "Measured as the network is used, without dropout and label smoothing, which only training has." }
    }
}
