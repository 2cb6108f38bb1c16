//! A config's tree against the schema: what does not fit is said and left out, what fits becomes the JSON that the types
//! are read from. So one pass finds every problem.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::schema::{Field, KindOf, Table, Type};
use super::suggest;
use super::tree::{Entry, Node, Place, Value, join};

/// TOML's largest whole number.
const LARGEST: i128 = i64::MAX as i128;

/// A problem with the place where it was written, if it was.
#[derive(Debug)]
pub(super) struct Located {
    pub place: Option<Place>,
    pub key: String,
    pub message: String,
}

/// The way through the tree.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub problems: Vec<Located>,
    /// Where relative paths that the file holds start; without it they stay as they are.
    pub base: Option<PathBuf>,
}

impl Walk {
    fn add(&mut self, place: Place, key: &str, message: impl Into<String>) {
        self.problems.push(Located { place: Some(place), key: key.to_owned(), message: message.into() });
    }

    /// The JSON of what fits into `table`; `place` is where its name stands.
    pub fn table(&mut self, node: &Node, table: &Table, path: &str, place: Place) -> Json {
        let mut json = Map::new();
        let mut judged = true;
        let mut kind = None;
        if !table.kinds.is_empty() {
            (kind, judged) = self.kind(node, table, path, place);
            json.insert("kind".into(), kind.map_or(Json::Null, |kind| kind.name.clone().into()));
        }
        for entry in node.entries() {
            if entry.key == "kind" && !table.kinds.is_empty() {
                continue;
            }
            let path = join(path, &entry.key);
            match table.field(&entry.key, kind) {
                // The keys of a kind that nobody knows cannot be judged.
                Some(field) if judged || table.fields.contains(field) => {
                    if let Some(value) = self.field(entry, field, &path) {
                        json.insert(entry.key.clone(), value);
                    }
                }
                Some(_) => {}
                None if !judged && !table.kinds_with(&entry.key).is_empty() => {}
                None => self.unknown(entry, table, kind.filter(|_| judged), &path),
            }
        }
        let own = table.fields.iter().chain(kind.into_iter().flat_map(|kind| &kind.fields));
        for field in own.filter(|field| field.required) {
            if node.entry(&field.name).is_none() {
                let message = format!("is missing; it has no default. {}", field.description);
                self.add(place, &join(path, &field.name), message);
            }
            json.entry(field.name.clone()).or_insert_with(|| placeholder(&field.of));
        }
        Json::Object(json)
    }

