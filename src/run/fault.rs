//! Faults on demand, for the tests that stop a run at every step: the process dies, or the disk is full, at the N-th
//! operation on a run's files. Only in builds with debug assertions, as `cargo test` makes them; elsewhere nothing.
//!
//! `KILN_FAULT=kill:N` ends the process before operation N (half of a write is done), `KILN_FAULT=full:N` lets that
//! operation fail as on a full disk. `KILN_FAULT_LOG=FILE` lists the operations, one line each.

use std::fs::File;
use std::io;

/// What a point of failure is asked to do.
enum Fault {
    None,
    #[cfg(debug_assertions)]
    Kill,
}

/// Comes before every operation on a run's files; `what` names it.
///
/// # Errors
/// When a full disk is asked for here.
pub(super) fn point(what: &str) -> io::Result<()> {
    match next(what)? {
        Fault::None => Ok(()),
        #[cfg(debug_assertions)]
        Fault::Kill => die(),
    }
}

/// Writes all of `bytes`; when the process is to die here, half of them.
///
/// # Errors
/// As any write, and when a full disk is asked for here.
pub(super) fn write(file: &mut File, bytes: &[u8], what: &str) -> io::Result<()> {
    use io::Write as _;
    match next(&format!("write {what}"))? {
        Fault::None => file.write_all(bytes),
        #[cfg(debug_assertions)]
        Fault::Kill => {
            let _ = file.write_all(&bytes[..bytes.len() / 2]);
            die()
        }
    }
}

#[cfg(not(debug_assertions))]
#[inline]
fn next(_what: &str) -> io::Result<Fault> {
    Ok(Fault::None)
}

#[cfg(debug_assertions)]
fn next(what: &str) -> io::Result<Fault> {
    use io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static COUNT: AtomicUsize = AtomicUsize::new(0);
    static PLAN: OnceLock<Option<(bool, usize)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("KILN_FAULT").ok()?;
        let (kind, number) = text.split_once(':')?;
        Some((kind == "kill", number.parse().ok()?))
    });
    if let Some(log) = std::env::var_os("KILN_FAULT_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        writeln!(log, "{what}")?;
    }
    let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    match plan {
        Some((true, at)) if *at == number => Ok(Fault::Kill),
        Some((false, at)) if *at == number => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(Fault::None),
    }
}

#[cfg(debug_assertions)]
#[expect(clippy::exit, reason = "this is what is asked for: the process is gone at once")]
fn die() -> ! {
    std::process::exit(137)
}
