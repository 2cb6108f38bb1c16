//! The lesson as one page: a file for each section, in the order of the page. Its one script, which moves the slider, is
//! named by its digest in the page's policy, so nothing else can run; without it, everything but the slider is there.

mod backward;
mod batch;
mod film;
mod forward;
mod loss;
mod rates;
mod update;
mod words;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{STYLE, head, picture, zoomed_style};
use crate::Result;
use crate::report::lesson::Lesson;
use crate::report::sheet::Sheet;
use crate::report::{decimal, thousands};

const LESSON_STYLE: &str = include_str!("lesson.css");
const SCRIPT: &str = include_str!("lesson.js");

/// The page.
///
/// # Errors
/// When a picture cannot be made.
pub fn page(lesson: &Lesson) -> Result<String> {
    let (film, rates) = (film::section(lesson)?, rates::section(lesson));
    let words = words::section(lesson, |id| (id != "film" || film.is_some()) && (id != "rates" || rates.is_some()));
    let sections: [(&str, &str, Option<Markup>); 8] = [
        ("batch", "One batch of pictures", Some(batch::section(lesson)?)),
        ("forward", "Forward propagation", Some(forward::section(lesson)?)),
        ("loss", "The loss", Some(loss::section(lesson)?)),
        ("backward", "Back propagation", Some(backward::section(lesson)?)),
        ("update", "The update", Some(update::section(lesson)?)),
        ("film", "Iteration after iteration", film),
        ("rates", "Three learning rates", rates),
        ("words", "The words, and now you", Some(words)),
    ];
    let present = || sections.iter().filter_map(|(id, title, body)| Some((id, title, body.as_ref()?)));
    let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
         form-action 'none'"
    );
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&format!("How a network learns: {}", lesson.experiment), &policy, &[STYLE, LESSON_STYLE]))
            body.lesson {
                header {
                    h1 { "How a network learns" }
                    (introduction(lesson))
                    nav aria-label="Sections" {
                        ol { @for (id, title, _) in present() { li { a href={ "#" (id) } { (title) } } } }
                    }
                }
                main {
                    @for (number, (id, title, body)) in present().enumerate() {
                        section id=(id) { h2 { span.number { (number + 1) } (title) } (body) }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(markup.into_string())
}

fn introduction(lesson: &Lesson) -> Markup {
    let parameters: usize = lesson.plan.layers.iter().map(|layer| layer.parameters).sum();
    let iterations = lesson.own_run().map_or(0, |run| run.losses.len());
    html! {
        p.lead {
            "A network is " (thousands(parameters as u64)) " numbers, drawn at random. Training corrects them, a little at a time, \
             until pictures come out as what they show. This page follows the first correction step by step, and then "
            (thousands(iterations as u64)) " of them in a row."
        }
        p.soft {
            "Every number and every picture was measured when the page was made, with the config " code { (lesson.experiment) }
            ": a " (lesson.model) " network, trained with " (lesson.optimizer) "."
        }
    }
}

/// The pictures of a sheet with a caption. `class` names the rule of their size, `zoom` is how much larger than it is a
/// picture is shown, and `says` is the name of each.
fn pictures(class: &str, caption: &Markup, sheet: &Sheet, zoom: usize, says: impl Fn(usize) -> String) -> Markup {
    html! {
        (zoomed_style(class, sheet, zoom))
        figure {
            figcaption { (caption) }
            div.pictures.(class) { @for place in 0..sheet.count { (picture(sheet, place, &says(place))) } }
        }
    }
}

/// How many times larger than it is a picture is shown, so that it is about `side` pixels wide.
fn zoom_to(sheet: &Sheet, side: usize) -> usize {
    let own = sheet.width.max(sheet.height).max(1);
    ((side + own / 2) / own).max(1)
}

/// A horizontal bar as long as `share` of its place, 0 to 1.
fn bar(share: f64, class: &str) -> Markup {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    html! { span.bar aria-hidden="true" { span.full.(class) style={ "width:" (format!("{:.2}", share * 100.0)) "%" } {} } }
}

/// A probability as people read it: never "0 %" for what is more, nor "100 %" for what is less.
fn probability(value: f64) -> String {
    match value * 100.0 {
        percent if !percent.is_finite() => "no number".to_owned(),
        percent if percent > 0.0 && percent < 0.1 => "< 0.1 %".to_owned(),
        percent if percent < 100.0 && percent > 99.9 => "> 99.9 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// A loss, in nats, with the decimals that `kiln explain` prints.
fn nats(value: f64) -> String {
    match value {
        f64::INFINITY => "∞".to_owned(),
        _ if value.is_nan() => "no number".to_owned(),
        _ => format!("{value:.4}"),
    }
}

/// "1 image", "1,000 images", "600 batches".
fn count(number: usize, noun: &str) -> String {
    let plural = if noun.ends_with("ch") || noun.ends_with('s') { "es" } else { "s" };
    format!("{} {noun}{}", thousands(number as u64), if number == 1 { "" } else { plural })
}

/// A number with four digits that tell, a minus as typographers set it.
fn number(value: f64) -> String {
    decimal(value, 4).replace('-', "\u{2212}")
}

/// The same with six, for what is computed with before the reader's eyes.
fn exact(value: f64) -> String {
    decimal(value, 6).replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests;
