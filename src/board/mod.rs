//! A page over a folder of runs: which there are, how they stand, and their curves, as they grow. It reads what runs leave on
//! disk and changes nothing; it owns no process, and a run does not know whether anybody looks.
//!
//! | what | file |
//! |---|---|
//! | one run in a line, read from its directory | `summary.rs` |
//! | the points of its curves | `curves.rs` |
//! | the folder, and what changed in it since the last look | `folder.rs` |
//! | looking while somebody listens | `watch.rs` |
//! | the answers, one of which never ends | `routes.rs`, `events.rs` |

mod curves;
mod events;
mod folder;
mod page;
mod routes;
mod summary;
#[cfg(test)]
mod tests;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use summary::RunSummary;

use crate::Result;
use crate::http::Server;
use folder::Folder;

/// How long a connection may be silent, and a reader of events take nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which runs to show, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The folder that the runs are in; it need not exist yet.
    pub(crate) runs: PathBuf,
    /// Where to listen; port 0 takes any free one.
    pub(crate) address: SocketAddr,
    /// Names that requests may be addressed to, besides the address and the loopback names; `*` stands for any.
    pub(crate) allow_hosts: Vec<String>,
}

/// Listens and answers, on threads of its own.
///
/// # Errors
/// A usage error when the address cannot be listened on, or a host is no name.
pub(crate) fn start(options: &Options) -> Result<Server> {
    Server::start(options.address, PATIENCE, |address, stopped| routes::app(options, address, stopped))
}

/// Every run in `folder` as it stands now, by name. None in a folder that is not there.
pub(crate) fn runs(folder: &Path) -> Vec<RunSummary> {
    let mut folder = Folder::at(folder.to_owned());
    folder.look();
    folder.lines().into_iter().cloned().collect()
}

/// The part of an address that opens the page with the run `name`.
pub(crate) fn fragment(name: &str) -> String {
    let mut fragment = String::from("#");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => fragment.push(char::from(byte)),
            _ => fragment.push_str(&format!("%{byte:02X}")),
        }
    }
    fragment
}
