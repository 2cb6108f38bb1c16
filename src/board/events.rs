//! The answer that never ends: server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::Frame;
use tokio::sync::{broadcast, mpsc};
use tokio::time::sleep;

use super::PATIENCE;
use crate::http::connection::Answering;

/// A listener that is gone is noticed when something is sent to it, so something is, at least so often.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Sends `first` and then what comes, until the listener is gone, takes nothing for too long, or the board ends.
pub(super) fn stream(first: Bytes, events: broadcast::Receiver<Bytes>, answering: Answering) -> Body {
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(send(sender, first, events, answering));
    Body::new(Stream { receiver })
}

async fn send(
    sender: mpsc::Sender<Bytes>,
    first: Bytes,
    mut events: broadcast::Receiver<Bytes>,
    _answering: Answering,
) {
    // A page that loses its board asks for it again every second.
    let mut next = [&b"retry: 1000\n\n"[..], &first].concat().into();
    while sender.send_timeout(next, PATIENCE).await.is_ok() {
        next = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => event,
                // It ends, or the listener is too far behind: a new connection begins with everything.
                Err(_) => return,
            },
            () = sleep(HEARTBEAT) => Bytes::from_static(b":\n\n"),
            () = sender.closed() => return,
        };
    }
}

/// What was sent, as a body.
struct Stream {
    receiver: mpsc::Receiver<Bytes>,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.receiver.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
