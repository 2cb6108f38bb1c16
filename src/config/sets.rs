//! `--set key=value`: changes to a config from the command line.
//!
//! - The value is TOML; what is no TOML value is taken as a string, so `--set optimizer.kind=sgd` needs no quotes.
//! - `--set section.kind=…` with another kind than the section has drops the keys of the old kind: the section starts from
//!   the new kind's defaults. Keys that all kinds share, such as `data.validation`, stay.
//! - `none` unsets an optional key.
//! - A key may be set once. The order of the options does not matter.

use super::renames;
use super::schema::{self, Table, Type};
use super::tree::{self, Entry, Node, Place, Value};
use super::walk::{Located, shorten};

struct Patch<'a> {
    text: &'a str,
    set: usize,
    path: Vec<&'a str>,
    node: Node,
}

/// Changes `root` by every `--set`; what is wrong with them comes back, and what should be known of them is added to
/// `notices`.
pub(super) fn apply(root: &mut Node, sets: &[String], notices: &mut Vec<String>) -> Vec<Located> {
    let mut problems = Vec::new();
    let mut patches: Vec<Patch<'_>> = Vec::new();
    for (set, text) in sets.iter().enumerate() {
        match read(text, set, notices) {
            Err(message) => problems.push(problem(set, text, message)),
            Ok(patch) => match patches.iter().find(|other| overlap(&other.path, &patch.path)) {
                Some(other) => {
                    let message = format!("is set by `--set {}` already; give one of them", shorten(other.text));
                    problems.push(problem(set, &patch.path.join("."), message));
                }
                None => patches.push(patch),
            },
        }
    }
    // Kinds first: they decide which other keys there are.
    patches.sort_by_key(|patch| (patch.path.last() != Some(&"kind"), patch.set));
    for patch in patches {
        let (set, path) = (patch.set, patch.path.join("."));
        if let Err(message) = put(root, patch) {
            problems.push(problem(set, &path, message));
        }
    }
    problems
}

fn problem(set: usize, key: &str, message: String) -> Located {
    Located { place: Some(Place::Set(set)), key: shorten(key), message }
}

/// Whether one of two key paths is the other, or lies in it.
pub(super) fn overlap(a: &[&str], b: &[&str]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

fn read<'a>(text: &'a str, set: usize, notices: &mut Vec<String>) -> Result<Patch<'a>, String> {
    let (key, value) =
        text.split_once('=').ok_or("has no `=`; write --set KEY=VALUE, for example --set train.epochs=3")?;
    let mut path = tree::split(key.trim());
    if path.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
        return Err("is no key path; write it like `train.epochs`".into());
    }
    renames::in_path(&mut path, notices);
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("has no value; write --set {}=VALUE", key.trim()));
    }
    let node = match tree::parse_value(value, set) {
        Ok(node) => node,
        Err(error) if value.starts_with(['[', '{', '"', '\'']) => {
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            return Err(format!("is no TOML value: {message}"));
        }
        Err(_) => Node { value: Value::Text(value.to_owned()), place: Place::Set(set), text: value.to_owned() },
    };
    Ok(Patch { text, set, path, node })
}

/// Puts the value into the tree, making the sections on the way.
fn put(root: &mut Node, patch: Patch<'_>) -> Result<(), String> {
    let Patch { set, path, node, .. } = patch;
    if let [section, "kind"] = path[..] {
        reset_kind(root, section, &node);
    }
    let Some((last, sections)) = path.split_last() else { return Ok(()) };
    let place = Place::Set(set);
    let mut at = root;
    for (depth, key) in sections.iter().enumerate() {
        at = step(at, key, place).map_err(|what| format!("`{}` is {what}", path[..depth].join(".")))?;
    }
    if let Value::Array(_) = at.value {
        *step(at, last, place).map_err(|what| format!("`{}` is {what}", sections.join(".")))? = node;
        return Ok(());
    }
    let Value::Table(entries) = &mut at.value else {
        return Err(format!("`{}` is {}, which has no keys", sections.join("."), at.value.kind()));
    };
    match entries.iter_mut().find(|entry| entry.key == *last) {
        Some(entry) => (entry.node, entry.place) = (node, place),
        None => entries.push(Entry { key: (*last).to_owned(), place, node }),
    }
    Ok(())
}

/// The section `key` of a table, made if it is not there, or an element of a list.
fn step<'a>(at: &'a mut Node, key: &str, place: Place) -> Result<&'a mut Node, String> {
    match &mut at.value {
        Value::Table(entries) => {
            let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
                entries.push(Entry { key: key.to_owned(), place, node: Node::empty(place) });
                entries.len() - 1
            });
            Ok(&mut entries[index].node)
        }
        Value::Array(nodes) => {
            let count = nodes.len();
            let element = key.parse().ok().and_then(|index: usize| nodes.get_mut(index));
            element.ok_or_else(|| format!("a list of {count} elements, counted from 0; it has no `{key}`"))
        }
        value => Err(format!("{}, which has no keys", value.kind())),
    }
}

/// Drops the old kind's keys from a section whose kind changes.
fn reset_kind(root: &mut Node, section: &str, kind: &Node) {
    let Some(Type::Table(table)) = schema::experiment().field(section, None).map(|field| &field.of) else { return };
    let Value::Table(entries) = &mut root.value else { return };
    let Some(Value::Table(keys)) =
        entries.iter_mut().find(|entry| entry.key == section).map(|entry| &mut entry.node.value)
    else {
        return;
    };
    if matches!(&kind.value, Value::Text(kind) if current_kind(keys, table) == Some(kind)) {
        return;
    }
    keys.retain(|entry| table.field(&entry.key, None).is_some() || table.kinds_with(&entry.key).is_empty());
}

fn current_kind<'a>(keys: &'a [Entry], table: &'a Table) -> Option<&'a String> {
    match keys.iter().find(|entry| entry.key == "kind").map(|entry| &entry.node.value) {
        Some(Value::Text(kind)) => Some(kind),
        Some(_) => None,
        None => Some(&table.default_kind),
    }
}
