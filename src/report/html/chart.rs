//! Line charts as SVG. A point's values appear under the pointer, and where the keyboard's focus is.

use maud::{Markup, html};

/// The size of a chart in its own units; a page scales it.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 20.0;

/// One line.
pub(super) struct Line<'a> {
    /// What it is called.
    pub(super) name: &'a str,
    /// One value for each place, where there is one.
    pub(super) values: Vec<Option<f64>>,
}

/// A chart of up to three lines over epochs, iterations or learning rates.
pub(super) struct Chart<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// What its places are: "epoch".
    pub(super) unit: &'a str,
    /// What each place is called: "3".
    pub(super) places: Vec<String>,
    /// A place that is marked, and the word for it.
    pub(super) mark: Option<(usize, &'static str)>,
    /// The highest value that is drawn: lines that go above it leave the chart.
    pub(super) ceiling: Option<f64>,
    /// Points whose values can be asked for; of longer runs every second, third and so on.
    pub(super) points: usize,
    /// Draw a line at the last place, which a script may move.
    pub(super) marker: bool,
    /// The lines.
    pub(super) lines: Vec<Line<'a>>,
    /// How a value is written.
    pub(super) format: fn(f64) -> String,
}

impl Chart<'_> {
    /// The chart, or nothing when there is no value to show.
    pub(super) fn render(&self) -> Option<Markup> {
        let ceiling = self.ceiling.unwrap_or(f64::INFINITY);
        let values = || {
            let all = self.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
            all.filter(|value| value.is_finite()).map(|value| value.min(ceiling))
        };
        let low = values().reduce(f64::min)?;
        let high = values().reduce(f64::max)?;
        let pad = if high > low { (high - low) * 0.05 } else { high.abs().max(1e-9) * 0.1 };
        let leaves = self.lines.iter().flat_map(|line| line.values.iter().flatten()).any(|value| *value > ceiling);
        let top = if leaves { high + pad } else { (high + pad).min(ceiling) };
        let (low, high) = (if low >= 0.0 { (low - pad).max(0.0) } else { low - pad }, top);
        // What leaves the chart is drawn a little above its top, where the drawing ends.
        let y = |value: f64| (TOP - 4.0).max(TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value - low) / (high - low)));
        let places = self.places.len();
        let x = |place: usize| {
            LEFT + (WIDTH - LEFT - RIGHT) * if places > 1 { place as f64 / (places - 1) as f64 } else { 0.5 }
        };
        let step = places.div_ceil(self.points).max(1);
        let ticks = (0..=4).map(|tick| low + (high - low) * f64::from(tick) / 4.0);
        Some(html! {
            figure.card {
                figcaption { (self.title) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="group" aria-label=(self.title) {
                    @if self.marker {
                        line.marker x1=(WIDTH - RIGHT) x2=(WIDTH - RIGHT) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                    }
                    @for tick in ticks {
                        line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(y(tick))) y2=(round(y(tick))) {}
                        text x=(LEFT - 4.0) y=(round(y(tick) + 3.5)) text-anchor="end" { ((self.format)(tick)) }
                    }
                    @if let (Some(first), Some(last)) = (self.places.first(), self.places.last()) {
                        text x=(LEFT) y=(HEIGHT - 4.0) { (self.unit) " " (first) }
                        text x=(WIDTH - RIGHT) y=(HEIGHT - 4.0) text-anchor="end" { (last) }
                    }
                    @if let Some((marked, word)) = self.mark {
                        line.best x1=(round(x(marked))) x2=(round(x(marked))) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                        text.good x=(round(x(marked))) y=(HEIGHT - 4.0) text-anchor=(if x(marked) > WIDTH - 60.0 { "end" } else { "middle" })
                            dx=(if x(marked) > WIDTH - 60.0 { "-18" } else { "0" }) { @if marked > places / 5 { (word) } }
                    }
                    @for (number, line) in self.lines.iter().enumerate() {
                        @let class = ["one", "two", "three"][number.min(2)];
                        polyline class={ "curve " (class) } points=(points(&line.values, x, y)) {}
                        @if places == 1 {
                            @for value in line.values.iter().flatten() { circle class={ "dot " (class) } cx=(x(0)) cy=(round(y(*value))) r="3" {} }
                        }
                        text class=(class) x=(LEFT + 4.0 + 70.0 * number as f64) y="12" { (line.name) }
                    }
                    @for place in (0..places).step_by(step) { (self.hit(place, x(place), x(1) - x(0))) }
                }
            }
        })
    }

    /// Where the first and the last place are, across, in the chart's own units.
    pub(super) const ENDS: [f64; 2] = [LEFT, WIDTH - RIGHT];

    /// The part of the chart that shows the values at `place`.
    fn hit(&self, place: usize, at: f64, wide: f64) -> Markup {
        let values = self
            .lines
            .iter()
            .filter_map(|line| Some(format!("{} {}", line.name, (self.format)(*line.values.get(place)?.as_ref()?))));
        let says = format!("{} {}: {}", self.unit, self.places[place], values.collect::<Vec<_>>().join(", "));
        let wide = wide.abs().max(4.0);
        html! {
            g.hit tabindex="0" role="img" aria-label=(says) {
                rect x=(round(at - wide / 2.0)) y="0" width=(round(wide)) height=(HEIGHT) {}
                g.tip {
                    line x1=(round(at)) x2=(round(at)) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                    rect.behind x="0" y="0" width=(WIDTH) height="17" {}
                    text x=(LEFT + 4.0) y="12" { (says) }
                }
            }
        }
    }
}

fn points(values: &[Option<f64>], x: impl Fn(usize) -> f64, y: impl Fn(f64) -> f64) -> String {
    let at = |(place, value): (usize, &Option<f64>)| {
        let value = value.filter(|value| value.is_finite())?;
        Some(format!("{},{}", round(x(place)), round(y(value))))
    };
    values.iter().enumerate().filter_map(at).collect::<Vec<_>>().join(" ")
}

/// To a tenth of a unit.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
