//! `kiln worker`: takes parts of batches of runs on other machines, and answers with their gradients. It owns sockets, threads
//! and limits; what is said over a connection and what is computed belong to `train/remote/`.
//!
//! It computes the networks that kiln knows and runs nothing that it is sent. Several runs are answered at a time, each by two
//! threads of its own: one computes, for as long as the run lasts, and one tells the run meanwhile that it is alive.

mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use burn::tensor::Device;

use crate::device::Opened;
use crate::ops;
use crate::train::remote::client::Told;
use crate::train::remote::link::Patience;
use crate::train::remote::token::Token;
use crate::{Error, Result};

/// Runs at a time.
const MOST_RUNS: usize = 16;

/// Connections at a time: those beyond the runs have the seconds of a handshake.
const MOST_CONNECTIONS: usize = 64;

/// How long a part under way may take to be answered once the worker is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How often a run that goes on is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Where to listen, for whom, and what computes.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes any free one.
    pub(crate) address: SocketAddr,
    /// What a run must have.
    pub(crate) token: Token,
    /// What computes.
    pub(crate) device: Opened,
    /// How long is waited for a run.
    pub(crate) patience: Patience,
}

/// What was done for a run so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Parts of batches.
    pub(crate) parts: u64,
    /// Images in them.
    pub(crate) images: u64,
    /// Seconds that they took to compute.
    pub(crate) seconds: f64,
    /// Bytes that came.
    pub(crate) received: u64,
    /// Bytes that went.
    pub(crate) sent: u64,
}

/// Something that happened. Runs are numbered from 1.
#[derive(Debug)]
pub(crate) enum Event {
    /// A run told of its network.
    Begun { run: u64, client: SocketAddr, parameters: usize, words: String },
    /// A run goes on.
    GoesOn { run: u64, totals: Totals },
    /// A run left, or was lost for this reason.
    Ended { run: u64, totals: Totals, lost: Option<String> },
    /// A connection that is no run's.
    Refused { client: SocketAddr, reason: String },
}

/// Is told what happens, from several threads.
type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// A worker that answers until it is stopped or dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// What all connections share.
struct Shared {
    token: Token,
    device: Device,
    told: Vec<u8>,
    patience: Patience,
    listener: Listener,
    stopping: AtomicBool,
    connections: Mutex<Connections>,
    fewer: Condvar,
}

#[derive(Default)]
struct Connections {
    streams: BTreeMap<u64, TcpStream>,
    /// Those whose handshake is over.
    runs: usize,
    last: u64,
}

impl Server {
    /// Listens and answers, on threads of its own.
    ///
    /// # Errors
    /// A usage error when the address cannot be listened on.
    pub(crate) fn start(options: Options, listener: impl Fn(Event) + Send + Sync + 'static) -> Result<Self> {
        let Options { address, token, device, patience } = options;
        let told = Told { backend: device.backend.name().to_owned(), kernels: ops::in_use().to_owned() };
        let told = serde_json::to_vec(&told).map_err(|error| Error::failed("cannot write JSON").caused_by(error))?;
        let socket = TcpListener::bind(address).map_err(|error| {
            Error::usage(format!("cannot listen on `{address}`"))
                .caused_by(error)
                .tip("choose another address with --listen; port 0 takes any free one")
        })?;
        let address =
            socket.local_addr().map_err(|error| Error::failed("cannot tell the worker's address").caused_by(error))?;
        let shared = Arc::new(Shared {
            token,
            device: device.device,
            told,
            patience,
            listener: Box::new(listener),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            fewer: Condvar::new(),
        });
        let accepting = {
            let shared = shared.clone();
            spawn("kiln-worker", move || accept(&socket, &shared))?
        };
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more parts, answers those under way, and ends.
    ///
    /// # Errors
    /// When one had no answer within [`GRACE`].
    pub(crate) fn stop(mut self) -> Result<()> {
        self.hang_up();
        let connections = self.shared.connections();
        let is_left = |connections: &mut Connections| !connections.streams.is_empty();
        let (connections, _) =
            self.shared.fewer.wait_timeout_while(connections, GRACE, is_left).unwrap_or_else(PoisonError::into_inner);
        match connections.streams.len() {
            0 => Ok(()),
            left => {
                Err(Error::failed(format!("{left} connections were cut off: not done within {} s", GRACE.as_secs())))
            }
        }
    }

    fn hang_up(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.stopping.store(true, Ordering::Release);
        // Whoever waits for a connection looks up when one comes.
        let here = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        if TcpStream::connect_timeout(&SocketAddr::new(here, self.address.port()), Duration::from_secs(1)).is_ok() {
            let _ = accepting.join();
        }
        for stream in self.shared.connections().streams.values() {
            // What is being answered still is; nothing more is read.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(|error| Error::failed("the system has no thread left").caused_by(error))
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopping.load(Ordering::Acquire) {
        let Ok((stream, client)) = socket.accept() else {
            // Out of descriptors, or a client that left: neither is helped by a busy loop.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if shared.stopping.load(Ordering::Acquire) {
            break;
        }
        let Some(number) = shared.enter(&stream) else { continue };
        let answering = {
            let shared = shared.clone();
            spawn("kiln-worker", move || {
                // A panic is none of the other connections' business.
                let _ = catch_unwind(AssertUnwindSafe(|| run::answer(stream, client, number, &shared)));
                shared.leave(number);
            })
        };
        if answering.is_err() {
            shared.leave(number);
        }
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection, if there is one, and gives its number.
    fn enter(&self, stream: &TcpStream) -> Option<u64> {
        let mut connections = self.connections();
        if connections.streams.len() >= MOST_CONNECTIONS {
            return None;
        }
        let stream = stream.try_clone().ok()?;
        connections.last += 1;
        let number = connections.last;
        connections.streams.insert(number, stream);
        Some(number)
    }

    fn leave(&self, number: u64) {
        self.connections().streams.remove(&number);
        self.fewer.notify_all();
    }
}