    /// The section's kind, and whether it is certain: a wrong one is said, and the default takes its place.
    fn kind<'a>(&mut self, node: &Node, table: &'a Table, path: &str, place: Place) -> (Option<&'a KindOf>, bool) {
        let default = table.kind(&table.default_kind);
        let path = join(path, "kind");
        let names: Vec<_> = table.kinds.iter().map(|kind| kind.name.as_str()).collect();
        match node.entry("kind").map(|entry| &entry.node) {
            None if table.default_kind.is_empty() => {
                self.add(place, &path, format!("is missing; allowed: {}", quoted(names)));
                (table.kinds.first(), false)
            }
            None => {
                let owned =
                    |entry: &&Entry| matches!(entry.place, Place::File(..)) && !table.kinds_with(&entry.key).is_empty();
                let Some(entry) = node.entries().iter().find(owned) else { return (default, true) };
                let message = format!("is missing, and `{}` depends on it; allowed: {}", entry.key, quoted(names));
                self.add(place, &path, message);
                (default, false)
            }
            Some(Node { value: Value::Text(name), place, .. }) => match table.kind(name) {
                Some(kind) => (Some(kind), true),
                None => {
                    self.add(*place, &path, unknown_choice(name, &names));
                    (default, false)
                }
            },
            Some(node) => {
                self.add(node.place, &path, format!("must be one of {}, got {}", quoted(names), found(node)));
                (default, false)
            }
        }
    }

    fn unknown(&mut self, entry: &Entry, table: &Table, kind: Option<&KindOf>, path: &str) {
        let section = path.strip_suffix(&entry.key).unwrap_or_default().trim_end_matches('.');
        let owners = table.kinds_with(&entry.key);
        if let Some(kind) = kind.filter(|_| !owners.is_empty()) {
            let owners = quoted(owners).replace(", ", " or ");
            let message = format!("belongs to {} = {owners}, here it is \"{}\"", join(section, "kind"), kind.name);
            return self.add(entry.place, path, message);
        }
        // Where the kind is not certain, the keys of all of them are candidates.
        let kinds = table.kinds.iter().filter(|each| kind.is_none_or(|kind| kind.name == each.name));
        let own = table.fields.iter().chain(kinds.flat_map(|kind| &kind.fields));
        let mut siblings: Vec<_> = own.map(|field| field.name.as_str()).collect();
        if !table.kinds.is_empty() {
            siblings.push("kind");
        }
        let message = match suggest::key(section, &entry.key, &siblings) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None if section.is_empty() || (kind.is_none() && !table.kinds.is_empty()) => "unknown key".to_owned(),
            None => format!("unknown key; `{section}` has {}", siblings.join(", ")),
        };
        self.add(entry.place, path, message);
    }

    fn field(&mut self, entry: &Entry, field: &Field, path: &str) -> Option<Json> {
        if field.optional && matches!(&entry.node.value, Value::Text(text) if text == "none") {
            return None;
        }
        if let (Type::Table(table), Value::Table(_)) = (&field.of, &entry.node.value) {
            return Some(self.table(&entry.node, table, path, entry.place));
        }
        let before = self.problems.len();
        let value = self.value(&entry.node, &field.of, path);
        if field.optional && self.problems.len() > before && !matches!(field.of, Type::Table(_)) {
            self.problems[before].message.push_str("; \"none\" unsets it");
        }
        value
    }

    fn value(&mut self, node: &Node, of: &Type, path: &str) -> Option<Json> {
        let allowed = match (of, &node.value) {
            (Type::Bool, Value::Bool(value)) => return Some(Json::Bool(*value)),
            (Type::Integer, Value::Integer(value)) => return self.integer(node, *value, path),
            (Type::Float, Value::Integer(Some(value))) => return Some(Json::from(*value as f64)),
            (Type::Float, Value::Float(value)) if value.is_finite() => return Some(Json::from(*value)),
            (Type::Float, Value::Float(_)) => "a finite number".to_owned(),
            (Type::Text, Value::Text(text)) => return Some(Json::String(text.clone())),
            // On the command line a text needs no quotes, whatever else it could be.
            (Type::Text, _) if matches!(node.place, Place::Set(_)) => return Some(Json::String(node.text.clone())),
            (Type::Path, Value::Text(text)) => return self.absolute(node.place, text, path),
            (Type::Path, _) if matches!(node.place, Place::Set(_)) => {
                return self.absolute(node.place, &node.text, path);
            }
            (Type::Choice(choices), Value::Text(text)) => {
                if choices.contains(text) {
                    return Some(Json::String(text.clone()));
                }
                let choices: Vec<_> = choices.iter().map(String::as_str).collect();
                self.add(node.place, path, unknown_choice(text, &choices));
                return None;
            }
            (Type::Array(of, length), Value::Array(nodes)) => match length {
                Some(length) if *length != nodes.len() => {
                    let message = format!("must be a list of {length} values, got {}", nodes.len());
                    self.add(node.place, path, message);
                    return None;
                }
                _ => return Some(self.array(nodes, of, path)),
            },
            (Type::Either(alternatives), _) => match alternatives.iter().find(|one| takes(one, &node.value)) {
                Some(one) => return self.value(node, one, path),
                None => describe(of),
            },
            (Type::Table(table), Value::Table(_)) => return Some(self.table(node, table, path, node.place)),
            _ => describe(of),
        };
        self.add(node.place, path, format!("must be {allowed}, got {}", found(node)));
        None
    }

    fn integer(&mut self, node: &Node, value: Option<i128>, path: &str) -> Option<Json> {
        let in_range = value.filter(|value| (0..=LARGEST).contains(value)).and_then(|value| i64::try_from(value).ok());
        if in_range.is_none() {
            let limit = match value {
                Some(value) if value < 0 => "0 or more".to_owned(),
                _ => format!("at most {LARGEST}"),
            };
            self.add(node.place, path, format!("must be {limit}, got {}", shorten(&node.text)));
        }
        in_range.map(Json::from)
    }

    /// The path `text` from the root. An empty one stays empty, for the checks to find.
    fn absolute(&mut self, place: Place, text: &str, path: &str) -> Option<Json> {
        let base = match place {
            Place::Set(_) => Some(Path::new("")),
            Place::File(..) => self.base.as_deref(),
        };
        let Some(base) = base.filter(|_| !text.is_empty()) else { return Some(text.into()) };
        let message = match std::path::absolute(base.join(text)).map(PathBuf::into_os_string) {
            Ok(absolute) => match absolute.into_string() {
                Ok(absolute) => return Some(absolute.into()),
                Err(absolute) => format!("must lie under folders whose names are UTF-8, got {}", absolute.display()),
            },
            Err(error) => format!("must be absolute, since the working folder is not known ({error}), got \"{text}\""),
        };
        self.add(place, path, message);
        None
    }

    fn array(&mut self, nodes: &[Node], of: &Type, path: &str) -> Json {
        let element = |(index, node): (usize, &Node)| {
            self.value(node, of, &format!("{path}[{index}]")).unwrap_or_else(|| placeholder(of))
        };
        nodes.iter().enumerate().map(element).collect()
    }
}

