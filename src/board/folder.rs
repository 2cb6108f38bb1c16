//! The folder of runs, and what changed in it since the last look. A look at a run in which nothing happened costs one
//! `stat`: the names in its directory change with all that is written there, but for the lines that a run in training
//! appends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::curves::{EpochPoint, Tail};
use super::summary::{self, Epochs, Facts, RunSummary};
use crate::run::RunDir;
use crate::run::lock::RunLock;
use crate::run::progress::ProgressPoint;

/// For so long after a change another one may have the same time, where a file system's clock is coarse.
const COARSE: Duration = Duration::from_secs(2);

/// What a look found; each is an event of the page, under the name of its kind.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Change {
    /// Runs that are new or whose line is another, and those that are gone.
    Runs { changed: Vec<RunSummary>, gone: Vec<String> },
    /// Points that were added to a run's curves; with `reset`, all there were are to be read anew.
    Points { run: String, reset: bool, epochs: Vec<EpochPoint>, progress: Vec<ProgressPoint> },
}

/// The folder as it was at the last look.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// By name; nothing for a folder that is no run.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// When the directory last changed, if that is long enough ago to tell it from the next change.
    settled: Option<SystemTime>,
    run: Option<Box<Known>>,
}

/// What is known of a run.
#[derive(Debug)]
struct Known {
    dir: RunDir,
    facts: Facts,
    is_live: bool,
    epochs: Epochs,
    newest: Option<ProgressPoint>,
    metrics: Tail,
    progress: Tail,
    line: RunSummary,
}

impl Folder {
    /// The folder at `path`, at which nobody has looked; it need not exist.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, entries: BTreeMap::new() }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All runs.
    pub(super) fn lines(&self) -> Vec<&RunSummary> {
        self.entries.values().filter_map(|entry| Some(&entry.run.as_ref()?.line)).collect()
    }

    /// The run called `name`, if the last look found one: nothing else can be asked for.
    pub(super) fn find(&self, name: &str) -> Option<(RunDir, RunSummary)> {
        let run = self.entries.get(name)?.run.as_ref()?;
        Some((run.dir.clone(), run.line.clone()))
    }

    /// Looks, and says what is different from the last time.
    pub(super) fn look(&mut self) -> Vec<Change> {
        let mut entries = std::mem::take(&mut self.entries);
        let has_run = |entry: &Entry| entry.run.is_some();
        let mut gone: Vec<String> =
            entries.iter().filter(|(_, entry)| has_run(entry)).map(|(name, _)| name.clone()).collect();
        let (mut changed, mut points) = (Vec::new(), Vec::new());
        for name in names(&self.path) {
            let path = self.path.join(&name);
            let before = entries.remove(&name);
            let before_line = before.as_ref().and_then(|entry| Some(entry.run.as_ref()?.line.clone()));
            let Some((entry, added)) = refreshed(&name, &path, before) else { continue };
            if let Some(run) = &entry.run {
                if before_line.as_ref() != Some(&run.line) {
                    changed.push(run.line.clone());
                }
                points.extend(added.filter(|_| before_line.is_some()));
            }
            self.entries.insert(name, entry);
        }
        gone.retain(|name| !self.entries.get(name).is_some_and(has_run));
        // The points first: a run that is told to be done has all of them.
        let mut changes = points;
        if !changed.is_empty() || !gone.is_empty() {
            changes.push(Change::Runs { changed, gone });
        }
        changes
    }
}

/// The names of the folders in `path`, without hidden ones: a run has its name when it is complete.
fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let visible = entries.flatten().filter_map(|entry| {
        let kind = entry.file_type().ok()?;
        let name = entry.file_name().into_string().ok()?;
        (!name.starts_with('.') && (kind.is_dir() || kind.is_symlink())).then_some(name)
    });
    visible.collect()
}

