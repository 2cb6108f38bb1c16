//! Connections: how many there are and how long one may keep the server waiting. A client that trickles the head of a
//! request, idles, or does not read its answer is cut off; while a request is being answered, its own limits hold.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// The most connections at a time; more wait in the system's queue. Each holds a few kilobytes and a file descriptor.
const MOST_CONNECTIONS: usize = 1024 - 64;

/// Answers what comes in through `door` until told to stop, then finishes what is under way.
pub(super) async fn serve(door: Door, app: Router, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let app = app.into_make_service_with_connect_info::<Client>();
    let stop = async move {
        // A server that was dropped is told by the closed channel.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    axum::serve(door, app).with_graceful_shutdown(stop).await
}

/// Lets connections in.
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Door {
    /// Cuts connections off that are silent for longer than `patience`.
    pub fn new(listener: TcpListener, patience: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MOST_CONNECTIONS)), patience }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let place = self.places.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are one small write each; waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, self.patience, place), address);
                }
                // Out of descriptors, or a client that left before it was let in: neither is helped by a busy loop.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One client, as the handlers see it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    activity: Arc<Activity>,
}

impl Client {
    /// Tells the connection that a request is being answered, until the result is dropped.
    pub fn answering(&self) -> Answering {
        self.activity.requests.fetch_add(1, Ordering::AcqRel);
        Answering { activity: self.activity.clone() }
    }
}

impl Connected<IncomingStream<'_, Door>> for Client {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self { activity: stream.io().activity.clone() }
    }
}

/// A request being answered.
pub(super) struct Answering {
    activity: Arc<Activity>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        *self.activity.quiet_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.activity.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Activity {
    /// Requests of this connection that are being answered.
    requests: AtomicUsize,
    /// When that last became none.
    quiet_since: Mutex<Instant>,
}

/// A socket that fails when its client keeps the server waiting.
pub(super) struct Connection {
    stream: TcpStream,
    activity: Arc<Activity>,
    patience: Duration,
    alarm: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, patience: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        let now = Instant::now();
        let activity = Arc::new(Activity { requests: AtomicUsize::new(0), quiet_since: Mutex::new(now) });
        Self { stream, activity, patience, alarm: Box::pin(sleep_until(now + patience)), _place: place }
    }

    /// What an operation that has to wait for the client comes to.
    fn wait(&mut self, context: &mut Context) -> Poll<io::Error> {
        if self.activity.requests.load(Ordering::Acquire) > 0 {
            return Poll::Pending;
        }
        let deadline = *self.activity.quiet_since.lock().unwrap_or_else(PoisonError::into_inner) + self.patience;
        if self.alarm.deadline() != deadline {
            self.alarm.as_mut().reset(deadline);
        }
        self.alarm.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
    }

    fn or_wait<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context) -> Poll<io::Result<T>> {
        match result {
            Poll::Pending => self.wait(context).map(Err),
            ready => ready,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_wait(result, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_wait(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        parts: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.or_wait(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.or_wait(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_wait(result, context)
    }
}
