//! One thread through which all images go to the network, as many together as are there. Requests wait for each other
//! only while the network is at work, or for [`Batcher::delay`] when another image is just being decoded.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::metrics::Metrics;
use super::model::Model;
use crate::http::refusal::Refusal;
use crate::predict::Prediction;
use crate::{Error, Result};

/// What a queued request comes to.
pub(super) type Answer = Result<Vec<Prediction>, Refusal>;

/// The images of one request.
struct QueuedRequest {
    inputs: Vec<Vec<u8>>,
    predictions: Vec<Prediction>,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

impl QueuedRequest {
    fn left(&self) -> usize {
        self.inputs.len() - self.predictions.len()
    }

    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed() || Instant::now() >= self.deadline
    }
}

/// The queue to the network.
pub(super) struct Batcher {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    preparing: AtomicUsize,
    capacity: usize,
    size: usize,
    delay: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<QueuedRequest>,
    closed: bool,
}

impl Queue {
    fn images(&self) -> usize {
        self.requests.iter().map(QueuedRequest::left).sum()
    }
}

/// How images are put together.
pub(super) struct Batching {
    /// The most requests that wait.
    pub capacity: usize,
    /// The most images in a batch.
    pub size: usize,
    /// The most time that images wait for others that are being prepared.
    pub delay: Duration,
}

impl Batcher {
    /// Starts the thread, which ends when the batcher is dropped.
    pub fn start(model: Arc<dyn Model>, batching: &Batching, metrics: Arc<Metrics>) -> Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            preparing: AtomicUsize::new(0),
            capacity: batching.capacity,
            size: batching.size,
            delay: batching.delay,
            metrics,
        });
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("kiln-network".into())
            .spawn(move || of_thread.work(&*model))
            .map_err(|error| Error::failed("cannot start the network's thread").caused_by(error))?;
        Ok(Self { shared })
    }

    /// Says that images are being prepared, until the result is dropped.
    pub fn preparing(&self) -> Preparing {
        self.shared.preparing.fetch_add(1, Ordering::AcqRel);
        Preparing { shared: self.shared.clone() }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_all();
    }
}

/// Images on their way to the queue.
pub(super) struct Preparing {
    shared: Arc<Shared>,
}

impl Preparing {
    /// Puts prepared inputs into the queue; whoever waits for the answer gets it by `deadline` or not at all.
    pub fn submit(self, inputs: Vec<Vec<u8>>, deadline: Instant) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.shared.queue();
        if queue.requests.len() >= self.shared.capacity {
            return Err(Refusal::busy("as many requests wait for the network as may"));
        }
        queue.requests.push_back(QueuedRequest { inputs, predictions: Vec::new(), deadline, answer });
        // Between the first image and the last that is being prepared, or a full batch, there is nothing to wake up for.
        if queue.requests.len() == 1 || queue.images() >= self.shared.size {
            self.shared.changed.notify_one();
        }
        self.shared.metrics.queue_depth.set(queue.requests.len());
        Ok(receiver)
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        if self.shared.preparing.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Not between the look at the count and the wait for it.
            drop(self.shared.queue());
            self.shared.changed.notify_one();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, model: &dyn Model) {
        while let Some(requests) = self.next() {
            self.predict(model, requests);
        }
    }

    /// The requests to serve next, or nothing when the batcher is gone.
    fn next(&self) -> Option<Vec<QueuedRequest>> {
        let mut queue = self.queue();
        while queue.requests.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + self.delay;
        while queue.images() < self.size && self.preparing.load(Ordering::Acquire) > 0 && !queue.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut requests = Vec::new();
        let mut images = 0;
        while images < self.size {
            let Some(request) = queue.requests.pop_front() else { break };
            if !request.is_abandoned() {
                images += request.left();
                requests.push(request);
            }
        }
        self.metrics.queue_depth.set(queue.requests.len());
        Some(requests)
    }

    /// Sends one batch through the network. A request larger than the room in it goes to the end of the queue with the
    /// rest, so that small requests do not wait for large ones.
    fn predict(&self, model: &dyn Model, requests: Vec<QueuedRequest>) {
        let mut room = self.size;
        let mut counts = Vec::with_capacity(requests.len());
        let mut inputs = Vec::with_capacity(room);
        for request in &requests {
            let count = request.left().min(room);
            let done = request.predictions.len();
            inputs.extend(request.inputs[done..done + count].iter().map(Vec::as_slice));
            counts.push(count);
            room -= count;
        }
        if inputs.is_empty() {
            return;
        }
        self.metrics.batch_images.observe(inputs.len() as f64);
        let answer = match catch_unwind(AssertUnwindSafe(|| model.predict(&inputs))) {
            Ok(Ok(predictions)) if predictions.len() == inputs.len() => Ok(predictions),
            Ok(Ok(_)) => Err(Refusal::panicked("the network")),
            Ok(Err(error)) => Err(Refusal::from_error(&error, "failed")),
            Err(_) => {
                self.metrics.panics.add(1);
                Err(Refusal::panicked("the network"))
            }
        };
        match answer {
            Ok(predictions) => self.hand_out(requests, &counts, predictions),
            Err(refusal) => requests.into_iter().for_each(|request| {
                let _ = request.answer.send(Err(refusal.clone()));
            }),
        }
    }

    fn hand_out(&self, requests: Vec<QueuedRequest>, counts: &[usize], predictions: Vec<Prediction>) {
        let mut predictions = predictions.into_iter();
        for (mut request, &count) in requests.into_iter().zip(counts) {
            request.predictions.extend(predictions.by_ref().take(count));
            if request.left() == 0 {
                // Whoever asked may have left meanwhile.
                let _ = request.answer.send(Ok(request.predictions));
            } else {
                self.queue().requests.push_back(request);
            }
        }
    }
}
