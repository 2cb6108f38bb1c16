//! The arithmetic of the run.

use maud::{Markup, html};

use super::scrolling;
use crate::report::content::Report;
use crate::report::thousands;

pub(super) fn section(report: &Report) -> Option<Markup> {
    let plan = report.plan.as_ref()?;
    let layers = html! {
        table {
            thead { tr {
                th.name scope="col" { "layer" } th scope="col" { "what it does" } th scope="col" { "output" } th scope="col" { "parameters" }
            } }
            tbody {
                @for layer in &plan.layers {
                    tr {
                        th.name scope="row" { (layer.name) }
                        td { (layer.description) }
                        td { (format!("{:?}", layer.output_shape)) }
                        td { (thousands(layer.parameters as u64)) }
                    }
                }
            }
        }
    };
    Some(html! {
        @for sentence in plan.arithmetic.lines() { p { (sentence) } }
        pre tabindex="0" aria-label="The plan" { (plan.lines) }
        (scrolling("Layers", &layers))
    })
}
