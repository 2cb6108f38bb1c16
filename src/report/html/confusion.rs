//! The confusion matrix; every cell that is not empty opens its pictures.

use maud::{Markup, html};

use super::{name, picture, scrolling, sheet_style};
use crate::report::content::{Cell, Report, Test};
use crate::report::thousands;

/// Names longer than this stand upright above their column.
const SHORT_NAME: usize = 3;

/// The characters that a cell shows of a name.
const LONGEST_NAME: usize = 48;

pub(super) fn section(report: &Report) -> Option<Markup> {
    let test = report.test.as_ref()?;
    Some(html! {
        p.soft { "Rows are labels, columns are answers. Every number opens its pictures, the highest loss first." }
        @if let Some(sheet) = &test.cell_pictures { (sheet_style("cell", sheet)) }
        (scrolling("Confusion matrix", &matrix(test)))
        (popovers(report, test))
    })
}

fn matrix(test: &Test) -> Markup {
    let classes = &test.evaluation.classes;
    let is_long = classes.iter().any(|metrics| metrics.class.chars().count() > SHORT_NAME);
    let mut cells = test.cells.iter().peekable();
    html! {
        table.matrix.long[is_long] {
            thead { tr {
                td {}
                @for metrics in classes { th scope="col" title=(metrics.class) { span.clip { (metrics.class) } } }
            } }
            tbody {
                @for label in 0..classes.len() {
                    tr {
                        th scope="row" title=(classes[label].class) { span.clip { (classes[label].class) } }
                        @for answer in 0..classes.len() {
                            @match cells.next_if(|cell| (cell.label, cell.answer) == (label, answer)) {
                                Some(cell) => (filled(cell, classes[label].images)),
                                None => td {},
                            }
                        }
                    }
                }
            }
        }
    }
}

fn id(cell: &Cell) -> String {
    format!("cell-{}-{}", cell.label, cell.answer)
}

/// "label 3, answer 5: 4 images".
fn words(report: &Report, cell: &Cell) -> String {
    let images = if cell.images == 1 { "image" } else { "images" };
    let (label, answer) = (shortened(name(report, cell.label)), shortened(name(report, cell.answer)));
    format!("label {label}, answer {answer}: {} {images}", thousands(cell.images as u64))
}

/// The name, or its beginning: a hundred classes have thousands of cells, and each names two of them.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn filled(cell: &Cell, images: usize) -> Markup {
    let is_right = cell.label == cell.answer;
    let share = cell.images as f64 / images.max(1) as f64;
    // A mistake is rare: its square root makes it seen. Never so strong that the number cannot be read.
    let strength = if is_right { 10.0 + 25.0 * share } else { 12.0 + 33.0 * share.sqrt() };
    html! {
        td {
            button class=(if is_right { "right" } else { "wrong" }) style={ "--a:" (strength.round()) }
                type="button" popovertarget=(id(cell)) aria-labelledby={ (id(cell)) "-name" } { (cell.images) }
        }
    }
}

fn popovers(report: &Report, test: &Test) -> Markup {
    let mut place = 0;
    html! {
        @for cell in &test.cells {
            div.cell popover="auto" id=(id(cell)) role="dialog" aria-labelledby={ (id(cell)) "-name" } {
                h3 id={ (id(cell)) "-name" } { (words(report, cell)) }
                @let left_out = cell.images - cell.shown.len();
                @if left_out > 0 {
                    p.soft { (thousands(cell.shown.len() as u64)) " shown, " (thousands(left_out as u64)) " left out." }
                }
                div.pictures {
                    @if let Some(sheet) = &test.cell_pictures {
                        @for index in &cell.shown {
                            (picture(sheet, next(&mut place), &format!("test image {index}")))
                        }
                    }
                }
                button.close type="button" popovertarget=(id(cell)) popovertargetaction="hide" { "Close" }
            }
        }
    }
}

/// The place before it is one further.
fn next(place: &mut usize) -> usize {
    *place += 1;
    *place - 1
}
