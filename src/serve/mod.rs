//! The trained network over HTTP, and the page to draw on. It owns sockets, limits and answers; what a picture or a
//! prediction is belongs to [`crate::predict`]. No request may make it panic, hang or grow without bound:
//!
//! | limit | file |
//! |---|---|
//! | time to send a request's head, connections | `http/connection.rs` |
//! | requests at a time, time for an answer | `routes.rs` |
//! | bytes of a body, bytes of all bodies | `body.rs` |
//! | requests that wait for the network | `batch.rs` |
//! | bytes of all decoded pictures | `routes.rs` |
//! | pixels of a decoded picture | `data/picture.rs` |
//! | the names the server answers to | `http/host.rs` |

mod batch;
mod body;
mod metrics;
mod model;
mod openapi;
mod pixels;
mod routes;
#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use model::{Form, Model};

pub use crate::http::{GRACE, Server};
use crate::{Error, Result};

/// Where and within which limits to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// The most bytes in the body of a request.
    pub max_body: usize,
    /// The most predictions under way; more are answered 503.
    pub max_concurrent: usize,
    /// The time from the first byte of a request to its answer; also the time to send a request's head.
    pub timeout: Duration,
    /// How long the network waits for images that are being decoded before it starts on those that are ready.
    pub batch_delay: Duration,
    /// The most images that go through the network together.
    pub batch_size: usize,
    /// The most bytes of memory that pictures take together while they are decoded.
    pub max_decoded: usize,
    /// The probability below which the answer is "unsure", where a request names none.
    pub min_confidence: Option<f64>,
    /// Names that requests may be addressed to, besides the address and the loopback names; `*` stands for any.
    pub allow_hosts: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body: 8 << 20,
            max_concurrent: 256,
            timeout: Duration::from_secs(10),
            batch_delay: Duration::from_millis(1),
            batch_size: 64,
            max_decoded: 256 << 20,
            min_confidence: None,
            allow_hosts: Vec::new(),
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let at_least_one = [
            ("max-body", self.max_body),
            ("max-concurrent", self.max_concurrent),
            ("batch-size", self.batch_size),
            ("max-decoded", self.max_decoded),
            ("timeout", usize::from(!self.timeout.is_zero())),
        ];
        if let Some(confidence) = self.min_confidence.filter(|confidence| !(0.0..=1.0).contains(confidence)) {
            return Err(Error::usage(format!("`min-confidence`: must be 0 to 1, got {confidence}")));
        }
        match at_least_one.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::usage(format!("`{name}`: must be more than 0, got 0"))),
            None => Ok(()),
        }
    }
}

/// Listens and answers with `model`, on threads of its own.
///
/// # Errors
/// A usage error when a limit is 0 or the address cannot be listened on.
pub fn start(model: Arc<dyn Model>, options: &Options) -> Result<Server> {
    options.check()?;
    Server::start(options.address, options.timeout, |address, _| routes::app(model, options, address))
}
