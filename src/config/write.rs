//! An experiment as TOML: every key with its value, in the order of the types, accepted back unchanged.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::Experiment;

impl Experiment {
    /// The complete config: what was given, what was set and what is default. Optional keys that are unset say `"none"`.
    pub fn to_toml(&self) -> String {
        // Only a path that is no UTF-8 or a map with keys that are no text cannot become JSON; a config has neither.
        let json = serde_json::to_value(self).unwrap_or_default();
        let mut text = String::new();
        if let Json::Object(keys) = &json {
            table(keys, "", &mut text);
        }
        text
    }
}

fn table(keys: &Map<String, Json>, path: &str, text: &mut String) {
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_object()) {
        let _ = writeln!(text, "{key} = {}", shown(value));
    }
    for (key, value) in keys {
        if let Json::Object(inner) = value {
            let path = super::tree::join(path, key);
            let _ = writeln!(text, "\n[{path}]");
            table(inner, &path, text);
        }
    }
}

/// A list of tables has a line for each; everything else is on one line.
fn shown(value: &Json) -> String {
    match value {
        Json::Array(elements) if elements.iter().any(Json::is_object) => {
            let lines: String = elements.iter().map(|element| format!("    {},\n", inline(element))).collect();
            format!("[\n{lines}]")
        }
        _ => inline(value),
    }
}

pub(super) fn inline(value: &Json) -> String {
    match value {
        Json::Null => "\"none\"".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => toml::Value::String(text.clone()).to_string(),
        Json::Array(elements) => format!("[{}]", elements.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Json::Object(keys) => {
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Origin;
    use super::super::presets::{PRESETS, Preset};
    use super::*;
    use crate::config::schema::{self, Table, Type};

    fn load(text: String) -> Experiment {
        let preset = Box::leak(Box::new(Preset { name: "test", text: Box::leak(text.into_boxed_str()) }));
        Experiment::load(&Origin::Embedded(preset), &[]).unwrap()
    }

    /// Every kind of every section, each with its defaults and what it requires.
    fn every_kind() -> Vec<(String, Experiment)> {
        let mut found = Vec::new();
        for field in &schema::experiment().fields {
            let Type::Table(Table { kinds, .. }) = &field.of else { continue };
            for kind in kinds {
                let mut text = format!("{}.kind = \"{}\"\n", field.name, kind.name);
                for required in kind.fields.iter().filter(|field| field.required) {
                    let _ = writeln!(text, "{}.{} = \"a \\\"quoted\\\" \\\\ path\"", field.name, required.name);
                }
                found.push((format!("{}.{}", field.name, kind.name), load(text)));
            }
        }
        found
    }

    #[test]
    fn what_is_saved_is_accepted_back_unchanged_for_every_kind() {
        let kinds = every_kind();
        assert!(kinds.len() >= 19, "{}", kinds.len());
        for (name, experiment) in kinds {
            let text = experiment.to_toml();
            let again = load(text.clone());
            assert_eq!(again, experiment, "{name}\n{text}");
            assert_eq!(again.to_toml(), text, "{name}");
        }
    }

    #[test]
    fn what_is_saved_is_accepted_back_unchanged_for_every_example_and_built_in_config() {
        for model in crate::models::ModelConfig::examples() {
            let experiment = Experiment { model, ..Experiment::default() };
            assert_eq!(load(experiment.to_toml()), experiment);
        }
        let mut experiment = Experiment::default();
        experiment.data.augment = crate::data::AugmentConfig::examples();
        assert_eq!(load(experiment.to_toml()), experiment);
        for preset in PRESETS {
            let experiment = load(preset.text.to_owned());
            assert_eq!(load(experiment.to_toml()), experiment, "{}", preset.name);
            assert_eq!(experiment.name, preset.name);
        }
    }

    #[test]
    fn unusual_values_survive() {
        let mut experiment = Experiment { seed: i64::MAX as u64, ..Experiment::default() };
        experiment.train.clip_norm = Some(1e-7);
        experiment.early_stopping.min_delta = 0.1 + 0.2;
        experiment.schedule.epochs = Some(3);
        assert_eq!(load(experiment.to_toml()), experiment);
    }
}
