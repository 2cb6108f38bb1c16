//! The shape that a config may have, read from the JSON Schema of [`Experiment`]: which keys there are, of which type,
//! under which `kind`. The loader, the key reference and the editors' schema all follow it, so that a field added to a
//! section's type is known everywhere.

use std::sync::OnceLock;

use serde_json::{Map, Value as Json, json};

use super::Experiment;

/// What a key's value may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// `true` or `false`.
    Bool,
    /// A whole number; TOML's integers end at 2^63 - 1.
    Integer,
    /// A finite number.
    Float,
    /// Any text.
    Text,
    /// A path, which loading makes absolute.
    Path,
    /// One of these words.
    Choice(Vec<String>),
    /// Values of one type, of a fixed number or any.
    Array(Box<Type>, Option<usize>),
    /// A value of any of these.
    Either(Vec<Type>),
    /// Keys and values.
    Table(Table),
}

/// A section, or one element of a list of tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// The keys that are always there.
    pub fields: Vec<Field>,
    /// The kinds, if the section has a `kind` key.
    pub kinds: Vec<KindOf>,
    /// The kind that the section has when none is given.
    pub default_kind: String,
}

/// One value of a section's `kind`, with the keys that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KindOf {
    pub name: String,
    pub description: String,
    pub fields: Vec<Field>,
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub description: String,
    pub of: Type,
    /// `"none"` unsets it.
    pub optional: bool,
    /// Has no default.
    pub required: bool,
    pub default: Json,
}

impl Table {
    /// The kind of this name.
    pub fn kind(&self, name: &str) -> Option<&KindOf> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// The key `name` in a section of this kind.
    pub fn field<'a>(&'a self, name: &str, kind: Option<&'a KindOf>) -> Option<&'a Field> {
        self.fields.iter().chain(kind.into_iter().flat_map(|kind| &kind.fields)).find(|field| field.name == name)
    }

    /// The kinds that have the key `name`.
    pub fn kinds_with(&self, name: &str) -> Vec<&str> {
        let has = |kind: &&KindOf| kind.fields.iter().any(|field| field.name == name);
        self.kinds.iter().filter(has).map(|kind| kind.name.as_str()).collect()
    }
}

impl Type {
    /// The kinds of the elements of a list of tables; none of anything else.
    pub fn element_kinds(&self) -> Vec<&str> {
        match self {
            Self::Array(of, _) => match &**of {
                Self::Table(table) => table.kinds.iter().map(|kind| kind.name.as_str()).collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// The whole experiment.
pub(super) fn experiment() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let root = raw();
        let definitions = root["$defs"].as_object().cloned().unwrap_or_default();
        table(&root, &definitions)
    })
}

/// What the value at a path of sections may be, where that does not depend on a kind.
pub(super) fn of(path: &[&str]) -> Option<&'static Type> {
    let (last, sections) = path.split_last()?;
    let table = sections.iter().try_fold(experiment(), |table, key| match &table.field(key, None)?.of {
        Type::Table(inner) => Some(inner),
        _ => None,
    })?;
    table.field(last, None).map(|field| &field.of)
}

fn raw() -> Json {
    schemars::schema_for!(Experiment).to_value()
}

fn table(schema: &Json, definitions: &Map<String, Json>) -> Table {
    let kinds = schema["oneOf"].as_array().into_iter().flatten().map(|kind| KindOf {
        name: text(&kind["properties"]["kind"]["const"]),
        description: sentence(match &kind["description"] {
            Json::Null => &resolve(kind, definitions)["description"],
            own => own,
        }),
        fields: fields(resolve(kind, definitions), definitions),
    });
    Table { fields: fields(schema, definitions), kinds: kinds.collect(), default_kind: String::new() }
}

fn fields(schema: &Json, definitions: &Map<String, Json>) -> Vec<Field> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|key| key == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .filter(|(name, _)| *name != "kind")
        .map(|(name, property)| Field {
            name: name.clone(),
            description: sentence(&property["description"]),
            of: with_default_kind(type_of(property, definitions), &property["default"]),
            optional: property["type"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "null")),
            required: required(name),
            default: property["default"].clone(),
        })
        .collect()
}

fn with_default_kind(of: Type, default: &Json) -> Type {
    match of {
        Type::Table(table) => Type::Table(Table { default_kind: text(&default["kind"]), ..table }),
        other => other,
    }
}

fn type_of(property: &Json, definitions: &Map<String, Json>) -> Type {
    let schema = resolve(property, definitions);
    let choices: Option<Vec<String>> = schema["oneOf"]
        .as_array()
        .map(|choices| choices.iter().filter_map(|choice| choice["const"].as_str()).map(str::to_owned).collect());
    if let Some(choices) = choices.filter(|choices| !choices.is_empty()) {
        return Type::Choice(choices);
    }
    if let Some(alternatives) = schema["anyOf"].as_array() {
        return Type::Either(alternatives.iter().map(|one| type_of(one, definitions)).collect());
    }
    if let Some(choices) = schema["enum"].as_array() {
        return Type::Choice(choices.iter().map(text).collect());
    }
    let name = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match name {
        "boolean" => Type::Bool,
        "integer" => Type::Integer,
        "number" => Type::Float,
        "string" if schema["format"] == "path" => Type::Path,
        "string" => Type::Text,
        "array" => {
            let length = schema["minItems"].as_u64().filter(|_| schema["minItems"] == schema["maxItems"]);
            let length = length.and_then(|length| usize::try_from(length).ok());
            Type::Array(Box::new(type_of(&schema["items"], definitions)), length)
        }
        _ => Type::Table(table(schema, definitions)),
    }
}

