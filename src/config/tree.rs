//! A config as a tree of values, each with the place where it was written: a line of the file, or a `--set`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Line and column in the file, both from 1.
    File(usize, usize),
    /// The `--set` with this number, from 0.
    Set(usize),
}

/// A value, its place, and its text as the user wrote it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
    pub text: String,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(Vec<Entry>),
    Array(Vec<Node>),
    Text(String),
    /// Absent when it does not even fit into 128 bits.
    Integer(Option<i128>),
    Float(f64),
    Bool(bool),
    Datetime,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    pub node: Node,
}

impl Value {
    /// The type's name for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "a list",
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a bool",
            Self::Datetime => "a date",
        }
    }
}

impl Node {
    /// An empty table at the file's beginning.
    pub fn empty(place: Place) -> Self {
        Self { value: Value::Table(Vec::new()), place, text: String::new() }
    }

    /// The entries of a table; of anything else, none.
    pub fn entries(&self) -> &[Entry] {
        if let Value::Table(entries) = &self.value { entries } else { &[] }
    }

    /// The entry of this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Takes the entry of this key out of a table.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let Value::Table(entries) = &mut self.value else { return None };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// The place of the value at `path`, or of the nearest section or list around it that was written.
    pub fn place_of(&self, path: &[&str]) -> Option<Place> {
        let mut found = None;
        let mut node = self;
        for key in path {
            node = match &node.value {
                Value::Table(_) => {
                    let Some(entry) = node.entry(key) else { break };
                    found =
                        Some(if matches!(entry.node.value, Value::Table(_)) { entry.place } else { entry.node.place });
                    &entry.node
                }
                Value::Array(nodes) => {
                    let Some(element) = key.parse().ok().and_then(|index: usize| nodes.get(index)) else { break };
                    found = Some(element.place);
                    element
                }
                _ => break,
            };
        }
        found
    }

    /// The node exactly at `path`, if it was written.
    pub fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| match &node.value {
            Value::Array(nodes) => key.parse().ok().and_then(|index: usize| nodes.get(index)),
            _ => node.entry(key).map(|entry| &entry.node),
        })
    }
}

/// Splits a key path: `model.blocks[0].channels` and `model.blocks.0.channels` are the same.
pub(super) fn split(path: &str) -> Vec<&str> {
    path.split(['.', '[']).map(|part| part.strip_suffix(']').unwrap_or(part)).collect()
}

/// Appends a key to a path.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Parses a file's text.
pub(super) fn parse(text: &str) -> Result<Node, toml::de::Error> {
    let table = DeTable::parse(text)?;
    let place = |offset: usize| {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File(before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    };
    Ok(from_table(table.get_ref(), &|spanned| (place(spanned.start), text.get(spanned).unwrap_or_default().to_owned())))
}

/// Parses the value of a `--set`.
pub(super) fn parse_value(text: &str, set: usize) -> Result<Node, toml::de::Error> {
    let value = DeValue::parse(text)?;
    let mut node = from_value(&value, &|range| (Place::Set(set), text.get(range).unwrap_or_default().to_owned()));
    node.text = text.trim().to_owned();
    Ok(node)
}

type Locate<'a> = &'a dyn Fn(std::ops::Range<usize>) -> (Place, String);

fn from_table(table: &DeTable<'_>, locate: Locate<'_>) -> Node {
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        place: locate(key.span()).0,
        node: from_value(value, locate),
    });
    Node { value: Value::Table(entries.collect()), ..Node::empty(Place::File(1, 1)) }
}

fn from_value(spanned: &Spanned<DeValue<'_>>, locate: Locate<'_>) -> Node {
    let (place, text) = locate(spanned.span());
    let value = match spanned.get_ref() {
        DeValue::Table(table) => from_table(table, locate).value,
        DeValue::Array(array) => Value::Array(array.iter().map(|element| from_value(element, locate)).collect()),
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Integer(integer) => Value::Integer(i128::from_str_radix(integer.as_str(), integer.radix()).ok()),
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Datetime,
    };
    Node { value, place, text }
}
