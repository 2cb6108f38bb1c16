//! The trained network over HTTP, and the page to draw on. It owns sockets, limits and answers; what a picture or a
//! prediction is belongs to [`crate::predict`]. No request may make it panic, hang or grow without bound:
//!
//! | limit | file |
//! |---|---|
//! | time to send a request's head, connections | `connection.rs` |
//! | requests at a time, time for an answer | `routes.rs` |
//! | bytes of a body, bytes of all bodies | `body.rs` |
//! | requests that wait for the network | `batch.rs` |
//! | bytes of all decoded pictures | `routes.rs` |
//! | pixels of a decoded picture | `data/picture.rs` |
//! | the names the server answers to | `host.rs` |

mod batch;
mod body;
mod connection;
mod host;
mod metrics;
mod model;
mod openapi;
mod page;
mod pixels;
mod refusal;
mod routes;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use model::{Form, Model};

use crate::{Error, Result};

/// How long requests under way may take to finish once the server is told to stop.
pub const GRACE: Duration = Duration::from_secs(10);

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
        match at_least_one.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::usage(format!("`{name}`: must be more than 0, got 0"))),
            None => Ok(()),
        }
    }
}

/// A server that answers until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<std::io::Result<()>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Listens and answers, on threads of its own.
    ///
    /// # Errors
    /// A usage error when a limit is 0 or the address cannot be listened on.
    pub fn start(model: Arc<dyn Model>, options: &Options) -> Result<Self> {
        options.check()?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        // Decoding runs on the blocking threads: one per core keeps it parallel and its memory bounded.
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores)
            .max_blocking_threads(cores)
            .thread_name("kiln-serve")
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the server's threads").caused_by(error))?;
        let listener = runtime.block_on(TcpListener::bind(options.address)).map_err(|error| {
            Error::usage(format!("cannot listen on `{}`", options.address))
                .caused_by(error)
                .tip("choose another address with --addr; port 0 takes any free one")
        })?;
        let unknown = |error| Error::failed("cannot tell the server's address").caused_by(error);
        let address = listener.local_addr().map_err(unknown)?;
        let (stop, stopped) = watch::channel(false);
        let app = routes::app(model, options, address)?;
        let serving = runtime.spawn(connection::serve(listener, options.timeout, app, stopped));
        Ok(Self { address, stop, serving: Some(serving), runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, lets those under way finish within [`GRACE`], and ends.
    ///
    /// # Errors
    /// When some had not finished by then.
    pub fn stop(mut self) -> Result<()> {
        let _ = self.stop.send(true);
        let (Some(serving), Some(runtime)) = (self.serving.take(), self.runtime.take()) else { return Ok(()) };
        let ended = runtime.block_on(async { tokio::time::timeout(GRACE, serving).await });
        runtime.shutdown_background();
        match ended {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(Error::failed("the server failed").caused_by(error)),
            Ok(Err(error)) => Err(Error::failed("the server failed").caused_by(error)),
            Err(_) => Err(Error::failed(format!("requests were cut off: not done within {} s", GRACE.as_secs()))),
        }
    }

    /// Serves until the process is interrupted or told to terminate, then stops; a second signal ends it at once.
    ///
    /// # Errors
    /// As [`Self::stop`]; when signals cannot be received.
    pub fn until_interrupted(self, stopping: impl FnOnce()) -> Result<()> {
        let runtime = self.runtime.as_ref().map(Runtime::handle).cloned();
        let Some(runtime) = runtime else { return Ok(()) };
        runtime.block_on(interrupted()).map_err(|error| Error::failed("cannot receive signals").caused_by(error))?;
        stopping();
        let (sender, done) = std::sync::mpsc::channel();
        let impatient = sender.clone();
        runtime.spawn(async move {
            if interrupted().await.is_ok() {
                let _ = impatient.send(Err(Error::interrupted("requests under way were cut off")));
            }
        });
        thread::spawn(move || sender.send(self.stop()));
        done.recv().unwrap_or(Ok(()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends with the next Ctrl-C or request to terminate.
async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