/// Whether a value is of the right form for this one of several types.
fn takes(of: &Type, value: &Value) -> bool {
    matches!(
        (of, value),
        (Type::Choice(_) | Type::Text, Value::Text(_))
            | (Type::Integer, Value::Integer(_))
            | (Type::Array(..), Value::Array(_))
    )
}

/// Stands in for a value that could not be used, so that the rest can still be read; problems at its key are not
/// reported again.
fn placeholder(of: &Type) -> Json {
    match of {
        Type::Bool => false.into(),
        Type::Integer => 1.into(),
        Type::Float => 0.5.into(),
        Type::Text | Type::Path => "placeholder".into(),
        Type::Choice(choices) => choices.first().cloned().unwrap_or_default().into(),
        Type::Either(alternatives) => alternatives.first().map(placeholder).unwrap_or_default(),
        Type::Array(of, length) => (0..length.unwrap_or(0)).map(|_| placeholder(of)).collect(),
        Type::Table(table) => {
            let required = table.fields.iter().filter(|field| field.required);
            let kind = table.kinds.first().map(|kind| ("kind".to_owned(), kind.name.clone().into()));
            required.map(|field| (field.name.clone(), placeholder(&field.of))).chain(kind).collect::<Map<_, _>>().into()
        }
    }
}

fn unknown_choice(found: &str, allowed: &[&str]) -> String {
    let near = suggest::nearest(found, allowed.iter().copied());
    let tip = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    format!("must be one of {}, got \"{}\"{tip}", quoted(allowed.iter().copied()), shorten(found))
}

/// What is allowed, for people.
fn describe(of: &Type) -> String {
    match of {
        Type::Bool => "true or false".into(),
        Type::Integer => "a whole number".into(),
        Type::Float => "a number".into(),
        Type::Text | Type::Path => "a string".into(),
        Type::Choice(choices) => format!("one of {}", quoted(choices.iter().map(String::as_str))),
        Type::Array(of, None) => format!("a list, each of its elements {}", describe(of)),
        Type::Array(of, Some(length)) => format!("a list of {length} values, each {}", describe(of)),
        Type::Either(alternatives) => alternatives.iter().map(describe).collect::<Vec<_>>().join(" or "),
        Type::Table(table) if table.kinds.is_empty() => "a table".into(),
        Type::Table(_) => "a table with a `kind`".into(),
    }
}

/// What was found, for people: the value as written, and its type unless that is plain.
fn found(node: &Node) -> String {
    match &node.value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => format!("{} (a list)", shorten(&node.text)),
        Value::Text(text) => format!("\"{}\" (a string)", shorten(text)),
        value => format!("{} ({})", shorten(&node.text), value.kind()),
    }
}

fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// At most 60 characters, on one line.
pub(super) fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.chars().count() <= 60 { line } else { line.chars().take(59).chain(['…']).collect() }
}
