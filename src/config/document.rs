//! From a config's text to a checked [`Experiment`]: TOML -> `--set` patches -> against the schema -> typed -> checked.
//! All problems are found in one pass, each with its place and its key.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::contradictions::contradictions;
use super::presets::{self, Preset};
use super::tree::{self, Node, Place};
use super::walk::{Located, Walk, shorten};
use super::{Experiment, augment_table, renames, schema, sets};
use crate::check::{Check as _, Problems};
use crate::{Error, Result};

/// The largest config file, in bytes; a real one has a few hundred.
const LARGEST: u64 = 1 << 20;

/// Where a config comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file. Its relative paths start at its folder.
    File(PathBuf),
    /// The resolved config that a run keeps in its directory. Its paths are absolute, unless an earlier version wrote
    /// them: those start at the working folder, and stay as they are, so that the run's config stays the same text.
    Run(PathBuf),
    /// A config that is built into the program.
    Embedded(&'static Preset),
    /// A text, and what it is called in messages.
    Text(String, String),
}

impl Origin {
    /// What the user means by `argument`: the name of a config that is built in, or a file; anything else with a `/`, `\` or
    /// `.` in it is a path.
    ///
    /// # Errors
    /// When a bare name is neither.
    pub fn find(argument: &str) -> Result<Self> {
        if argument.is_empty() {
            return Err(Error::usage("the config has an empty name").tip("leave it out to use `mnist`"));
        }
        let is_path = argument.contains(['/', '\\', '.']);
        match presets::embedded(argument) {
            Ok(preset) => Ok(Self::Embedded(preset)),
            Err(error) if !is_path && !Path::new(argument).exists() => Err(error),
            _ => Ok(Self::File(argument.into())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Run(path) => path.display().to_string(),
            Self::Embedded(preset) => format!("{} (built in)", preset.name),
            Self::Text(name, _) => name.clone(),
        }
    }

    fn text(&self) -> Result<String> {
        match self {
            Self::File(path) | Self::Run(path) => read(path),
            Self::Embedded(preset) => Ok(preset.text.to_owned()),
            Self::Text(_, text) => Ok(text.clone()),
        }
    }

    /// Where the relative paths of the text start; none when they stay as they are.
    fn base(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => path.parent().map(Path::to_owned),
            Self::Run(_) | Self::Embedded(_) | Self::Text(..) => None,
        }
    }
}

/// Where a key's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nobody gave it.
    Default,
    /// A line of the file.
    Line(usize),
    /// This `--set`.
    Set(String),
}

/// A loaded experiment that still knows where each of its values was written.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The experiment, checked.
    pub experiment: Experiment,
    /// What should be known of how it was written: keys whose names have changed.
    pub notices: Vec<String>,
    root: Node,
    sets: Vec<String>,
}

impl Loaded {
    /// Where the value of the key at this path comes from.
    pub fn given(&self, path: &str) -> Given {
        match self.root.get(&tree::split(path)).map(|node| node.place) {
            None => Given::Default,
            Some(Place::File(line, _)) => Given::Line(line),
            Some(Place::Set(index)) => Given::Set(self.sets[index].clone()),
        }
    }
}

impl Experiment {
    /// The experiment that is built in under this name, for example `mnist`.
    ///
    /// # Errors
    /// A usage error that lists the names.
    pub fn preset(name: &str) -> Result<Self> {
        Self::load(&Origin::Embedded(presets::embedded(name)?), &[])
    }

    /// The experiment in a config file.
    ///
    /// # Errors
    /// One usage error with every problem, each with its place and key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(&Origin::File(path.as_ref().to_owned()), &[])
    }

    /// The experiment changed by `sets`, each `key=value` as on the command line: `train.epochs=3`.
    ///
    /// # Errors
    /// One usage error with every problem, each with its key.
    pub fn with(&self, sets: &[&str]) -> Result<Self> {
        let sets = sets.iter().map(|&set| set.to_owned()).collect::<Vec<_>>();
        Self::load(&Origin::Text("the experiment".into(), self.to_toml()), &sets)
    }

    /// Reads a config and changes it by `sets`, each `key=value`.
    ///
    /// # Errors
    /// One usage error with every problem, each with its place and key.
    pub fn load(origin: &Origin, sets: &[String]) -> Result<Self> {
        load(origin, sets).map(|loaded| loaded.experiment)
    }
}

/// As [`Experiment::load`], keeping where each value was written and what should be known of it.
///
/// # Errors
/// One usage error with every problem, each with its place and key.
pub fn load(origin: &Origin, sets: &[String]) -> Result<Loaded> {
    let mut root = read_tree(origin)?;
    let mut notices = Vec::new();
    let mut problems = patch(&mut root, sets, &mut notices);
    if let Some(entry) = root.take("sweep") {
        let message = "is for `kiln sweep` alone; without this table it is a config".to_owned();
        problems.push(Located { place: Some(entry.place), key: "sweep".into(), message });
    }
    match judge(&root, origin, problems) {
        Ok(experiment) => Ok(Loaded { experiment, notices, root, sets: sets.to_vec() }),
        Err(problems) => Err(all(origin, &options(sets), problems)),
    }
}