fn resolve<'a>(schema: &'a Json, definitions: &'a Map<String, Json>) -> &'a Json {
    let name = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Documentation comments are wrapped in the source; one line serves every reader.
fn sentence(value: &Json) -> String {
    text(value).split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Experiment {
    /// The JSON Schema (draft 2020-12) of a config file, for editors. Unknown keys are refused, a section's keys depend on
    /// its `kind`, and an optional key may be `"none"`.
    pub fn schema() -> Json {
        let mut schema = section(experiment());
        let whole = raw();
        let mut head = Map::new();
        head.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        head.insert("title".into(), json!("kiln experiment"));
        head.insert("description".into(), json!(sentence(&whole["description"])));
        if let Some(body) = schema.as_object_mut() {
            head.append(body);
        }
        Json::Object(head)
    }
}

/// A table with kinds becomes one alternative per kind, each with all its keys: `additionalProperties` looks at the
/// properties beside it only.
fn section(table: &Table) -> Json {
    if table.kinds.is_empty() {
        return closed(table.fields.iter(), None);
    }
    let alternatives = table.kinds.iter().map(|kind| {
        let mut schema = closed(table.fields.iter().chain(&kind.fields), Some((kind, table.default_kind == kind.name)));
        schema["title"] = json!(kind.name);
        schema["description"] = json!(kind.description);
        schema
    });
    json!({ "type": "object", "oneOf": alternatives.collect::<Vec<_>>() })
}

fn closed<'a>(fields: impl Iterator<Item = &'a Field>, kind: Option<(&KindOf, bool)>) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut dependent = Map::new();
    if let Some((kind, is_default)) = kind {
        properties.insert("kind".into(), json!({ "const": kind.name, "description": kind.description }));
        if is_default {
            // The loader's rule: a key that belongs to a kind needs its kind named.
            let owned = kind.fields.iter().map(|field| (field.name.clone(), json!(["kind"])));
            dependent.extend(owned);
        } else {
            required.push("kind".to_owned());
        }
    }
    for field in fields {
        properties.insert(field.name.clone(), property(field));
        if field.required {
            required.push(field.name.clone());
        }
    }
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !dependent.is_empty() {
        schema["dependentRequired"] = Json::Object(dependent);
    }
    schema
}

fn property(field: &Field) -> Json {
    let mut schema = value(&field.of);
    if field.optional {
        schema = json!({ "anyOf": [schema, { "const": "none" }], "default": "none" });
    }
    schema["title"] = json!(field.name);
    schema["description"] = json!(field.description);
    if !field.default.is_null() {
        schema["default"] = field.default.clone();
    }
    schema
}

fn value(of: &Type) -> Json {
    match of {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Integer => json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
        Type::Float => json!({ "type": "number" }),
        Type::Text | Type::Path => json!({ "type": "string" }),
        Type::Choice(choices) => json!({ "enum": choices }),
        Type::Array(of, None) => json!({ "type": "array", "items": value(of) }),
        Type::Array(of, Some(length)) => {
            json!({ "type": "array", "items": value(of), "minItems": length, "maxItems": length })
        }
        Type::Either(alternatives) => json!({ "anyOf": alternatives.iter().map(value).collect::<Vec<_>>() }),
        Type::Table(table) => section(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_knows_its_keys_kinds_and_defaults() {
        let Some(Type::Table(model)) = experiment().field("model", None).map(|field| field.of.clone()) else {
            panic!("model is a table");
        };
        assert_eq!(model.default_kind, "convnet");
        assert_eq!(model.kinds_with("hidden"), ["mlp", "lenet", "convnet"]);
        let lenet = model.kind("lenet");
        assert_eq!(model.field("channels", lenet).unwrap().of, Type::Array(Box::new(Type::Integer), Some(2)));
        let Some(Type::Table(data)) = experiment().field("data", None).map(|field| field.of.clone()) else {
            panic!("data is a table");
        };
        assert!(data.field("validation", None).is_some());
        let path = data.field("path", data.kind("idx")).unwrap();
        assert!(path.required && path.of == Type::Path);
    }

    #[test]
    fn every_key_is_described_and_the_editors_schema_is_closed() {
        fn walk(schema: &Json, path: &str) {
            if schema["type"] == "object" && schema["oneOf"].is_null() {
                assert_eq!(schema["additionalProperties"], false, "{path}");
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                assert_ne!(property["description"].as_str().unwrap_or_default(), "", "{path}.{name}");
                walk(property, &format!("{path}.{name}"));
            }
            for kind in schema["oneOf"].as_array().into_iter().flatten() {
                walk(kind, path);
            }
            walk_items(schema, path);
        }
        fn walk_items(schema: &Json, path: &str) {
            if schema["items"].is_object() {
                walk(&schema["items"], path);
            }
        }
        let schema = Experiment::schema();
        assert!(schema["$schema"].is_string() && schema["title"].is_string());
        walk(&schema, "");
    }
}
