//! Forward propagation: one picture on its way through the layers, to logits and probabilities.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{bar, count, number, pictures, probability, zoom_to};
use crate::Result;
use crate::logits::{argmax, probabilities};
use crate::report::lesson::Lesson;
use crate::report::sheet::{LARGEST_SIDE, Picture, Sheet};
use crate::report::thousands;

/// Channels of a layer that are shown, and the pixels of all of them together: deep networks show fewer of each.
const CHANNELS: usize = 16;
const PIXELS: usize = 700_000;

/// Classes whose probability is shown.
const CLASSES: usize = 12;

pub(super) fn section(lesson: &Lesson) -> Result<Markup> {
    let mut inputs = vec![lesson.shape.channels, lesson.shape.height, lesson.shape.width];
    let (mut cards, mut said) = (Vec::new(), BTreeSet::new());
    for (place, output) in lesson.outputs.iter().enumerate() {
        let words = lesson.layer(&output.name);
        let does = words.map(|words| sentences(&words.description, &inputs, &output.shape, &mut said));
        cards.push(layer(lesson, place, &inputs, does)?);
        inputs.clone_from(&output.shape);
    }
    Ok(html! {
        p {
            dfn { "Forward propagation" } " takes the batch from the input through the layers to the output. Each layer computes its output \
             from its input and from its own numbers, its " dfn { "parameters" } " (weights and biases). All "
            (count(lesson.inputs.len(), "picture")) " of the batch go through together; here is the first of them."
        }
        div.flow {
            div.card.layer { (image(lesson)?) }
            @for card in &cards { (card) }
            div.card.layer { (answer(lesson)) }
        }
    })
}

fn image(lesson: &Lesson) -> Result<Markup> {
    let Some(pixels) = lesson.inputs.first() else { return Ok(html! {}) };
    let sheet = Sheet::new(&[Picture::of_image(pixels, lesson.shape).shrunk(LARGEST_SIDE)])?;
    let label = lesson.explanation.predictions.first().map_or("", |row| lesson.class(row.label));
    Ok(html! {
        h3 { "The picture" }
        p {
            "Its label is " strong.name { (label) } ". For the network it is " (thousands(lesson.shape.len() as u64)) " numbers: "
            (dimensions(&[lesson.shape.channels, lesson.shape.height, lesson.shape.width])) ". Each pixel, 0 to 255, became a number round 0, \
             so that the training set as a whole has mean 0 and standard deviation 1."
        }
        @if let Some(sheet) = sheet { (pictures("input", &html! {}, &sheet, zoom_to(&sheet, 112), |_| "the picture".into())) }
    })
}

/// The layer in this place; `does` says what it does, and `inputs` is the shape of what it gets.
fn layer(lesson: &Lesson, place: usize, inputs: &[usize], does: Option<String>) -> Result<Markup> {
    let output = &lesson.outputs[place];
    let words = lesson.layer(&output.name);
    let channels = (PIXELS / (lesson.outputs.len() * LARGEST_SIDE * LARGEST_SIDE)).clamp(4, CHANNELS);
    let sheet = Sheet::of_layer(output, channels)?;
    let is_image = output.shape.len() == 3;
    let zeros = output.values.iter().filter(|value| **value == 0.0).count();
    let low = output.values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = output.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let caption = html! {
        @if is_image { (output.shape[0].min(channels)) " of " (count(output.shape[0], "channel")) ", " }
        @else { (count(output.values.len(), "number")) @if output.values.len() > 32 { " in rows of 32" } ", " }
        "from " (number(f64::from(low))) " (dark) to " (number(f64::from(high))) " (bright)"
        @if zeros > 0 { "; " (thousands(zeros as u64)) " of " (thousands(output.values.len() as u64)) " are 0" }
        "."
    };
    Ok(html! {
        div.card.layer {
            h3 { (output.name) @if let Some(words) = words { span.soft { ": " (words.description) } } }
            ul.chips {
                li { (dimensions(inputs)) " → " strong { (dimensions(&output.shape)) } }
                @if let Some(words) = words { li { (count(words.parameters, "parameter")) } }
            }
            @if let Some(does) = does { p { (does) } }
            @if let Some(sheet) = sheet {
                (pictures(&format!("layer-{place}"), &caption, &sheet, zoom_to(&sheet, if is_image { 50 } else { 256 }), |at| {
                    if is_image { format!("channel {}", at + 1) } else { "the numbers".into() }
                }))
            }
        }
    })
}

/// "24 x 12 x 12" as people say it: "24 channels of 12 x 12".
fn dimensions(shape: &[usize]) -> String {
    match shape {
        [channels, height, width] => format!("{} of {height} x {width}", count(*channels, "channel")),
        [features] => count(*features, "number"),
        other => format!("{other:?}"),
    }
}

