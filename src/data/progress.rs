//! How far a long reading of files is, for whoever wants to show it. Reading is done deep within a source; like a log, its
//! progress goes to one listener of the process, and to nobody where there is none.

use std::sync::OnceLock;

/// Files that are read between one word and the next.
const EVERY: usize = 500;

/// What is called now and then while something is read.
type Listener = Box<dyn Fn(&Reading) + Send + Sync>;

/// Who is told.
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// How far a reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What is done with the files: "reading pictures".
    pub what: &'static str,
    /// Files that are done.
    pub done: usize,
    /// All of them.
    pub of: usize,
}

/// Makes `listener` be told, from any thread, of every reading of this process that takes a while; the first one that
/// listens stays.
pub fn listen(listener: impl Fn(&Reading) + Send + Sync + 'static) {
    let _ = LISTENER.set(Box::new(listener));
}

/// Tells how far a reading is, now and then, and at its end; of a few files nothing is told.
pub(super) fn tell(what: &'static str, done: usize, of: usize) {
    if of >= 2 * EVERY
        && (done.is_multiple_of(EVERY) || done == of)
        && let Some(listener) = LISTENER.get()
    {
        listener(&Reading { what, done, of });
    }
}
