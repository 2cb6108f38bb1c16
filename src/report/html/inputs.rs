//! What the network sees: images before and after augmentation.

use maud::{Markup, html};

use super::{picture, sheet_style};
use crate::report::content::Report;
use crate::report::sheet::Sheet;

pub(super) fn section(report: &Report) -> Option<Markup> {
    let inputs = report.inputs.as_ref()?;
    let before = inputs.before.as_ref()?;
    Some(html! {
        p.soft {
            "The first " (inputs.images.len()) " images of the run's first batch"
            @if inputs.augmented { ", as they are and as the network saw them: every epoch distorts each of them anew." }
            @else { ". This config distorts nothing: the network saw them as they are." }
        }
        (sheet("before", "as they are", before, &inputs.images))
        @if let Some(after) = &inputs.after { (sheet("after", "as the network saw them", after, &inputs.images)) }
    })
}

fn sheet(class: &str, caption: &str, sheet: &Sheet, images: &[usize]) -> Markup {
    html! {
        (sheet_style(class, sheet))
        figure {
            figcaption { (caption) }
            div.pictures.(class) {
                @for (place, image) in images.iter().enumerate() {
                    (picture(sheet, place, &format!("training image {image}, {caption}")))
                }
            }
        }
    }
}
