//! The body of a request, read within its limits of bytes and time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::refusal::Refusal;

/// How many of the largest bodies may be in memory together.
const LARGEST_TOGETHER: usize = 32;

/// How much of a body that is refused is still taken in, and for how long: a client that is cut off while it sends
/// would never read why.
const DISCARDED_BYTES: usize = 64 << 20;
const DISCARDING: Duration = Duration::from_secs(2);

/// The limits of bodies.
#[derive(Debug)]
pub(super) struct Bodies {
    most: usize,
    budget: Arc<Semaphore>,
}

/// A body in memory, with its part of the memory that all bodies share.
#[derive(Debug)]
pub(super) struct Whole {
    pub bytes: Vec<u8>,
    _budget: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Bodies of at most `most` bytes each.
    pub fn new(most: usize) -> Self {
        let budget = most.saturating_mul(LARGEST_TOGETHER).min(u32::MAX as usize);
        Self { most, budget: Arc::new(Semaphore::new(budget)) }
    }

    /// Reads a whole body by `deadline`.
    pub async fn read(&self, headers: &HeaderMap, mut body: Body, deadline: Instant) -> Result<Whole, Refusal> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|declared| declared > self.most as u64) {
            discard(body).await;
            return Err(self.too_large());
        }
        let mut whole = Whole { bytes: Vec::new(), _budget: None };
        loop {
            let Ok(frame) = timeout_at(deadline, next(&mut body)).await else {
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body came too slowly")
                    .tip("send less, or serve with a longer --timeout-seconds"));
            };
            let Some(data) = frame? else { return Ok(whole) };
            if whole.bytes.len() + data.len() > self.most {
                drop(whole);
                discard(body).await;
                return Err(self.too_large());
            }
            let count = u32::try_from(data.len()).map_err(|_| self.too_large())?;
            let Ok(part) = self.budget.clone().try_acquire_many_owned(count) else {
                drop(whole);
                discard(body).await;
                return Err(Refusal::busy("it holds as many bytes of requests as it may"));
            };
            match &mut whole._budget {
                Some(budget) => budget.merge(part),
                none => *none = Some(part),
            }
            whole.bytes.extend_from_slice(&data);
        }
    }

    fn too_large(&self) -> Refusal {
        let message = format!("the body must have at most {} bytes", self.most);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            .tip("send a smaller picture or fewer images, or serve with a larger --max-body-mb")
    }
}

/// The next bytes of a body, or nothing at its end.
async fn next(body: &mut Body) -> Result<Option<axum::body::Bytes>, Refusal> {
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "incomplete_body",
                    "the body ended before its length",
                )
                .tip("send as many bytes as `Content-Length` says, or whole chunks"));
            }
        }
    }
}

async fn discard(mut body: Body) {
    let rest = async {
        let mut left = DISCARDED_BYTES;
        while let Ok(Some(data)) = next(&mut body).await {
            left = left.saturating_sub(data.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(DISCARDING, rest).await;
}
