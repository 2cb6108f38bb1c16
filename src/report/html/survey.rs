//! The page of a data set.

use maud::{Markup, html};

use super::classes::percentage;
use super::{document, picture, scrolling, sheet_style};
use crate::data::survey::Survey;
use crate::report::survey::{ClassSheet, SurveySheets, duplicates_found, files_found, pixels, same};
use crate::report::thousands;

/// The page of the data set called `name`.
pub fn survey_page(name: &str, survey: &Survey, sheets: &SurveySheets) -> String {
    let sections = [
        ("classes", "Classes", Some(classes(survey))),
        ("pictures", "Pictures", Some(pictures(survey, sheets))),
        ("duplicates", "Duplicates", Some(duplicates(survey, sheets))),
        ("unreadable", "Files that cannot be read", unreadable(survey)),
        ("numbers", "Sizes and pixels", Some(numbers(survey))),
    ];
    document(name, &introduction(survey), &sections)
}

fn introduction(survey: &Survey) -> Markup {
    let [train, validation, test] = survey.parts.each_ref().map(|part| thousands(part.images as u64));
    html! {
        p.lead {
            strong { (train) } " images to learn from, " (validation) " held out to choose the best epoch by, "
            (test) " to test on: " (survey.classes.len()) " classes, each image "
            (survey.shape.height) " x " (survey.shape.width) " pixels, " (if survey.shape.channels == 3 { "in colour" } else { "grey" }) "."
        }
        @for warning in &survey.warnings { p.warn { (warning) } }
        @if !survey.unreadable.files.is_empty() {
            p.warn { "files that cannot be read as pictures: " (survey.unreadable.files.len()) "; " (survey.unreadable.consequence()) }
        }
    }
}

fn classes(survey: &Survey) -> Markup {
    let [train, validation, test] = &survey.parts;
    let most = train.classes.iter().max().copied().unwrap_or(0).max(1) as f64;
    let table = html! {
        table {
            thead { tr {
                th.name scope="col" { "class" }
                th scope="col" { "training" } th scope="col" { "" } th scope="col" { "share" }
                th scope="col" { "validation" } th scope="col" { "test" }
            } }
            tbody {
                @for (class, name) in survey.classes.iter().enumerate() {
                    @let images = train.classes[class];
                    tr {
                        th.name scope="row" title=(name) { span.clip { (name) } }
                        td { (thousands(images as u64)) }
                        td { span.bar aria-hidden="true" { b style={ "width:" (percentage(images as f64 / most)) } {} } }
                        td { (format!("{:.1} %", 100.0 * images as f64 / train.images.max(1) as f64)) }
                        td { (thousands(validation.classes[class] as u64)) }
                        td { (thousands(test.classes[class] as u64)) }
                    }
                }
            }
        }
    };
    html! {
        @if let Some(imbalance) = survey.imbalance {
            p.soft { "The largest class has " (format!("{imbalance:.1}")) " images for each of the smallest." }
        }
        (scrolling("Classes", &table))
    }
}

fn pictures(survey: &Survey, sheets: &SurveySheets) -> Markup {
    let hidden = survey.classes.len() - sheets.classes.len();
    let distorts = sheets.classes.iter().any(|class| class.epochs > 0);
    html! {
        p.soft {
            "Of each class the images that training meets first"
            @if distorts { ", as they are and as the first epochs see them: every epoch distorts each of them anew (" (sheets.augmentation.join("; ")) ")." }
            @else { ". This config distorts nothing: training sees them as they are." }
            @if hidden > 0 { " " (hidden) " classes are not shown." }
        }
        @for (number, class) in sheets.classes.iter().enumerate() { (of_class(survey, number, class)) }
    }
}

fn of_class(survey: &Survey, number: usize, class: &ClassSheet) -> Markup {
    let sheet_class = format!("c{number}");
    let name = &survey.classes[class.class];
    let row = |row: usize, what: &str| {
        html! {
            div.pictures.(sheet_class) {
                @for (place, image) in class.images.iter().enumerate() {
                    (picture(&class.sheet, row * class.images.len() + place, &format!("{name}, training image {image}, {what}")))
                }
            }
        }
    };
    let rows = html! {
        div.epochs {
            (row(0, "as it is"))
            @for epoch in 1..=class.epochs { (row(epoch, &format!("as epoch {epoch} sees it"))) }
        }
    };
    html! {
        (sheet_style(&sheet_class, &class.sheet))
        figure {
            figcaption { span.clip title=(name) { (name) } }
            (scrolling(name, &rows))
        }
    }
}

fn duplicates(survey: &Survey, sheets: &SurveySheets) -> Markup {
    html! {
        p { (duplicates_found(survey)) "." }
        @if let Some(sheet) = &sheets.duplicates {
            (sheet_style("same", sheet))
            ul.cards.same {
                @for (place, found) in survey.duplicates.iter().take(sheet.count).enumerate() {
                    li {
                        (picture(sheet, place, "a picture that occurs more than once"))
                        div {
                            @if found.leak { span.tag { "leak " } }
                            @if found.contradiction { span.tag { "several labels" } }
                            p.soft { (same(survey, found)) }
                        }
                    }
                }
            }
            @if survey.duplicates.len() > sheet.count { p.soft { (survey.duplicates.len() - sheet.count) " more are not shown." } }
        }
    }
}

fn unreadable(survey: &Survey) -> Option<Markup> {
    if survey.unreadable.files.is_empty() {
        return None;
    }
    Some(html! {
        p.soft { "Remove or replace them." }
        (scrolling("Files that cannot be read", &html! { ul { @for found in &survey.unreadable.files { li { (found) } } } }))
    })
}

fn numbers(survey: &Survey) -> Markup {
    html! {
        dl {
            dt { "pixels" } dd { (pixels(survey)) }
            @if let Some(files) = &survey.files { dt { "files" } dd { (files_found(files)) } }
            dt { "blank" } dd { @if survey.blank.is_empty() { "no image" } @else { (survey.blank.len()) " images are of one colour" } }
        }
    }
}