/// What `path` is now, and the points that its run has got since `before`; nothing when it is no folder, or gone.
fn refreshed(name: &str, path: &Path, before: Option<Entry>) -> Option<(Entry, Option<Change>)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    // Told before anything is read: what changes meanwhile is seen at the next look.
    let modified = metadata.modified().ok();
    let is_old = |time: &SystemTime| SystemTime::now().duration_since(*time).is_ok_and(|age| age > COARSE);
    let settled = modified.filter(is_old);
    let (known_settled, known) = before.map_or((None, None), |entry| (entry.settled, entry.run));
    let is_unchanged = settled.is_some() && settled == known_settled;
    let Some(mut run) = known else {
        if is_unchanged {
            return Some((Entry { settled, run: None }, None));
        }
        let run = RunDir::open(path).ok().map(|dir| Box::new(Known::read(name, dir)));
        return Some((Entry { settled, run }, None));
    };
    if is_unchanged && !run.facts.says_running() {
        return Some((Entry { settled, run: Some(run) }, None));
    }
    if !is_unchanged && RunDir::open(path).is_err() {
        return Some((Entry { settled, run: None }, None));
    }
    let change = run.look(name, is_unchanged);
    Some((Entry { settled, run: Some(run) }, change))
}

impl Known {
    /// Everything about the run in `dir`.
    fn read(name: &str, dir: RunDir) -> Self {
        let mut facts = Facts::read(&dir);
        let is_live = is_live(&mut facts, &dir);
        let (mut metrics, mut progress) = (Tail::at(dir.metrics()), Tail::near_end(dir.progress()));
        let mut epochs = Epochs::default();
        metrics.read().unwrap_or_default().iter().for_each(|point| epochs.add(point));
        // Of a finished run, nobody asks how far the epoch under way is.
        let newest = if facts.says_done() { None } else { progress.read().unwrap_or_default().pop() };
        let line = summary::line(name, &dir, &facts, &epochs, newest.as_ref(), is_live);
        Self { dir, facts, is_live, epochs, newest, metrics, progress, line }
    }

    /// Looks again, and says which points came.
    fn look(&mut self, name: &str, is_unchanged: bool) -> Option<Change> {
        let mut facts = if is_unchanged { None } else { Some(Facts::read(&self.dir)) };
        let is_another_process = facts.as_ref().is_some_and(|facts| facts.process() != self.facts.process());
        let was_live = self.is_live;
        let current = facts.as_mut().unwrap_or(&mut self.facts);
        self.is_live = is_live(current, &self.dir);
        if let Some(facts) = facts {
            self.facts = facts;
        }
        if is_another_process || (self.is_live && !was_live) {
            return Some(self.reset(name));
        }
        // After the lock: what a process wrote before it ended is there.
        let follows = self.is_live || was_live;
        let epochs = self.metrics.read::<EpochPoint>();
        let progress = if follows { self.progress.read::<ProgressPoint>() } else { Ok(Vec::new()) };
        let (Ok(epochs), Ok(progress)) = (epochs, progress) else { return Some(self.reset(name)) };
        epochs.iter().for_each(|point| self.epochs.add(point));
        if let Some(newest) = progress.last() {
            self.newest = Some(newest.clone());
        }
        self.line = self.summary(name);
        let has_points = !epochs.is_empty() || !progress.is_empty();
        has_points.then(|| Change::Points { run: name.to_owned(), reset: false, epochs, progress })
    }

    fn reset(&mut self, name: &str) -> Change {
        *self = Self::read(name, self.dir.clone());
        Change::Points { run: name.to_owned(), reset: true, epochs: Vec::new(), progress: Vec::new() }
    }

    fn summary(&self, name: &str) -> RunSummary {
        summary::line(name, &self.dir, &self.facts, &self.epochs, self.newest.as_ref(), self.is_live)
    }
}

/// Whether a living process trains the run.
fn is_live(facts: &mut Facts, dir: &RunDir) -> bool {
    if !facts.says_running() {
        return false;
    }
    let is_held = RunLock::is_held(dir);
    if !is_held {
        // It may have ended in good order between the two looks, and said so.
        facts.read_record(dir);
    }
    is_held
}
