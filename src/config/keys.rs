//! The reference of every key, from the schema: what `kiln config keys` prints and `docs/configuration.md` says.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value as Json;

use super::schema::{self, Field, Table, Type};
use super::tree::join;
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

impl Key {
    /// Its values, where it has few: as they are written after `KEY=`.
    pub fn values(&self) -> Vec<&str> {
        match self.of.as_str() {
            "true or false" => vec!["true", "false"],
            of => of.split('"').skip(1).step_by(2).collect(),
        }
    }
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
            default: (!table.default_kind.is_empty()).then(|| format!("\"{}\"", table.default_kind)),
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
        Type::Path => "path".into(),
        Type::Choice(choices) => one_of(choices),
        Type::Array(of, None) => format!("list of {}s", type_name(of)),
        Type::Array(of, Some(length)) => format!("list of {length} {}s", type_name(of)),
        Type::Either(alternatives) => alternatives.iter().map(type_name).collect::<Vec<_>>().join(" or "),
        Type::Table(_) => "table".into(),
    }
}

fn one_of(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// The keys as text: path, type and default, then the meaning.
pub fn text(keys: &[&Key]) -> String {
    let mut text = String::new();
    for key in keys {
        let default =
            key.default.as_ref().map_or_else(|| "must be given".to_owned(), |value| format!("default {value}"));
        let _ = writeln!(text, "{}  ({}; {default})", key.path, key.of);
        if !key.kinds.is_empty() {
            let _ = writeln!(text, "    Only with {}.kind = {}.", section_of(&key.path), one_of(&key.kinds));
        }
        let _ = writeln!(text, "    {}", key.description);
    }
    text
}

/// The keys, section by section, as the Markdown of `docs/configuration.md`.
pub fn markdown(keys: &[&Key]) -> String {
    let mut text = String::from(INTRODUCTION);
    let mut sections: Vec<&str> = Vec::new();
    for key in keys {
        let section = section_of(&key.path);
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    for section in sections {
        let heading = if section.is_empty() { "At the top".to_owned() } else { format!("`[{section}]`") };
        let _ = write!(text, "\n## {heading}\n\n| key | type | default | meaning |\n|---|---|---|---|\n");
        for key in keys.iter().filter(|key| section_of(&key.path) == section) {
            text.push_str(&row(key, section));
        }
    }
    text
}

fn row(key: &Key, section: &str) -> String {
    let kinds = match &key.kinds[..] {
        [] => String::new(),
        kinds => format!("*{}.* ", kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ")),
    };
    let default = key.default.as_ref().map_or_else(|| "must be given".to_owned(), |value| format!("`{value}`"));
    let name = key.path.strip_prefix(section).unwrap_or(&key.path).trim_start_matches('.');
    let meaning = key.description.replace('|', "\\|");
    format!("| `{name}` | {} | {default} | {kinds}{meaning} |\n", key.of)
}

const INTRODUCTION: &str = "\
# Configuration

An experiment is a TOML file. Every key has a default unless its row says otherwise; a key that kiln does not know is an
error. `--set train.epochs=3` changes one key from the command line, `kiln config show` prints a config with every key, and
`kiln config schema` prints a JSON Schema that gives editors completion.

- A section's `kind` decides which other keys it has; rows in italics name the kinds that a key belongs to. In a file, a section
  that has such a key must say its `kind`. `--set model.kind=mlp` starts the section from the defaults of the new kind; keys that
  all kinds share stay.
- An optional key is unset by `\"none\"`, in the file and with `--set`.
- With `--set`, what is no TOML value is taken as text: `--set optimizer.kind=sgd`. An element of a list is reached by its number,
  from 0: `--set model.blocks[0].channels=16`. Of a list of kinds it is also reached by its kind, and added if it is not there:
  `--set data.augment.cutout.size=8`; `--set data.augment.cutout=none` removes it.
- A file for `kiln sweep` has a `[sweep]` table besides, which [experiments.md](experiments.md) describes.
- A relative path in a file starts at the folder of that file, with `--set` at the working folder.

This page is the output of `kiln config keys --markdown`.
";

fn section_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_set_to_its_default() {
        for key in keys().iter().filter(|key| !key.path.contains("[N]")) {
            let Some(default) = &key.default else { continue };
            let mut sets = vec![format!("{}={default}", key.path)];
            if let Some(kind) = key.kinds.first() {
                let section = section_of(&key.path);
                sets.push(format!("{section}.kind={kind}"));
                sets.extend(
                    keys()
                        .iter()
                        .filter(|other| {
                            other.default.is_none() && section_of(&other.path) == section && other.kinds.contains(kind)
                        })
                        .map(|other| format!("{}=somewhere", other.path)),
                );
            }
            let origin = super::super::document::Origin::find("mnist").unwrap();
            if let Err(error) = super::super::Experiment::load(&origin, &sets) {
                panic!("{sets:?}: {}", error.render());
            }
        }
    }

    #[test]
    fn the_reference_in_the_documentation_is_up_to_date() {
        let all: Vec<_> = keys().iter().collect();
        let written = include_str!("../../docs/configuration.md");
        assert_eq!(
            written.trim_end(),
            markdown(&all).trim_end(),
            "refresh it: kiln config keys --markdown > docs/configuration.md"
        );
    }

    #[test]
    fn a_key_is_described_on_its_own() {
        let found: Vec<_> =
            keys().iter().filter(|key| key.path.starts_with("train.") || key.path == "model.hidden").collect();
        insta::assert_snapshot!(text(&found), @r#"
        model.hidden  (list of whole numbers; default [256, 128])
            Only with model.kind = "mlp".
            The width of each hidden layer, first to last.
        model.hidden  (list of 2 whole numbers; default [120, 84])
            Only with model.kind = "lenet".
            The widths of the two hidden layers.
        model.hidden  (list of whole numbers; default [128])
            Only with model.kind = "convnet".
            The width of each fully connected hidden layer; may be empty.
        train.epochs  (whole number; default 10)
            Passes over the training set.
        train.batch_size  (whole number; default 100)
            Images that go through the network together in one iteration.
        train.drop_last  (true or false; default false)
            Leave out the last batch of an epoch when it is smaller than `batch_size`.
        train.iterations_per_epoch  (whole number or "none"; default "none")
            Overrides images / batch_size. More repeats images within an epoch, fewer leaves some unseen; the plan says how many.
        train.accumulation  (whole number; default 1)
            Batches whose gradients are averaged into one update of the parameters; must divide the iterations per epoch.
        train.overfit_batches  (whole number or "none"; default "none")
            Trains on the first so many batches alone, the same in every epoch, without augmentation, validation and test: whether the network can learn them by heart. A test of the network and its training; the run is no result.
        train.clip_norm  (number or "none"; default "none")
            Scales the gradients down when their norm over all parameters together exceeds this.
        train.sampling  ("uniform", "balanced"; default "uniform")
            Which images an epoch shows: "uniform", each as often; "balanced", as many of every class, for classes of unequal sizes.
        train.precision  ("f32", "bf16"; default "f32")
            What a training step computes in: "f32"; or "bf16", bfloat16 for convolutions, fully connected layers and what is between them, and 32 bits for weights, their updates, norms, the loss, validation and the model file. Only where it is known to train as well: on "flex", which has no arithmetic for it and is slower with it. For trying what it does.
        train.ema  (number or "none"; default "none")
            Decay of an exponential moving average of all weights, above 0 and below 1, taken once per update: it is what is validated and kept. The first updates of a run use at most (1 + updates) / (10 + updates). Batch norms' running statistics are averaged too. 0.999 remembers about 1,000 updates.
        train.mixup  (number or "none"; default "none")
            mixup (Zhang et al., 2018): every image and its label are a weighted sum of two of the batch, the share drawn per batch from Beta(alpha, alpha); this is alpha, 0.05 to 1. The training accuracy counts the label with the larger share.
        train.cutmix  (number or "none"; default "none")
            CutMix (Yun et al., 2019): a rectangle of every image comes from another of the batch, and as much of its label; alpha, as for `mixup`, 0.05 to 1. With both, each batch draws one of them.
        "#);
    }
}
