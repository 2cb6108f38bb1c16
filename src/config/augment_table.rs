//! The table that `[data.augment]` was before it became a list of kinds. It goes on working, in files and with `--set`.

use super::tree::{Entry, Node, Place, Value};

/// A key of the table; the kind that has it, and its name there; its default.
const KEYS: [(&str, &str, &str, f64); 6] = [
    ("shift_pixels", "affine", "shift_pixels", 0.0),
    ("rotate_degrees", "affine", "rotate_degrees", 0.0),
    ("scale", "affine", "scale", 0.0),
    ("shear_degrees", "affine", "shear_degrees", 0.0),
    ("elastic_pixels", "elastic", "pixels", 0.0),
    ("elastic_smoothness", "elastic", "smoothness", 4.0),
];

/// What such a table did with the pixels that an image left.
const FILL: i128 = 0;

/// Makes a list out of a table. It means the same to the last bit; other keys stay where they are, for the schema to
/// refuse.
pub(super) fn in_tree(root: &mut Node, notices: &mut Vec<String>) {
    let augment = entry(root, "data").and_then(|data| entry(&mut data.node, "augment"));
    let Some(Entry { node, place, .. }) = augment else { return };
    let Value::Table(entries) = &mut node.value else { return };
    let place = *place;
    // A table with a kind, or with unknown keys alone, is a list whose brackets were forgotten.
    let known = |entry: &Entry| KEYS.iter().any(|key| key.0 == entry.key);
    if !entries.iter().any(known) && !entries.is_empty() || entries.iter().any(|entry| entry.key == "kind") {
        return;
    }
    let mut entries = std::mem::take(entries);
    let mut list = Vec::new();
    for kind in ["affine", "elastic"] {
        let (own, others): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| owner(entry) == Some(kind));
        entries = others;
        if own.iter().any(|entry| !is_default(entry)) {
            list.push((kind, own));
        }
    }
    // What belongs to neither is said where it can be seen.
    match list.first_mut() {
        Some((_, own)) => own.append(&mut entries),
        None if entries.is_empty() => {}
        None => list.push(("affine", entries)),
    }
    if !list.is_empty() {
        notices.push(NOTICE.into());
    }
    node.value = Value::Array(list.into_iter().map(|(kind, own)| element(kind, own, place)).collect());
}

const NOTICE: &str =
    "`data.augment` is now a list of kinds; the table still works, and fills with 0 what it moves an image away from";

fn entry<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Entry> {
    match &mut node.value {
        Value::Table(entries) => entries.iter_mut().find(|entry| entry.key == key),
        _ => None,
    }
}

fn owner(entry: &Entry) -> Option<&'static str> {
    KEYS.iter().find(|key| key.0 == entry.key).map(|key| key.1)
}

fn is_default(entry: &Entry) -> bool {
    let default = KEYS.iter().find(|key| key.0 == entry.key).map(|key| key.3);
    match entry.node.value {
        Value::Integer(Some(value)) => Some(value as f64) == default,
        Value::Float(value) => Some(value) == default,
        _ => false,
    }
}

fn element(kind: &str, own: Vec<Entry>, place: Place) -> Node {
    let leaf = |value, text: String| Node { value, place, text };
    let mut entries: Vec<Entry> = vec![
        Entry { key: "kind".into(), place, node: leaf(Value::Text(kind.into()), kind.into()) },
        Entry { key: "fill".into(), place, node: leaf(Value::Integer(Some(FILL)), FILL.to_string()) },
    ];
    // The field of a table without displacements was none, whatever its smoothness.
    if kind == "elastic" && !own.iter().any(|entry| entry.key == "elastic_pixels") {
        entries.push(Entry { key: "pixels".into(), place, node: leaf(Value::Float(0.0), "0".into()) });
    }
    entries.extend(own.into_iter().map(|entry| {
        let name = KEYS.iter().find(|key| key.0 == entry.key).map_or(entry.key.as_str(), |key| key.2).to_owned();
        Entry { key: name, ..entry }
    }));
    Node { value: Value::Table(entries), place, text: String::new() }
}

/// Makes the path of a `--set` into the table one into the list: `data.augment.elastic_pixels` is
/// `data.augment.elastic.pixels`.
pub(super) fn in_path(path: &mut Vec<&str>) {
    if let ["data", "augment", key] = path[..]
        && let Some((_, kind, name, _)) = KEYS.iter().find(|known| known.0 == key)
    {
        path.truncate(2);
        path.extend([*kind, *name]);
    }
}
