//! The reference of every key, from the schema: what `kiln config keys` prints and `docs/configuration.md` says.

use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value as Json;

use super::schema::{self, Field, Table, Type};
use super::walk::join;
use super::write::inline;

/// One key of a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// The key as written in `--set`: `train.epochs`.
    pub path: String,
    /// What its value may be, for people.
    #[serde(rename = "type")]
    pub of: String,
    /// Its default as TOML; none when the key must be given.
    pub default: Option<String>,
    /// What it does.
    pub description: String,
    /// The `kind`s of its section that it belongs to; empty when to all.
    pub kinds: Vec<String>,
}

/// Every key, in the order of the config. A key that several kinds have with the same meaning is one entry.
pub fn keys() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = Vec::new();
        section(schema::experiment(), "", &mut keys);
        keys
    })
}

fn section(table: &Table, path: &str, keys: &mut Vec<Key>) {
    if !table.kinds.is_empty() {
        let kinds: Vec<_> = table.kinds.iter().map(|kind| kind.name.clone()).collect();
        let meanings: Vec<_> =
            table.kinds.iter().map(|kind| format!("`{}`: {}", kind.name, kind.description)).collect();
        keys.push(Key {
            path: join(path, "kind"),
            of: one_of(&kinds),
            default: Some(format!("\"{}\"", table.default_kind)),
            description: meanings.join(" "),
            kinds: Vec::new(),
        });
    }
    for kind in &table.kinds {
        for field in &kind.fields {
            let mut found = Vec::new();
            key(field, path, &mut found);
            for new in &mut found {
                let same = |old: &&mut Key| {
                    old.path == new.path
                        && old.of == new.of
                        && old.default == new.default
                        && old.description == new.description
                };
                match keys.iter_mut().find(same) {
                    Some(old) => old.kinds.push(kind.name.clone()),
                    None => {
                        new.kinds.push(kind.name.clone());
                        keys.push(new.clone());
                    }
                }
            }
        }
    }
    for field in &table.fields {
        key(field, path, keys);
    }
}

fn key(field: &Field, path: &str, keys: &mut Vec<Key>) {
    let path = join(path, &field.name);
    if let Type::Table(table) = &field.of {
        return section(table, &path, keys);
    }
    let default = match &field.default {
        Json::Null if field.optional => Some("\"none\"".to_owned()),
        Json::Null => None,
        value => Some(inline(value)),
    };
    let optional = if field.optional { " or \"none\"" } else { "" };
    keys.push(Key {
        path: path.clone(),
        of: format!("{}{optional}", type_name(&field.of)),
        default,
        description: field.description.clone(),
        kinds: Vec::new(),
    });
    if let Type::Array(of, _) = &field.of
        && let Type::Table(table) = &**of
    {
        section(table, &format!("{path}[N]"), keys);
    }
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Bool => "true or false".into(),
        Type::Integer => "whole number".into(),
        Type::Float => "number".into(),
        Type::Text => "text".into(),
        Type::Choice(choices) => one_of(choices),
        Type::Array(of, None) => format!("list of {}s", type_name(of)),
        Type::Array(of, Some(length)) => format!("list of {length} {}s", type_name(of)),
        Type::Table(_) => "table".into(),
    }
}

fn one_of(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