/// What a layer does, in sentences: from its description, a part after the other. What an earlier layer has done, as
/// `said`, is only named.
fn sentences(description: &str, inputs: &[usize], output: &[usize], said: &mut BTreeSet<String>) -> String {
    let mut text = Vec::new();
    let mut again = Vec::new();
    for part in description.split(", ") {
        let kind = part.split(' ').next().unwrap_or(part);
        // A sum has other numbers in every layer.
        if said.insert(kind.to_owned()) || kind == "fully" {
            text.push(sentence(kind, part, inputs, output));
        } else if kind == "conv" {
            text.push("Its filters look for patterns among the channels of the layer before.".to_owned());
        } else {
            again.push(part.trim_start_matches("residual: "));
        }
    }
    match text.is_empty() {
        true => text.push("The same steps as before, with weights of its own.".to_owned()),
        false if again.is_empty() => {}
        false => text.push(format!("Then as before: {}.", again.join(", "))),
    }
    text.join(" ")
}

fn sentence(kind: &str, part: &str, inputs: &[usize], output: &[usize]) -> String {
    let fixed = match kind {
        "conv" => {
            let size = part.split(' ').nth(1).unwrap_or("small");
            return format!(
                "Each of its filters is a small pattern of {size} weights for every input channel (a kernel). It slides over the \
                 picture, multiplies what lies beneath by its weights and adds up, so its output says where the pattern was found."
            );
        }
        "fully" => {
            return format!(
                "Each of its {} is a sum over all {} inputs, each times a weight of its own, plus a bias.",
                count(output.first().copied().unwrap_or(0), "output"),
                thousands(inputs.iter().product::<usize>() as u64)
            );
        }
        "batch" => {
            "Batch norm brings each channel to mean 0 and standard deviation 1 over the batch, then scales and shifts it by two \
             learned numbers."
        }
        "ReLU" => "ReLU sets what is below 0 to 0; without such a bend, many layers could do no more than one.",
        "max-pool" => "Max-pooling keeps the largest of every 2 x 2 numbers: half the height, half the width.",
        "mean" => "Of each channel it keeps one number, the mean over its height and width.",
        "residual:" => {
            "Two convolutions compute a correction, which is added to the layer's own input (a residual): what the layer need not \
             change passes through."
        }
        "projected" => "A convolution of 1 x 1 brings the input to the size of the output first.",
        _ => return format!("It also does this: {part}."),
    };
    fixed.to_owned()
}

/// From the last layer's numbers to the prediction.
fn answer(lesson: &Lesson) -> Markup {
    let logits = &lesson.logits;
    let found = probabilities(logits);
    let row = lesson.explanation.predictions.first();
    let label = row.map_or(0, |row| row.label);
    let mut shown: Vec<usize> = (0..logits.len()).collect();
    if shown.len() > CLASSES {
        shown.sort_by(|a, b| found[*b].total_cmp(&found[*a]));
        shown.truncate(CLASSES - 1);
        if !shown.contains(&label) {
            shown.push(label);
        }
        shown.sort_unstable();
    }
    let guess = 1.0 / logits.len().max(1) as f64;
    let best = argmax(logits);
    html! {
        h3 { "The prediction" }
        p {
            "The last layer's " (count(logits.len(), "number")) ", one per class, are the " dfn { "logits" } ". Softmax turns them into "
            dfn { "probabilities" } ": e to the power of each logit, divided by the sum of all of these. So all are above 0, and together they \
             are 100 %."
        }
        table.answers {
            thead { tr { th.name scope="col" { "class" } th scope="col" { "logit" } th scope="col" { "probability" } td {} } }
            tbody {
                @for class in &shown {
                    tr.label[*class == label] {
                        th.name scope="row" { span.clip title=(lesson.class(*class)) { (lesson.class(*class)) } }
                        td { (format!("{:.3}", logits[*class]).replace('-', "\u{2212}")) }
                        td { (probability(found[*class])) }
                        td { (bar(found[*class], if *class == label { "one" } else { "" })) }
                    }
                }
            }
        }
        @if shown.len() < logits.len() { p.soft { "The other " (thousands((logits.len() - shown.len()) as u64)) " are left out." } }
        p {
            "The network finds " strong.name { (lesson.class(best)) } " the most likely, with " (probability(found[best])) ". "
            @if best == label { "That is right. " } @else { "That is wrong: the label is " strong.name { (lesson.class(label)) } ". " }
            "It has learned nothing yet, so only chance decides. Of the batch's " (count(lesson.inputs.len(), "picture")) ", "
            (thousands(lesson.explanation.correct_before as u64)) " came out right; guessing would give about "
            (number((guess * lesson.inputs.len() as f64).round())) "."
        }
    }
}
