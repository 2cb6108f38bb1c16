//! What the server counts, in the text format of Prometheus. Labels come from fixed sets, so that no client can make
//! the series grow. The format is a line per number, so it is written here: the client library would replace a third of
//! this file by the declarations of its families and label types.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Upper bounds of the latency histogram, in seconds.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the histogram of batch sizes.
const IMAGES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// All counters.
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    latency: Vec<(&'static str, Histogram)>,
    /// Images per batch.
    pub batch_images: Histogram,
    /// Requests that wait for the network.
    pub queue_depth: Gauge,
    /// Predictions under way.
    pub in_flight: Gauge,
    /// Panics that were caught.
    pub panics: Counter,
}

impl Metrics {
    /// Counters for requests on `routes`.
    pub fn new(routes: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            requests: Mutex::default(),
            latency: routes.into_iter().map(|route| (route, Histogram::new(SECONDS))).collect(),
            batch_images: Histogram::new(IMAGES),
            queue_depth: Gauge::default(),
            in_flight: Gauge::default(),
            panics: Counter::default(),
        }
    }

    /// Counts one request on one of the routes.
    pub fn request(&self, route: &'static str, status: u16, seconds: f64) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
        if let Some((_, histogram)) = self.latency.iter().find(|(name, _)| *name == route) {
            histogram.observe(seconds);
        }
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        head(&mut text, "kiln_requests_total", "counter", "Requests by route and status.");
        for ((route, status), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(text, "kiln_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        head(&mut text, "kiln_request_duration_seconds", "histogram", "Time from a request's head to its answer.");
        for (route, histogram) in &self.latency {
            histogram.render(&mut text, "kiln_request_duration_seconds", &format!("route=\"{route}\""));
        }
        head(&mut text, "kiln_batch_images", "histogram", "Images that went through the network together.");
        self.batch_images.render(&mut text, "kiln_batch_images", "");
        let plain = [
            ("kiln_queue_depth", "gauge", "Requests that wait for the network.", self.queue_depth.get()),
            ("kiln_predictions_in_flight", "gauge", "Predictions under way.", self.in_flight.get()),
            ("kiln_panics_total", "counter", "Panics that were caught; each is a mistake.", self.panics.get()),
        ];
        for (name, kind, help, value) in plain {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A number that goes up.
#[derive(Default)]
pub(super) struct Counter(AtomicUsize);

impl Counter {
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    pub fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values up to each bound were seen.
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    /// In millionths, so that it can be added to without a lock.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts one value, at least 0.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    fn render(&self, text: &mut String, name: &str, label: &str) {
        let mut total = 0;
        let comma = if label.is_empty() { "" } else { "," };
        for (count, bound) in self.counts.iter().zip(self.bounds.iter().map(f64::to_string).chain(["+Inf".into()])) {
            total += count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {total}");
        }
        let label = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ = writeln!(text, "{name}_sum{label} {}", self.sum.load(Ordering::Relaxed) as f64 / 1e6);
        let _ = writeln!(text, "{name}_count{label} {total}");
    }
}
