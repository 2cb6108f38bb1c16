//! A short run from moment to moment, under a slider.

use maud::{Markup, html};
use serde_json::json;

use super::super::chart::{Chart, Line, round};
use super::super::{picture, zoomed_style};
use super::backward::legend;
use super::{bar, count, nats, number, probability, zoom_to};
use crate::Result;
use crate::report::lesson::{Frame, Lesson, RateRun};
use crate::report::sheet::{LARGEST_SIDE, Picture, Sheet, largest_of};

/// The longest side of a filter in a frame, in its own pixels.
const FILTER_SIDE: usize = 32;

/// Moments in the table that stands for the slider where there is no script.
const MOMENTS: usize = 6;

pub(super) fn section(lesson: &Lesson) -> Result<Option<Markup>> {
    let (Some(run), Some(last)) = (lesson.own_run(), lesson.frames.last()) else { return Ok(None) };
    Ok(Some(html! {
        p {
            "One update does little. Here are " strong { (count(run.losses.len(), "iteration")) } " in a row, every one with the next batch, at the \
             constant learning rate " (number(run.learning_rate)) ". Move the slider, and watch the network learn."
        }
        @if let Some(diverged) = run.diverged_at {
            p.warn { "In iteration " (diverged) " the loss was no number any more: this learning rate is too large for this network, and the run ended there." }
        }
        div #player.card data-frames=(frames(lesson, run)) data-labels=(labels(lesson)) {
            (controls(lesson, last))
            div.film {
                (watched(lesson, last)?)
                div.right-side {
                    (filters(lesson)?)
                    (curve(run))
                }
            }
        }
        (moments(lesson))
        p.soft {
            "Right answers and loss are measured on " (count(lesson.held_out.images, &format!("{} image", lesson.held_out.part)))
            " that this run never learned from: what counts is what the network makes of pictures that it has not seen."
        }
    }))
}

/// What the script puts into the page, frame by frame.
fn frames(lesson: &Lesson, run: &RateRun) -> String {
    let [first, last] = Chart::ENDS;
    let frame = |frame: &Frame| {
        let share = frame.iteration.saturating_sub(1) as f64 / run.losses.len().saturating_sub(1).max(1) as f64;
        let answers = frame.answers.iter();
        json!({
            "moment": moment(frame),
            "told": told(frame),
            "x": round(first + (last - first) * share),
            "classes": answers.clone().map(|answer| answer.class).collect::<Vec<_>>(),
            "shares": answers.clone().map(|answer| round(answer.label_probability * 100.0)).collect::<Vec<_>>(),
            "says": answers.map(|answer| probability(answer.label_probability)).collect::<Vec<_>>(),
        })
    };
    json!(lesson.frames.iter().map(frame).collect::<Vec<_>>()).to_string()
}

/// The names of all classes, for the script.
fn labels(lesson: &Lesson) -> String {
    json!(lesson.classes).to_string()
}

fn moment(frame: &Frame) -> String {
    match frame.iteration {
        0 => "before the first iteration".to_owned(),
        iteration => format!("after {}", count(iteration, "iteration")),
    }
}

fn told(frame: &Frame) -> String {
    format!("{} right, loss {}", probability(frame.accuracy), nats(frame.loss))
}

