//! Pages: a run's, with a file for each section in the order of the page, and a data set's. They have no script: what
//! opens is a popover, what appears under the pointer or the keyboard's focus is a rule of the style sheet.

mod calibration;
mod chart;
mod classes;
mod compare;
mod confusion;
mod curves;
mod inputs;
mod lesson;
mod mistakes;
mod network;
mod origin;
mod plan;
mod range_test;
mod result;
mod survey;
mod suspects;
mod sweep;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::content::Report;
use super::sheet::Sheet;
pub use compare::comparison_page;
pub use range_test::range_test_page;
pub use survey::survey_page;
pub use sweep::{SweepPage, sweep_page};

pub use lesson::page as lesson_page;

const STYLE: &str = include_str!("page.css");

/// Nothing comes from elsewhere and nothing runs: a name in the data that passed for markup could do nothing either.
pub(crate) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// A section: its anchor, its title and what it says, when there is something to say.
type Section<'a> = (&'a str, &'a str, Option<Markup>);

/// The page of a run.
pub fn page(report: &Report) -> String {
    let sections = [
        ("curves", "Curves", curves::section(report)),
        ("confusion", "Confusion matrix", confusion::section(report)),
        ("classes", "Classes", classes::section(report)),
        ("mistakes", "Worst mistakes", mistakes::section(report)),
        ("calibration", "Reliability", calibration::section(report)),
        ("suspects", "Labels that look wrong", suspects::section(report)),
        ("inputs", "What the network sees", inputs::section(report)),
        ("filters", "First-layer filters", network::filters(report)),
        ("layers", "One image through the layers", network::activations(report)),
        ("plan", "The arithmetic", plan::section(report)),
        ("origin", "Config and provenance", Some(origin::section(report))),
    ];
    document(&report.run, &result::section(report), &sections)
}

/// A page of sections below an introduction.
fn document(title: &str, introduction: &Markup, sections: &[Section]) -> String {
    let sections = || sections.iter().filter_map(|(id, title, body)| Some((id, title, body.as_ref()?)));
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, POLICY, &[STYLE]))
            body {
                header {
                    h1 { (title) }
                    (introduction)
                    nav aria-label="Sections" {
                        ul { @for (id, title, _) in sections() { li { a href={ "#" (id) } { (title) } } } }
                    }
                }
                main {
                    @for (id, title, body) in sections() {
                        section id=(id) { h2 { (title) } (body) }
                    }
                }
            }
        }
    };
    markup.into_string()
}

/// The head of a page that is one file.
fn head(title: &str, policy: &str, styles: &[&str]) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy" content=(policy);
            title { (title) " - kiln" }
            link rel="icon" href="data:,";
            style { @for style in styles { (PreEscaped(style)) } }
        }
    }
}

/// The rule that puts `sheet` behind the pictures inside `class`, each as large as they are best seen.
fn sheet_style(class: &str, sheet: &Sheet) -> Markup {
    zoomed_style(class, sheet, zoom(sheet))
}

/// The same with pictures shown `zoom` times as large as they are.
fn zoomed_style(class: &str, sheet: &Sheet, zoom: usize) -> Markup {
    let (width, height) = (sheet.width * zoom, sheet.height * zoom);
    let css = format!(
        ".{class} .p{{--w:{width}px;--h:{height}px;background-image:url({});background-size:{}px {}px}}",
        sheet.data_uri(),
        sheet.columns * width,
        sheet.rows() * height
    );
    html! { style { (PreEscaped(css)) } }
}

/// How many times larger than it is a picture is shown, so that it is about 60 pixels wide.
fn zoom(sheet: &Sheet) -> usize {
    (64 / sheet.width.max(sheet.height).max(1)).max(1)
}

/// Picture `place` of the sheet behind it; `says` is its name, for those too who cannot see it.
fn picture(sheet: &Sheet, place: usize, says: &str) -> Markup {
    let (x, y) = (place % sheet.columns, place / sheet.columns);
    html! { i.p role="img" title=(says) style={ "--x:" (x) ";--y:" (y) } {} }
}

/// A share as per cent with two decimals.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The name of class `class`.
fn name(report: &Report, class: usize) -> &str {
    report.test.as_ref().and_then(|test| test.evaluation.classes.get(class)).map_or("", |metrics| &metrics.class)
}

/// A region that scrolls sideways on its own, by the keyboard too.
fn scrolling(label: &str, inside: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (inside) } }
}

#[cfg(test)]
mod tests;
