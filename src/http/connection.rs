//! Connections: how many there are and how long one may keep the server waiting. A client that trickles the head of a
//! request, idles, or does not read its answer is cut off; while a request is being answered, its own limits hold.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// The most connections at a time; more wait in the system's queue. Each holds a few kilobytes and a file descriptor.
const MAX_CONNECTIONS: usize = 1024 - 64;

/// Answers what comes in through `listener` until told to stop, then finishes what is under way. Connections that are
/// silent for longer than `patience` are cut off.
pub(crate) async fn serve(
    listener: TcpListener,
    patience: Duration,
    app: Router,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    // A client that has sent its request may say that nothing more will come and still wants its answer.
    http.half_close(true);
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = accept(&listener, &places, patience) => connection,
            () = stop(&mut stopped) => break,
        };
        while connections.try_join_next().is_some() {}
        let client = connection.client();
        let app = TowerToHyperService::new(app.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            app.call(request)
        });
        let serving = http.serve_connection(TokioIo::new(connection), service);
        let mut stopped = stopped.clone();
        connections.spawn(async move {
            let mut serving = pin!(serving);
            tokio::select! {
                // A client that breaks off, or is cut off, is no failure of the server.
                _ = serving.as_mut() => {}
                () = stop(&mut stopped) => {
                    serving.as_mut().graceful_shutdown();
                    let _ = serving.await;
                }
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Ends when the server is told to stop; one that was dropped is told by the closed channel.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>, patience: Duration) -> Connection {
    loop {
        let place = places.clone().acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are one small write each; waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                return Connection::new(stream, patience, place);
            }
            // Out of descriptors, or a client that left before it was let in: neither is helped by a busy loop.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One client, as the handlers see it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    activity: Arc<Activity>,
}

impl Client {
    /// Tells the connection that a request is being answered, until the result is dropped.
    pub fn answering(&self) -> Answering {
        self.activity.requests.fetch_add(1, Ordering::AcqRel);
        Answering { activity: self.activity.clone() }
    }
}

/// A request being answered.
pub(crate) struct Answering {
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
pub(crate) struct Connection {
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

    /// The client at the other end.
    fn client(&self) -> Client {
        Client { activity: self.activity.clone() }
    }

    /// What an operation that has to wait for the client comes to.
    fn wait(&mut self, context: &mut Context) -> Poll<io::Error> {
        if self.activity.requests.load(Ordering::Acquire) > 0 {
            // Looked at again later: the answer may end without the socket having anything to say.
            let now = Instant::now();
            if self.alarm.deadline() <= now {
                let again = now + self.patience;
                self.alarm.as_mut().reset(again);
            }
            return match self.alarm.as_mut().poll(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            };
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
