//! What is tried for one key: whether it can be, and from its text to a list or a range.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::super::tree::{self, Entry, Node, Place, Value, split};
use super::super::walk::shorten;
use super::super::write::inline;
use super::Space;

/// What a range may be called.
pub(super) const RANGES: [&str; 4] = ["linear", "log", "int", "log_int"];

/// Why a key cannot be tried; nothing when it can.
pub(super) fn forbidden(path: &str) -> Option<String> {
    let parts = split(path);
    match parts[..] {
        ["seed"] => Some("is not tried but repeated: say how many in sweep.seeds (or --seeds)".into()),
        ["name" | "sweep", ..] => Some("cannot be tried: it changes nothing about the result".into()),
        ["data", second, ..] if second != "augment" => Some(
            "cannot be tried: trials are told apart on the same validation images; of `data`, only `data.augment` can"
                .into(),
        ),
        _ => None,
    }
}

/// The key and the values of `--over KEY=VALUES`: a list with commas, or a TOML value.
pub(super) fn asked_for(text: &str, place: usize) -> Result<(String, Node), String> {
    let example = "for example --over optimizer.learning_rate=0.001,0.002";
    let (path, values) = text.split_once('=').ok_or_else(|| format!("must be KEY=VALUES, {example}"))?;
    let (path, values) = (path.trim(), values.trim());
    if path.is_empty() || values.is_empty() {
        return Err(format!("must be KEY=VALUES, {example}"));
    }
    if values.starts_with(['[', '{']) {
        let node = tree::parse_value(values, place);
        return node
            .map(|node| (path.to_owned(), node))
            .map_err(|error| format!("is no TOML value: {}", error.message().lines().next().unwrap_or_default()));
    }
    let plain =
        |value: &str| Node { value: Value::Text(value.to_owned()), place: Place::Set(place), text: value.to_owned() };
    let nodes: Vec<Node> = values
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(|value| tree::parse_value(value, place).unwrap_or_else(|_| plain(value)))
        .collect();
    Ok((path.to_owned(), Node { value: Value::Array(nodes), place: Place::Set(place), text: values.to_owned() }))
}

/// What is tried for a key: a list of values, or a table with a range.
pub(super) fn space(node: &Node) -> Result<Space, String> {
    const ALLOWED: &str = "must be a list of values, or a range: { linear = [0, 0.5] }, { log = [1e-4, 1e-1] }, { int = [1, 9] } or { log_int = [16, 256] }";
    match &node.value {
        Value::Array(nodes) => {
            let values: Vec<Json> = nodes.iter().map(json).collect::<Result<_, _>>()?;
            if values.is_empty() {
                return Err("must have at least one value".into());
            }
            let shown: Vec<String> = values.iter().map(inline).collect();
            match shown.iter().collect::<BTreeSet<_>>().len() < shown.len() {
                true => Err(format!("must have each value once, got {}", shorten(&shown.join(", ")))),
                false => Ok(Space::Choices(values)),
            }
        }
        Value::Table(entries) => match &entries[..] {
            [Entry { key, node, .. }] => range(key, node).unwrap_or_else(|| Err(ALLOWED.into())),
            _ => Err(ALLOWED.into()),
        },
        value => Err(format!("{ALLOWED}; got {}", value.kind())),
    }
}

fn range(kind: &str, node: &Node) -> Option<Result<Space, String>> {
    if !RANGES.contains(&kind) {
        return None;
    }
    let ends = || -> Result<[f64; 2], String> {
        let Value::Array(nodes) = &node.value else {
            return Err(format!("`{kind}` must be a list of 2 numbers, got {}", node.value.kind()));
        };
        let ends: Vec<f64> = nodes
            .iter()
            .filter_map(|node| match node.value {
                Value::Float(value) if value.is_finite() => Some(value),
                Value::Integer(Some(value)) if value.unsigned_abs() < 1 << 53 => Some(value as f64),
                _ => None,
            })
            .collect();
        let [low, high] = ends[..] else {
            return Err(format!("`{kind}` must be a list of 2 numbers, got {}", shorten(&node.text)));
        };
        if nodes.len() != 2 || low >= high {
            return Err(format!("`{kind}` must be 2 numbers, the lower one first, got {}", shorten(&node.text)));
        }
        if kind.starts_with("log") && low <= 0.0 {
            return Err(format!("`{kind}` must begin above 0, got {low}"));
        }
        if kind.ends_with("int") && (low.fract() != 0.0 || high.fract() != 0.0) {
            return Err(format!("`{kind}` must be 2 whole numbers, got {}", shorten(&node.text)));
        }
        Ok([low, high])
    };
    let whole = |ends: [f64; 2]| ends.map(|end| end as i64);
    Some(ends().map(|ends| match kind {
        "linear" => Space::Linear(ends),
        "log" => Space::Log(ends),
        "int" => Space::Int(whole(ends)),
        _ => Space::LogInt(whole(ends)),
    }))
}

fn json(node: &Node) -> Result<Json, String> {
    Ok(match &node.value {
        Value::Table(entries) => {
            let pairs = entries.iter().map(|entry| Ok((entry.key.clone(), json(&entry.node)?)));
            Json::Object(pairs.collect::<Result<Map<_, _>, String>>()?)
        }
        Value::Array(nodes) => Json::Array(nodes.iter().map(json).collect::<Result<_, _>>()?),
        Value::Text(text) => Json::String(text.clone()),
        Value::Integer(value) => match value.and_then(|value| i64::try_from(value).ok()) {
            Some(value) => value.into(),
            None => return Err(format!("{} is too large a number", shorten(&node.text))),
        },
        Value::Float(value) if value.is_finite() => (*value).into(),
        Value::Float(_) | Value::Datetime => return Err(format!("{} cannot be tried", shorten(&node.text))),
        Value::Bool(value) => (*value).into(),
    })
}
