//! Who does a piece of work, told by files alone, so that it holds on file systems whose locks do not reach other machines.
//!
//! A claim is a file that is made once and never changed: `claim-1`, then `claim-2` by whoever takes the work over, and so on.
//! The one with the highest number counts. Its name can be given once, so of two takers one gets it. Beside it, its owner
//! rewrites `claim-1.beat` every few seconds, and in the end writes there that it is done. Nobody else ever writes or deletes
//! anything, so no one can take a claim away from its new owner by mistake.
//!
//! Who looks on watches whether the beat changes, by its own clock: the clocks of two machines may differ by hours. On the
//! owner's own machine a dead process is seen at once.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::run::file;
use crate::{Error, Result};

/// How often the owner says that it lives.
const BEAT: Duration = Duration::from_secs(5);

/// After so long without a beat the owner counts as gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a beat says when the owner is done.
const RELEASED: &str = "released";

/// A process: enough to tell on its own machine whether it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// Its machine's name, for people.
    host: String,
    /// What tells the machine from others of that name: its boot, and the process's name space.
    machine: String,
    pid: u32,
    /// When it began, in the machine's own count: numbers of processes are used again.
    began: String,
    /// What tells this claim from every other.
    token: String,
}

/// Work that is ours, until it is released or dropped.
#[derive(Debug)]
pub(super) struct Claim {
    folder: PathBuf,
    number: u64,
    is_lost: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    beating: Option<JoinHandle<()>>,
}

/// What an observer remembers of the claims of others.
#[derive(Debug)]
pub(super) struct Watch {
    patience: Duration,
    seen: HashMap<PathBuf, (String, Instant)>,
}

impl Watch {
    /// Owners that do not beat for `patience` count as gone.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, seen: HashMap::new() }
    }

    /// Claims the work of `folder`, which is made when missing; nothing when another living process has it.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub(super) fn take(&mut self, folder: &Path) -> Result<Option<Claim>> {
        let cannot = |error: io::Error| {
            Error::failed(format!("cannot claim the work in `{}`", folder.display())).caused_by(error)
        };
        fs::create_dir_all(folder).map_err(cannot)?;
        let newest = newest(folder).map_err(cannot)?;
        if newest > 0 && !self.is_free(folder, newest) {
            return Ok(None);
        }
        Claim::make(folder, newest + 1).map_err(cannot)
    }

    /// Whether the owner of a claim is done, dead, or silent for too long.
    fn is_free(&mut self, folder: &Path, number: u64) -> bool {
        let beat = fs::read_to_string(beat_of(folder, number)).unwrap_or_default();
        if beat == RELEASED {
            return true;
        }
        let owner = fs::read(claim_of(folder, number)).ok();
        let owner: Option<Owner> = owner.and_then(|text| serde_json::from_slice(&text).ok());
        if owner.is_some_and(|owner| owner.is_dead()) {
            return true;
        }
        let seen = self.seen.entry(claim_of(folder, number)).or_insert_with(|| (beat.clone(), Instant::now()));
        if seen.0 != beat {
            *seen = (beat, Instant::now());
        }
        seen.1.elapsed() >= self.patience
    }
}

impl Claim {
    /// Makes the claim of this number; nothing when another one was first.
    fn make(folder: &Path, number: u64) -> io::Result<Option<Self>> {
        let owner = Owner::this();
        let text = serde_json::to_vec(&owner).map_err(io::Error::other)?;
        let path = claim_of(folder, number);
        // Complete before it has its name, which a link gives at most once on every file system; where there are no links,
        // a file that must be new does.
        let draft = folder.join(format!(".draft-{}", owner.token));
        fs::write(&draft, &text)?;
        let linked = match fs::hard_link(&draft, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                fs::File::create_new(&path).and_then(|mut file| io::Write::write_all(&mut file, &text))
            }
            linked => linked,
        };
        let _ = fs::remove_file(&draft);
        // An answer that was lost on the way says the contrary of what happened: what counts is what is there.
        if fs::read(&path).is_ok_and(|found| found == text) {
            return Ok(Some(Self::begin(folder, number)));
        }
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(None),
        }
    }

    fn begin(folder: &Path, number: u64) -> Self {
        let is_lost = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel();
        let beating = thread::spawn({
            let (folder, is_lost) = (folder.to_owned(), is_lost.clone());
            move || {
                let mut count = 0_u64;
                // A beat that cannot be written is missing; whoever misses enough of them takes over.
                let _ = fs::write(beat_of(&folder, number), "0");
                while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    count += 1;
                    let _ = fs::write(beat_of(&folder, number), count.to_string());
                    is_lost.fetch_or(newest(&folder).is_ok_and(|newest| newest != number), Ordering::Relaxed);
                }
            }
        });
        Self { folder: folder.to_owned(), number, is_lost, stop: Some(stop), beating: Some(beating) }
    }

    /// Whether another process was seen to have taken it over. Costs nothing.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether it is still ours, by a look at the files.
    pub(super) fn is_ours(&self) -> bool {
        !self.is_lost() && newest(&self.folder).is_ok_and(|newest| newest == self.number)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
        // Written whole or not at all, or seen as a last beat.
        let _ = file::write_atomic(&beat_of(&self.folder, self.number), RELEASED.as_bytes());
    }
}

