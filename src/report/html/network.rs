//! Inside the network: the first layer's filters, and one image on its way through the layers.

use maud::{Markup, html};

use super::{picture, sheet_style};
use crate::report::content::Report;
use crate::report::sheet::Sheet;

pub(super) fn filters(report: &Report) -> Option<Markup> {
    let filters = report.filters.as_ref()?;
    let last = filters.last.as_ref()?;
    Some(html! {
        p.soft {
            (last.count) " of " (filters.count) " filters, the tensor " code { (filters.tensor) } " of shape "
            (format!("{:?}", filters.shape)) ". Grey images: blue is below 0, white 0, red above; colour images: grey is 0."
        }
        @match &filters.first {
            Some(first) => (sheet("filters-first", "when training began", "filter", first)),
            None => p.soft { "The weights that training began with are not kept." },
        }
        (sheet("filters-last", "as they were kept", "filter", last))
    })
}

pub(super) fn activations(report: &Report) -> Option<Markup> {
    let activations = report.activations.as_ref()?;
    let image = activations.picture.as_ref()?;
    Some(html! {
        p.soft { "Test image " (activations.image) ": up to 16 channels of each layer, dark is low and bright high in that layer." }
        (sheet("way-in", "the image", "the image", image))
        @for (number, (layer, found)) in activations.layers.iter().zip(&activations.sheets).enumerate() {
            @if let Some(found) = found {
                @let caption = format!("{}{} {:?}", layer.name, description(report, &layer.name), layer.shape);
                (sheet(&format!("way-{number}"), &caption, "channel", found))
            }
        }
    })
}

/// ": conv 3x3, ReLU," where the plan knows the layer.
fn description(report: &Report, layer: &str) -> String {
    let known = report.plan.as_ref().and_then(|plan| plan.layers.iter().find(|words| words.name == layer));
    known.map_or_else(String::new, |words| format!(": {},", words.description))
}

fn sheet(class: &str, caption: &str, what: &str, sheet: &Sheet) -> Markup {
    html! {
        (sheet_style(class, sheet))
        figure {
            figcaption { (caption) }
            div.pictures.(class) {
                @for place in 0..sheet.count { (picture(sheet, place, &format!("{what} {}", place + 1))) }
            }
        }
    }
}