/// The slider, which needs the script and is hidden without it, and the moment that is shown.
fn controls(lesson: &Lesson, shown: &Frame) -> Markup {
    let last = lesson.frames.len() - 1;
    html! {
        p.moment { strong #moment { (moment(shown)) } ": " span #told { (told(shown)) } }
        div.controls hidden {
            button #play type="button" { "Play" }
            input #slider type="range" min="0" max=(last) value=(last) step="1" aria-label="Moment of the run"
                aria-valuetext={ (moment(shown)) ": " (told(shown)) };
        }
    }
}

/// The watched images with the answers of the last frame.
fn watched(lesson: &Lesson, shown: &Frame) -> Result<Markup> {
    let watched = &lesson.held_out.watched;
    let all: Vec<Picture> =
        watched.iter().map(|watched| Picture::of_image(&watched.pixels, lesson.shape).shrunk(LARGEST_SIDE)).collect();
    let Some(sheet) = Sheet::new(&all)? else { return Ok(html! {}) };
    Ok(html! {
        (zoomed_style("watched", &sheet, zoom_to(&sheet, 40)))
        figure {
            figcaption { "The same " (count(watched.len(), "picture")) ", one of each class: the label, the network's answer, and the probability of the label." }
            ol.watched {
                @for (place, (watched, answer)) in watched.iter().zip(&shown.answers).enumerate() {
                    @let is_right = answer.class == watched.label;
                    li.right[is_right] data-label=(watched.label) {
                        (picture(&sheet, place, &format!("{} image {}", lesson.held_out.part, watched.index)))
                        span.text {
                            span.clip.name title=(lesson.class(watched.label)) { (lesson.class(watched.label)) }
                            span.clip.answer { "→ " span.said { (lesson.class(answer.class)) } }
                        }
                        (bar(answer.label_probability, "one"))
                        span.value { (probability(answer.label_probability)) }
                    }
                }
            }
        }
    })
}

/// The filters of every frame on one sheet, a row of it for each; the page shows the last.
fn filters(lesson: &Lesson) -> Result<Markup> {
    let Some(change) = &lesson.filters else { return Ok(html! {}) };
    let each = lesson.frames.first().map_or(0, |frame| frame.filters.len());
    let all: Vec<&Vec<f32>> = lesson.frames.iter().flat_map(|frame| &frame.filters).collect();
    let scale = lesson.frames.iter().map(|frame| largest_of(&frame.filters)).fold(0.0, f32::max);
    let picture_of = |values: &&Vec<f32>| Picture::of_weights(values, change.form.size, scale).shrunk(FILTER_SIDE);
    let Some(sheet) = Sheet::in_columns(&all.iter().map(picture_of).collect::<Vec<_>>(), each)? else {
        return Ok(html! {});
    };
    Ok(html! {
        (zoomed_style("reel", &sheet, zoom_to(&sheet, 48)))
        figure {
            figcaption { (count(each, "filter")) " of the first layer" (legend(change)) }
            div #reel.pictures.reel style={ "--y:" (lesson.frames.len() - 1) } {
                @for place in 0..each { i.p role="img" title={ "filter " (place + 1) } style={ "--x:" (place) } {} }
            }
        }
    })
}

fn curve(run: &RateRun) -> Markup {
    let chart = Chart {
        title: "Loss of each iteration's batch",
        unit: "iteration",
        places: (1..=run.losses.len()).map(|iteration| iteration.to_string()).collect(),
        mark: None,
        ceiling: None,
        points: 20,
        marker: true,
        lines: vec![Line { name: "training", values: run.losses.iter().copied().map(Some).collect() }],
        format: |value| format!("{value:.2}"),
    };
    chart.render().unwrap_or_else(|| html! {})
}

/// The run at a few moments, for paper and for browsers without a script.
fn moments(lesson: &Lesson) -> Markup {
    let last = lesson.frames.len() - 1;
    let chosen = (0..MOMENTS).map(|moment| &lesson.frames[last * moment / (MOMENTS - 1)]);
    html! {
        div.scroll role="region" aria-label="The run at a few moments" tabindex="0" {
            table {
                thead { tr {
                    th.name scope="col" { "iterations done" } th scope="col" { "right answers" } th scope="col" { "loss" }
                    @for watched in &lesson.held_out.watched { th scope="col" { span.clip title=(lesson.class(watched.label)) { (lesson.class(watched.label)) } } }
                } }
                tbody {
                    @for frame in chosen {
                        tr {
                            th.name scope="row" { (frame.iteration) }
                            td { (probability(frame.accuracy)) }
                            td { (nats(frame.loss)) }
                            @for (watched, answer) in lesson.held_out.watched.iter().zip(&frame.answers) {
                                td.right[answer.class == watched.label] { span.clip title=(lesson.class(answer.class)) { (lesson.class(answer.class)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
