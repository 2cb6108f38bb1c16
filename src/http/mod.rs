//! What every server of kiln shares: sockets and their limits, whom it answers to, refusals, and the stop in
//! good order. What is answered belongs to the rooms above.

pub(crate) mod connection;
pub(crate) mod host;
pub(crate) mod refusal;

use std::net::SocketAddr;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{Error, Result};

/// How long requests under way may take to finish once the server is told to stop.
pub const GRACE: Duration = Duration::from_secs(10);

/// A server that answers until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<std::io::Result<()>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Listens on `address` and answers with what `app` makes of the address that it got and of the word to stop.
    /// Connections that are silent for longer than `patience` are cut off.
    ///
    /// # Errors
    /// A usage error when the address cannot be listened on; those of `app`.
    pub(crate) fn start(
        address: SocketAddr,
        patience: Duration,
        app: impl FnOnce(SocketAddr, watch::Receiver<bool>) -> Result<Router>,
    ) -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        // What blocks runs on threads of its own: one per core keeps it parallel and its memory bounded.
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores)
            .max_blocking_threads(cores)
            .thread_name("kiln-http")
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the server's threads").caused_by(error))?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(|error| {
            Error::usage(format!("cannot listen on `{address}`"))
                .caused_by(error)
                .tip("choose another address with --addr; port 0 takes any free one")
        })?;
        let unknown = |error| Error::failed("cannot tell the server's address").caused_by(error);
        let address = listener.local_addr().map_err(unknown)?;
        let (stop, stopped) = watch::channel(false);
        // What the app starts beside its answers runs on these threads too.
        let app = {
            let _entered = runtime.enter();
            app(address, stopped.clone())?
        };
        let serving = runtime.spawn(connection::serve(listener, patience, app, stopped));
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