/// The tree of a config's text.
pub(super) fn read_tree(origin: &Origin) -> Result<Node> {
    let name = origin.name();
    let root = tree::parse(&origin.text()?).map_err(|error| {
        let printable = |letter: char| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter };
        let excerpt: String = error.to_string().trim_end().chars().map(printable).collect();
        Error::usage(format!("`{name}` is not valid TOML")).caused_by(excerpt)
    })?;
    if root.entries().is_empty() {
        return Err(Error::usage(format!("`{name}` is empty: it sets no key"))
            .tip("to use kiln's own config, give no file; `kiln config show` prints it"));
    }
    Ok(root)
}

/// Changes the tree by `sets`, with keys under their newest names.
pub(super) fn patch(root: &mut Node, sets: &[String], notices: &mut Vec<String>) -> Vec<Located> {
    let mut problems = renames::in_tree(root, notices);
    augment_table::in_tree(root, notices);
    problems.append(&mut sets::apply(root, sets, notices));
    // A `--set` may have brought a whole section.
    problems.append(&mut renames::in_tree(root, notices));
    augment_table::in_tree(root, notices);
    problems
}

/// The experiment that the tree describes, or `problems` and all that is wrong with it.
pub(super) fn judge(root: &Node, origin: &Origin, mut problems: Vec<Located>) -> Result<Experiment, Vec<Located>> {
    let mut walk = Walk { base: origin.base(), ..Walk::default() };
    let json = walk.table(root, schema::experiment(), "", Place::File(1, 1));
    problems.append(&mut walk.problems);
    match serde_json::from_value::<Experiment>(json) {
        Ok(experiment) => {
            check(&experiment, root, &mut problems);
            if problems.is_empty() {
                return Ok(experiment);
            }
        }
        Err(error) if problems.is_empty() => {
            let message = format!("does not describe an experiment: {error}");
            problems.push(Located { place: None, key: "the config".into(), message });
        }
        Err(_) => {}
    }
    Err(problems)
}

/// What messages call each `--set`.
fn options(sets: &[String]) -> Vec<String> {
    sets.iter().map(|set| format!("--set {}", shorten(set))).collect()
}

/// Adds what the values' own checks find, except about keys that are known to be wrong.
fn check(experiment: &Experiment, root: &Node, problems: &mut Vec<Located>) {
    let mut doubtful: Vec<String> = problems.iter().map(|problem| problem.key.clone()).collect();
    let mut add = |key: String, message: String, doubtful: &[String]| {
        if !doubtful.iter().any(|wrong| covers(wrong, &key) || covers(&key, wrong)) {
            problems.push(Located { place: root.place_of(&tree::split(&key)), key, message });
        }
    };
    let mut ranges = Problems::default();
    experiment.check(&mut ranges);
    let ranges = ranges.into_vec();
    for problem in &ranges {
        add(problem.key.clone(), problem.message.clone(), &doubtful);
    }
    doubtful.extend(ranges.into_iter().map(|problem| problem.key));
    for contradiction in contradictions(experiment) {
        let in_doubt = |key: &&str| doubtful.iter().any(|wrong| covers(wrong, key));
        if !contradiction.keys.iter().any(in_doubt) {
            add(contradiction.problem.key, contradiction.problem.message, &doubtful);
        }
    }
}

/// Whether `key` is `section`, or lies in it.
fn covers(section: &str, key: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One error that lists all problems in the order of the file, then of the options, which messages call so.
pub(super) fn all(origin: &Origin, options: &[String], mut problems: Vec<Located>) -> Error {
    let name = origin.name();
    problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
    let line = |problem: &Located| {
        let place = match problem.place {
            Some(Place::File(line, column)) => format!("{name}:{line}:{column}"),
            Some(Place::Set(index)) => options[index].clone(),
            None => name.clone(),
        };
        format!("{place}: `{}`: {}", shorten(&problem.key), problem.message)
    };
    let error = match &problems[..] {
        [problem] => Error::usage(line(problem)),
        _ => {
            let lines: String = problems.iter().map(|problem| format!("\n  {}", line(problem))).collect();
            Error::usage(format!("the config has {} problems{lines}", problems.len()))
        }
    };
    if problems.iter().any(|problem| problem.message.starts_with("unknown key")) {
        return error.tip("`kiln config keys` lists every key with its type and default");
    }
    error
}

fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    if path.is_dir() {
        let error = Error::usage(format!("`{shown}` is a folder, not a config file"));
        let inside = path.join("config.toml");
        return Err(if inside.is_file() { error.tip(format!("did you mean `{}`?", inside.display())) } else { error });
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, error))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::usage(format!("`{shown}` is larger than 1 MiB, which no config is")));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::usage(format!("`{shown}` is UTF-16 text; a config must be UTF-8")).tip("save it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(Error::usage(format!("`{shown}` is no text file; a config is TOML")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = error.as_bytes()[at];
        Error::usage(format!("`{shown}` is not UTF-8 text: byte 0x{byte:02x} in line {line}")).tip("save it as UTF-8")
    })
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let found = Error::usage(format!("cannot read the config `{}`", path.display())).caused_by(error);
    if !missing {
        return found;
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    match presets::embedded(stem) {
        Ok(preset) => found.tip(format!("`{}` is built in: give its name without a path", preset.name)),
        Err(_) => match neighbour(path) {
            Some(near) => found.tip(format!("did you mean `{}`?", near.display())),
            None => found.tip(format!("built in are {}", presets::names())),
        },
    }
}

/// The config beside a missing one whose name is nearest.
fn neighbour(path: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let folder_or_here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names: Vec<String> = std::fs::read_dir(folder_or_here)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    super::suggest::nearest(wanted, names.iter().map(String::as_str)).map(|name| folder.join(name))
}

#[cfg(test)]
mod tests;
