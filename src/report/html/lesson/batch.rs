//! The training set cut into batches, the arithmetic that follows, and the first batch.

use maud::{Markup, html};

use super::super::chart::round;
use super::super::{picture, zoomed_style};
use super::{count, pictures, zoom_to};
use crate::Result;
use crate::report::lesson::{BatchRow, Cut, Lesson};
use crate::report::sheet::{LARGEST_SIDE, Picture, Sheet};
use crate::report::thousands;

/// Pictures of the batch that are shown.
pub(super) const SHOWN: usize = 100;

/// The longest side of a picture in the rows of batches, in its own pixels.
const SMALL: usize = 28;

/// The most cells of the drawing of all batches.
const CELLS: usize = 1200;

pub(super) fn section(lesson: &Lesson) -> Result<Markup> {
    let cut = &lesson.cut;
    Ok(html! {
        p {
            "The training set has " strong { (count(cut.train_images, "picture")) } ". Each has a label that says what it shows. The set \
             is shuffled and cut into " dfn { "batches" } " of " (thousands(cut.batch_size as u64)) ". The pictures of one batch go \
             through the network together."
        }
        p {
            "Why not all pictures at once? They would need too much memory, and a correction would take too long. Why not one at a \
             time? A processor is made to do many at once, and one picture alone says little about the others. A batch lies \
             between, and the chance in its choice even helps the network to see what pictures have in common."
        }
        (rows(lesson)?)
        (arithmetic(cut))
        (batches(cut))
        @for sentence in lesson.plan.arithmetic.lines().skip(1) { p { (sentence) } }
        (batch(lesson)?)
    })
}

/// Some batches of the first epoch as rows of pictures, the first one marked.
fn rows(lesson: &Lesson) -> Result<Markup> {
    let shape = lesson.shape;
    let images = lesson.rows.iter().flat_map(|row| &row.pixels);
    let all: Vec<Picture> = images.map(|pixels| Picture::of_image(pixels, shape).shrunk(SMALL)).collect();
    let Some(sheet) = Sheet::new(&all)? else { return Ok(html! {}) };
    let (mut place, mut last) = (0, 0);
    let strips: Vec<(usize, Markup)> = lesson
        .rows
        .iter()
        .map(|row| {
            let gap = row.batch - std::mem::replace(&mut last, row.batch) - 1;
            let first = place;
            place += row.pixels.len();
            (gap, strip(row, &sheet, first))
        })
        .collect();
    let is_short = lesson.rows.iter().any(|row| row.pixels.len() < row.size);
    Ok(html! {
        (zoomed_style("cut", &sheet, zoom_to(&sheet, SMALL)))
        figure.cut.card {
            figcaption { "The first epoch, cut. Each row is one batch" @if is_short { ", of which the first pictures are shown" } "." }
            div.rows {
                @for (gap, strip) in strips {
                    @if gap > 0 { p.soft.gap { "… " (thousands(gap as u64)) " more …" } }
                    (strip)
                }
            }
        }
    })
}

/// The pictures of one row, which begin at place `first` of the sheet.
fn strip(row: &BatchRow, sheet: &Sheet, first: usize) -> Markup {
    html! {
        div.strip.first[row.batch == 1] role="img" aria-label={ "batch " (row.batch) ": " (count(row.size, "picture")) } {
            span.soft.label { "batch " (thousands(row.batch as u64)) }
            span.line { @for place in first..first + row.pixels.len() { (picture(sheet, place, "")) } }
        }
    }
}

/// The words of the article, with this config's numbers.
fn arithmetic(cut: &Cut) -> Markup {
    let words = [
        (
            "batch",
            thousands(cut.batch_size as u64),
            format!(
                "{} that go through the network together",
                if cut.batch_size == 1 { "picture" } else { "pictures" }
            ),
        ),
        (
            "iteration",
            "1".to_owned(),
            "batch processed once: forward, loss, back, and one update of the numbers".to_owned(),
        ),
        (
            "epoch",
            thousands(cut.iterations_per_epoch as u64),
            if cut.iterations_per_epoch == cut.batches_per_pass {
                "iterations: one pass over the whole training set".to_owned()
            } else {
                format!(
                    "iterations in this config; one pass over the whole set would be {}",
                    thousands(cut.batches_per_pass as u64)
                )
            },
        ),
        (
            "run",
            thousands(cut.total_iterations as u64),
            format!("iterations: {} of {}", count(cut.epochs, "epoch"), count(cut.iterations_per_epoch, "iteration")),
        ),
    ];
    html! {
        ul.facts {
            @for (word, number, meaning) in words {
                li { span.word { (word) } strong { (number) } span { (meaning) } }
            }
        }
    }
}

/// A cell for every batch of a pass, or for several where they are many; the first one is filled.
fn batches(cut: &Cut) -> Markup {
    let each = cut.batches_per_pass.div_ceil(CELLS).max(1);
    let cells = cut.batches_per_pass.div_ceil(each);
    let columns = cells.clamp(1, 60);
    let (side, gap) = (10.0, 2.0);
    let at = |cell: usize| ((cell % columns) as f64 * (side + gap), (cell / columns) as f64 * (side + gap));
    let squares: String =
        (1..cells).map(at).map(|(x, y)| format!("M{} {}h{side}v{side}h-{side}z", round(x), round(y))).collect();
    let (width, height) = (columns as f64 * (side + gap) - gap, cells.div_ceil(columns) as f64 * (side + gap) - gap);
    html! {
        figure.card.batches {
            figcaption {
                (thousands(cut.train_images as u64)) " pictures / " (thousands(cut.batch_size as u64)) " per batch: "
                (count(cut.batches_per_pass, "batch")) ". "
                @if each > 1 { "Each square is " (each) " batches; the" } @else { "Each square is one batch; the" }
                " filled one is the first, which this page follows."
            }
            svg viewBox={ "0 0 " (width) " " (height) } style={ "max-width:" (width) "px" } role="img"
                aria-label={ (count(cells, "square")) ", the first one filled" } {
                path.others d=(squares) {}
                rect.followed width=(side) height=(side) {}
            }
        }
    }
}

/// The batch as the network saw it.
fn batch(lesson: &Lesson) -> Result<Markup> {
    let shown = lesson.inputs.iter().take(SHOWN);
    let all: Vec<Picture> = shown.map(|pixels| Picture::of_image(pixels, lesson.shape).shrunk(LARGEST_SIDE)).collect();
    let Some(sheet) = Sheet::new(&all)? else { return Ok(html! {}) };
    let caption = html! {
        "Batch 1"
        @if lesson.inputs.len() > SHOWN { ", the first " (SHOWN) " of its " (count(lesson.inputs.len(), "picture")) }
        @if !lesson.augmentation.is_empty() {
            ", as the network saw it: training distorts every picture a little, anew in every epoch, so that no pixel is learned by heart ("
            (lesson.augmentation.join("; ")) ")."
        }
        @else { ", as the network saw it." }
    };
    let label = |place: usize| {
        let row = lesson.explanation.predictions.get(place);
        row.map_or_else(String::new, |row| format!("picture {}, label {}", place + 1, lesson.class(row.label)))
    };
    Ok(pictures("seen", &caption, &sheet, zoom_to(&sheet, 56), label))
}
