//! The page of a learning-rate range test.

use maud::{Markup, html};

use super::chart::{Chart, Line};
use super::{document, scrolling};
use crate::report::RangeTest;

/// The page of `test`, which followed from `config`; `next` is the command that trains with the suggestion.
pub fn range_test_page(test: &RangeTest, config: &str, next: Option<&str>) -> String {
    let introduction = html! {
        p.lead {
            @match test.suggestion {
                Some(rate) => { "Suggested learning rate: " strong { (rate) } }
                None => { "No learning rate is suggested: the loss did not fall." }
            }
        }
        @if let Some(next) = next { p { "Next: " code { (next) } } }
    };
    let sections = [
        ("curve", "Loss while the rate rises", chart(test)),
        ("rule", "How to read it", Some(rule(test))),
        ("values", "All values", Some(values(test))),
        ("config", "Config", Some(html! { pre { (config) } })),
    ];
    document(&format!("Learning rates of {}", test.experiment), &introduction, &sections)
}

fn chart(test: &RangeTest) -> Option<Markup> {
    let ceiling = test.smoothed.first()? * 1.25;
    let chart = Chart {
        title: "Training loss, in nats, over the learning rate (logarithmic)",
        unit: "rate",
        places: test.points.iter().map(|point| format!("{:.1e}", point.learning_rate)).collect(),
        mark: test.place_of_suggestion().map(|place| (place, "suggested")),
        ceiling: Some(ceiling),
        points: 60,
        marker: false,
        lines: vec![
            Line { name: "each batch", values: test.points.iter().map(|point| Some(point.loss)).collect() },
            Line { name: "smoothed", values: test.smoothed.iter().copied().map(Some).collect() },
        ],
        format: |value| format!("{value:.3}"),
    };
    Some(html! { div style="max-width:46rem" { (chart.render()?) } })
}

fn rule(test: &RangeTest) -> Markup {
    html! {
        p {
            "One short run, in which the learning rate is multiplied by the same factor after every update (Smith, 2017). Where the curve is \
             level, the steps are too small to matter; where it falls, they work; where it rises, they are too large."
        }
        ul { @for (label, says) in test.verdict() { li { strong { (label) } ": " (says) } } }
    }
}

fn values(test: &RangeTest) -> Markup {
    let table = html! {
        table {
            thead { tr { th scope="col" { "learning rate" } th scope="col" { "loss" } th scope="col" { "smoothed" } } }
            tbody {
                @for (point, smoothed) in test.points.iter().zip(&test.smoothed) {
                    tr {
                        td { (format!("{:.3e}", point.learning_rate)) }
                        td { (format!("{:.4}", point.loss)) }
                        td { (format!("{smoothed:.4}")) }
                    }
                }
            }
        }
    };
    html! { details { summary { "Show" } (scrolling("All values", &table)) } }
}
