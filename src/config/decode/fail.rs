//! Why a value could not be read, in words for the operator.

use std::fmt;

use serde::de;

use super::{Origin, identity};
use crate::config::place::did_you_mean;
use crate::config::tree::Node;

/// A fault on its way up to the driver; the innermost value that it is about stays with it.
#[derive(Debug)]
pub(super) struct Fail {
    pub(super) message: String,
    pub(super) origin: Option<Origin>,
}

impl Fail {
    pub(super) fn about(mut self, node: &Node) -> Self {
        self.origin
            .get_or_insert_with(|| Origin { identity: identity(node), place: node.place.clone() });
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fail {}

impl de::Error for Fail {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), origin: None }
    }

    // The value itself is never shown: it may be a secret in the wrong place.
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("expected {}, found {}", wanted(expected), kind(&found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown_key(field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let near = did_you_mean(variant, expected.iter().copied());
        let all = expected.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let shown: String = variant.chars().take(40).collect();
        Self::custom(format!("`{shown}` is none of {all}{near}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is missing"))
    }
}

pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let near = did_you_mean(key, known.iter().copied());
    if near.is_empty() && !known.is_empty() {
        let all = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        return format!("unknown key `{key}`; known here: {all}");
    }
    format!("unknown key `{key}`{near}")
}

fn wanted(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        "a string" | "string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn kind(found: &de::Unexpected<'_>) -> &'static str {
    match found {
        de::Unexpected::Bool(_) => "true or false",
        de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
        de::Unexpected::Float(_) => "a fraction",
        de::Unexpected::Str(_) => "a text",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map => "a table",
        _ => "something else",
    }
}
