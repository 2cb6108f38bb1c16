//! `[sweep]` and what the command line adds to it, from the tree to types. Every problem has its place.

use std::collections::{BTreeMap, BTreeSet};

use super::super::sets::overlap;
use super::super::suggest;
use super::super::tree::{self, Entry, Node, Place, Value, split};
use super::super::walk::{Located, shorten};
use super::values::{RANGES, asked_for, forbidden, space};
use super::{Halving, MOST_TRIALS, Search, Space, SweepAsked, SweepConfig};
use crate::config::Experiment;

/// The most runs of a sweep: trials times seeds.
const MOST_RUNS: usize = 10_000;

/// The keys of `[sweep]`.
const KEYS: [&str; 5] = ["search", "trials", "seeds", "over", "halving"];

/// What a problem with the values of `path` is about.
pub(super) fn key_of(path: &str) -> String {
    format!("sweep.over.{path}")
}

/// Reads, and collects what is wrong.
pub(super) struct Reader<'a> {
    table: Option<Entry>,
    asked: &'a SweepAsked,
    /// How many `--set` there are: the places of `--over` come after theirs.
    sets: usize,
    /// What is wrong so far.
    pub(super) problems: Vec<Located>,
    /// Where the values of each key were written.
    pub(super) places: BTreeMap<String, Place>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: Option<Entry>, asked: &'a SweepAsked, sets: usize) -> Self {
        Self { table, asked, sets, problems: Vec::new(), places: BTreeMap::new() }
    }

    /// The sweep as far as it can be read, of an experiment that may be unknown.
    pub(super) fn sweep(&mut self, experiment: Option<&Experiment>) -> SweepConfig {
        let root = self.table.as_ref().map(|entry| (entry.place, entry.node.clone()));
        let node = root.as_ref().map(|(_, node)| node);
        if let Some((place, node)) = &root
            && !matches!(node.value, Value::Table(_))
        {
            self.add(Some(*place), "sweep", format!("must be a table, got {}", node.value.kind()));
        }
        for entry in node.map(Node::entries).unwrap_or_default() {
            if !KEYS.contains(&&*entry.key) {
                let near = suggest::nearest(&entry.key, KEYS);
                let tip = near.map_or_else(
                    || format!("`sweep` has {}", KEYS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.add(Some(entry.place), &format!("sweep.{}", entry.key), format!("unknown key; {tip}"));
            }
        }
        let value = |key: &str| node.and_then(|node| node.entry(key)).map(|entry| &entry.node);
        let over = self.over(value("over"));
        let search = self.search(value("search"), &over);
        let trials = self.trials(value("trials"), search, &over);
        let seeds = self.seeds(value("seeds"), experiment.map_or(0, |experiment| experiment.seed));
        let halving = self.halving(value("halving"), search, &over, experiment);
        if trials.saturating_mul(seeds.len()) > MOST_RUNS && trials <= MOST_TRIALS {
            let runs = trials * seeds.len();
            self.add(
                None,
                "sweep.seeds",
                format!("{trials} trials with {} seeds are {runs} runs; at most {MOST_RUNS} are allowed", seeds.len()),
            );
        }
        if experiment.is_some_and(|experiment| experiment.data.validation == 0) {
            let message = "must be above 0: a sweep chooses by validation images, and never by the test images; set it to 5000 or so (--set data.validation=5000)";
            self.add(None, "data.validation", message.into());
        }
        SweepConfig { search, trials, seeds, over, halving }
    }

    fn add(&mut self, place: Option<Place>, key: &str, message: String) {
        self.problems.push(Located {
            place: place.or(self.table.as_ref().map(|entry| entry.place)),
            key: key.into(),
            message,
        });
    }

    /// What is tried: from the file, and in its place what the command line asks for.
    fn over(&mut self, node: Option<&Node>) -> Vec<(String, Space)> {
        let mut found: Vec<(String, Node)> = Vec::new();
        if let Some(node) = node {
            self.flatten(node, "", &mut found);
        }
        let asked = self.asked;
        for (index, text) in asked.over.iter().enumerate() {
            let place = Place::Set(self.sets + index);
            match asked_for(text, self.sets + index) {
                Ok((path, node)) => {
                    found.retain(|(other, node)| {
                        *other != path || matches!(node.place, Place::Set(at) if at >= self.sets)
                    });
                    found.push((path, Node { place, ..node }));
                }
                Err(message) => self.add(Some(place), "--over", message),
            }
        }
        if found.is_empty() && self.problems.is_empty() {
            let message = "is missing: it says what to try, for example \"optimizer.learning_rate\" = [0.001, 0.002] (or --over optimizer.learning_rate=0.001,0.002)";
            self.add(None, "sweep.over", message.into());
        }
        let mut over: Vec<(String, Space)> = Vec::new();
        for (path, node) in found {
            if let Some(message) = forbidden(&path) {
                self.add(Some(node.place), &key_of(&path), message);
            } else if let Some((other, _)) = over.iter().find(|(other, _)| overlap(&split(other), &split(&path))) {
                let message = format!("`{other}` is tried already; give one of them");
                self.add(Some(node.place), &key_of(&path), message);
            } else {
                self.places.insert(path.clone(), node.place);
                match space(&node) {
                    Ok(space) => over.push((path, space)),
                    Err(message) => self.add(Some(node.place), &key_of(&path), message),
                }
            }
        }
        over
    }

    /// The values of each key, whether its path is written in quotes or as tables in tables.
    fn flatten(&mut self, node: &Node, path: &str, found: &mut Vec<(String, Node)>) {
        let is_section = path.is_empty() || !node.entries().iter().any(|entry| RANGES.contains(&&*entry.key));
        match &node.value {
            Value::Table(entries) if is_section && (path.is_empty() || !entries.is_empty()) => {
                for entry in entries {
                    let inner = Node { place: entry.place, ..entry.node.clone() };
                    self.flatten(&inner, &tree::join(path, &entry.key), found);
                }
            }
            value if path.is_empty() => {
                self.add(Some(node.place), "sweep.over", format!("must be a table, got {}", value.kind()));
            }
            _ => found.push((path.to_owned(), node.clone())),
        }
    }

    fn search(&mut self, node: Option<&Node>, over: &[(String, Space)]) -> Search {
        let search = match node.map(|node| (&node.value, node)) {
            None => Search::Grid,
            Some((Value::Text(text), node)) => {
                match [Search::Grid, Search::Random, Search::Tpe].into_iter().find(|search| search.name() == text) {
                    Some(search) => search,
                    None => {
                        self.add(
                            Some(node.place),
                            "sweep.search",
                            format!("must be one of \"grid\", \"random\", \"tpe\", got \"{}\"", shorten(text)),
                        );
                        return Search::Random;
                    }
                }
            }
            Some((value, node)) => {
                self.add(
                    Some(node.place),
                    "sweep.search",
                    format!("must be one of \"grid\", \"random\", \"tpe\", got {}", value.kind()),
                );
                return Search::Random;
            }
        };
        let range = over.iter().find(|(_, space)| !matches!(space, Space::Choices(_)));
        if let Some((path, _)) = range.filter(|_| search == Search::Grid) {
            let message =
                "a grid takes lists of values; for a range set sweep.search to \"random\" or \"tpe\", and sweep.trials";
            let place = self.places.get(path).copied();
            self.add(place, &key_of(path), message.into());
        }
        search
    }

    fn trials(&mut self, node: Option<&Node>, search: Search, over: &[(String, Space)]) -> usize {
        let given = node.and_then(|node| self.whole(node, "sweep.trials", 1));
        if search == Search::Grid {
            if let Some(node) = node {
                self.add(
                    Some(node.place),
                    "sweep.trials",
                    "belongs to sweep.search = \"random\" or \"tpe\"; a grid tries every combination".into(),
                );
            }
            let sizes = over.iter().map(|(_, space)| if let Space::Choices(values) = space { values.len() } else { 1 });
            let size = sizes.fold(1_usize, usize::saturating_mul);
            if size > MOST_TRIALS {
                let sizes: Vec<String> =
                    over.iter().map(|(path, space)| format!("{} of {path}", space.samples().len())).collect();
                self.add(None, "sweep.over", format!("the grid has {size} combinations ({}), at most {MOST_TRIALS} are allowed; try fewer values, or set sweep.search to \"random\" and sweep.trials", sizes.join(" x ")));
            }
            return size;
        }
        if node.is_none() {
            self.add(
                None,
                "sweep.trials",
                format!("is missing: sweep.search = \"{}\" needs a number of trials, for example 40", search.name()),
            );
        }
        if let (Some(node), Some(_)) = (node, given.filter(|given| *given > MOST_TRIALS)) {
            self.add(
                Some(node.place),
                "sweep.trials",
                format!("must be at most {MOST_TRIALS}, got {}", shorten(&node.text)),
            );
        }
        given.unwrap_or(1)
    }

    fn seeds(&mut self, node: Option<&Node>, own: u64) -> Vec<u64> {
        if let Some(seeds) = &self.asked.seeds {
            return seeds.clone();
        }
        let seeds: Vec<u64> = match node.map(|node| (&node.value, node)) {
            None => return vec![own],
            Some((Value::Integer(_), node)) => {
                let count = self.whole(node, "sweep.seeds", 1).unwrap_or(1);
                (1..=count.min(MOST_RUNS + 1) as u64).collect()
            }
            Some((Value::Array(nodes), _)) => {
                let whole = |node: &Node| {
                    if let Value::Integer(Some(value)) = node.value { u64::try_from(value).ok() } else { None }
                };
                nodes
                    .iter()
                    .filter_map(|node| {
                        let found = whole(node).filter(|seed| i64::try_from(*seed).is_ok());
                        if found.is_none() {
                            self.add(
                                Some(node.place),
                                "sweep.seeds",
                                format!("each must be a whole number of 0 or more, got {}", shorten(&node.text)),
                            );
                        }
                        found
                    })
                    .collect()
            }
            Some((value, node)) => {
                self.add(
                    Some(node.place),
                    "sweep.seeds",
                    format!("must be a number of seeds or a list of them, got {}", value.kind()),
                );
                return vec![own];
            }
        };
        if seeds.is_empty() || seeds.iter().collect::<BTreeSet<_>>().len() < seeds.len() {
            self.add(node.map(|node| node.place), "sweep.seeds", "must name at least one seed, and each once".into());
        }
        seeds
    }

    fn halving(
        &mut self,
        node: Option<&Node>,
        search: Search,
        over: &[(String, Space)],
        experiment: Option<&Experiment>,
    ) -> Option<Halving> {
        let node = node?;
        let place = Some(node.place);
        if !matches!(node.value, Value::Table(_)) {
            self.add(
                place,
                "sweep.halving",
                format!("must be a table with `first` and `factor`, got {}", node.value.kind()),
            );
            return None;
        }
        for entry in node.entries().iter().filter(|entry| !["first", "factor"].contains(&&*entry.key)) {
            self.add(
                Some(entry.place),
                &format!("sweep.halving.{}", entry.key),
                "unknown key; `sweep.halving` has first, factor".into(),
            );
        }
        let mut number = |key: &str, least: usize| {
            let node = &node.entry(key)?.node;
            self.whole(node, &format!("sweep.halving.{key}"), least)
        };
        let (first, factor) = (number("first", 1), number("factor", 2).unwrap_or(3));
        if node.entry("first").is_none() {
            self.add(
                place,
                "sweep.halving.first",
                "is missing: the epochs that every trial is trained for, for example 1".into(),
            );
        }
        if search == Search::Tpe {
            self.add(
                place,
                "sweep.halving",
                "goes with \"grid\" and \"random\": tpe learns from trials that were all trained alike".into(),
            );
        }
        if over.iter().any(|(path, _)| path == "train.epochs") {
            self.add(
                place,
                "sweep.halving",
                "needs trials of the same length, but train.epochs is one of the keys that are tried".into(),
            );
        }
        let first = first?;
        if let Some(epochs) = experiment.map(|experiment| experiment.train.epochs).filter(|epochs| first >= *epochs) {
            let fix = if epochs > 1 {
                "raise train.epochs, or leave out [sweep.halving]"
            } else {
                "leave out [sweep.halving]"
            };
            self.add(
                place,
                "sweep.halving.first",
                format!("must be less than train.epochs = {epochs}, got {first}; {fix}"),
            );
        }
        Some(Halving { first, factor })
    }

    fn whole(&mut self, node: &Node, key: &str, least: usize) -> Option<usize> {
        let found = if let Value::Integer(value) = node.value { value } else { None };
        let found = found.and_then(|value| usize::try_from(value).ok()).filter(|value| *value >= least);
        if found.is_none() {
            self.add(
                Some(node.place),
                key,
                format!("must be a whole number of {least} or more, got {}", shorten(&node.text)),
            );
        }
        found
    }
}