impl Owner {
    fn this() -> Self {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let host = read("/proc/sys/kernel/hostname");
        let (pid, now) = (std::process::id(), jiff::Timestamp::now().as_nanosecond());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let (machine, began) = (machine(), began(pid).unwrap_or_default());
        let token = format!("{host}-{pid}-{count}-{now}");
        Self { host, machine, pid, began, token }
    }

    /// Whether it is known to be gone: its machine is this one, and no process is it.
    fn is_dead(&self) -> bool {
        !self.machine.is_empty() && self.machine == machine() && began(self.pid).as_deref() != Some(&self.began)
    }
}

/// This boot of this machine, as seen by this process; empty where the system does not tell.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if boot.is_empty() { String::new() } else { format!("{} {}", boot.trim(), space.display()) }
}

/// When a process of this machine began; nothing when there is none of this number, or it is dead and not yet buried.
fn began(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; after it the fields are told by spaces: the 3rd is the state, the 22nd the
    // time.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!["Z", "X"].contains(&state)).then(|| fields.nth(18).map(str::to_owned))?
}

fn claim_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("claim-{number}"))
}

fn beat_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("claim-{number}.beat"))
}

/// The highest number of a claim in `folder`, or 0.
fn newest(folder: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("claim-")?.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient() -> Watch {
        Watch::new(Duration::from_secs(3600))
    }

    /// A claim as another process wrote it.
    fn write(folder: &Path, number: u64, owner: &Owner, beat: &str) {
        fs::write(claim_of(folder, number), serde_json::to_vec(owner).unwrap()).unwrap();
        fs::write(beat_of(folder, number), beat).unwrap();
    }

    fn stranger() -> Owner {
        Owner { host: "far".into(), machine: "another".into(), pid: 1, began: "1".into(), token: "far-1".into() }
    }

    #[test]
    fn of_many_takers_one_gets_it() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let taken: Vec<Option<Claim>> = thread::scope(|scope| {
                let takers: Vec<_> = (0..8).map(|_| scope.spawn(|| patient().take(folder.path()).unwrap())).collect();
                takers.into_iter().map(|taker| taker.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().flatten().count(), 1);
            assert!(taken.iter().flatten().all(Claim::is_ours));
        }
    }

    #[test]
    fn what_is_released_can_be_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = patient().take(folder.path()).unwrap().unwrap();
        assert!(patient().take(folder.path()).unwrap().is_none());
        drop(first);
        let second = patient().take(folder.path()).unwrap().unwrap();
        assert_eq!(second.number, 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_dead_owner_on_this_machine_is_seen_at_once_even_when_its_number_lives_again() {
        for began in ["", "a process of this number, that began earlier"] {
            let folder = tempfile::tempdir().unwrap();
            let pid = if began.is_empty() { 4_000_000_000 } else { std::process::id() };
            let dead = Owner { machine: machine(), pid, began: began.into(), ..stranger() };
            write(folder.path(), 1, &dead, "3");
            let claim = patient().take(folder.path()).unwrap().unwrap();
            assert_eq!(claim.number, 2);
        }
        let living = Owner::this();
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, &living, "3");
        assert!(patient().take(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_silent_owner_elsewhere_is_gone_and_one_that_beats_is_not() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, &stranger(), "1");
        let mut watch = Watch::new(Duration::from_millis(80));
        assert!(watch.take(folder.path()).unwrap().is_none(), "it is seen for the first time");
        thread::sleep(Duration::from_millis(100));
        fs::write(beat_of(folder.path(), 1), "2").unwrap();
        assert!(watch.take(folder.path()).unwrap().is_none(), "it has beaten since");
        thread::sleep(Duration::from_millis(100));
        let claim = watch.take(folder.path()).unwrap().unwrap();
        assert!(claim.number == 2 && claim.is_ours());
        // The silent one comes back and sees that it has lost.
        let late = Claim::begin(folder.path(), 1);
        assert!(!late.is_ours());
        assert!(claim.is_ours());
    }

    #[test]
    fn two_takers_of_a_silent_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, &stranger(), "1");
        let taken: Vec<Option<Claim>> = thread::scope(|scope| {
            let takers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Watch::new(Duration::ZERO).take(folder.path()).unwrap())).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).collect()
        });
        // Those that came after the first saw a claim that had just begun, and were as impatient with it.
        let ours = taken.iter().flatten().filter(|claim| claim.is_ours()).count();
        assert_eq!(ours, 1);
    }
}
