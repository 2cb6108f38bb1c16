//! Looking at the folder while somebody listens, and telling everyone who does. With nobody there, nothing is read.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::sleep;

use super::folder::{Change, Folder};

/// The least time between two looks.
const EVERY: Duration = Duration::from_millis(400);
/// Looking takes at most one part in so many of the time, however many runs there are.
const REST: u32 = 20;
/// Events that a listener may be behind; one that is further behind is sent away, and begins anew.
const BEHIND: usize = 256;

/// The folder, and who listens.
pub(super) struct Watch {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    folder: Folder,
    /// Gone when the board ends.
    listeners: Option<broadcast::Sender<Bytes>>,
}

impl Watch {
    /// Watches the folder at `path` until told to stop, which ends all events.
    pub(super) fn start(path: PathBuf, stopped: watch::Receiver<bool>) -> Arc<Self> {
        let state = State { folder: Folder::at(path), listeners: Some(broadcast::channel(BEHIND).0) };
        let watch = Arc::new(Self { state: Mutex::new(state), arrived: Notify::new() });
        tokio::spawn(watch.clone().run(stopped));
        watch
    }

    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut pause = EVERY;
        loop {
            tokio::select! {
                () = self.next(pause) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            pause = self.clone().look_aside().await;
        }
        // Whoever listens learns how it ended.
        self.clone().look_aside().await;
        self.state().listeners = None;
    }

    /// Ends when it is time to look, and somebody listens.
    async fn next(&self, pause: Duration) {
        sleep(pause).await;
        loop {
            let arrived = self.arrived.notified();
            if self.state().has_listeners() {
                return;
            }
            arrived.await;
        }
    }

    /// Looks on a thread that may wait for the disk, and says how long to rest.
    async fn look_aside(self: Arc<Self>) -> Duration {
        let looking = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            self.state().look();
            begun.elapsed()
        });
        (looking.await.unwrap_or_default() * REST).max(EVERY)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks now, and gives what `read` makes of the folder. It waits for the disk.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Folder) -> T) -> T {
        let mut state = self.state();
        state.look();
        read(&state.folder)
    }

    /// All runs as they are now, as an event, and what happens from here on; nothing when the board ends. It waits for the
    /// disk.
    pub(super) fn listen(&self) -> Option<(Bytes, broadcast::Receiver<Bytes>)> {
        let mut state = self.state();
        state.look();
        let receiver = state.listeners.as_ref()?.subscribe();
        let all = serde_json::json!({ "folder": state.folder.path(), "runs": state.folder.lines() });
        self.arrived.notify_one();
        Some((event("all", &all), receiver))
    }
}

impl State {
    fn has_listeners(&self) -> bool {
        self.listeners.as_ref().is_some_and(|listeners| listeners.receiver_count() > 0)
    }

    /// Whoever looks tells everyone, so that nobody misses what another has seen first.
    fn look(&mut self) {
        for change in self.folder.look() {
            if let Some(listeners) = &self.listeners {
                let _ = listeners.send(event(change.event(), &change));
            }
        }
    }
}

impl Change {
    /// The name of the event.
    fn event(&self) -> &'static str {
        match self {
            Self::Runs { .. } => "runs",
            Self::Points { .. } => "points",
        }
    }
}

/// An event in the text that browsers read. JSON has no line breaks outside of strings, and none inside.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    format!("event: {name}\ndata: {data}\n\n").into()
}
