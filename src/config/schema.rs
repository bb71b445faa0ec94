//! The config's JSON Schema, made of the same types that read it.

use serde_json::{Map, Value};

use super::file::File;
use crate::source::spec::SourceSpec;

/// The schema of hookonce.toml.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    let mut spec = schemars::schema_for!(SourceSpec).to_value();
    let words = take(&mut spec, "properties");
    let defs = take(&mut spec, "$defs");
    let properties = schema.pointer_mut("/$defs/FileSource/properties");
    // A source's table holds the vocabulary of presets beside its own keys.
    if let Some(Value::Object(properties)) = properties {
        for (key, word) in words {
            properties.entry(key).or_insert(word);
        }
    }
    if let Some(Value::Object(all)) = schema.get_mut("$defs") {
        for (key, def) in defs {
            all.entry(key).or_insert(def);
        }
    }
    schema
}

fn take(schema: &mut Value, key: &str) -> Map<String, Value> {
    match schema.get_mut(key).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_schema_knows_every_table_and_the_vocabulary_of_sources() {
        let schema = schema();
        for key in [
            "server",
            "admin",
            "database",
            "cleanup",
            "retention",
            "sources",
            "handlers",
            "telemetry",
        ] {
            assert!(schema.pointer(&format!("/properties/{key}")).is_some(), "{key}");
        }
        for key in ["provider", "verify", "event", "secrets", "max_body"] {
            let path = format!("/$defs/FileSource/properties/{key}");
            assert!(schema.pointer(&path).is_some(), "{key}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, root: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(to)) = map.get("$ref") {
                        let to = to.strip_prefix('#').unwrap();
                        assert!(root.pointer(to).is_some(), "{to}");
                    }
                    map.values().for_each(|value| walk(value, root));
                }
                Value::Array(values) => values.iter().for_each(|value| walk(value, root)),
                _ => {}
            }
        }
        let schema = schema();
        walk(&schema, &schema);
    }
}
