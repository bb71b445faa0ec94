//! Tables that may also be written as one word.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::scheme::{SchemeSpec, TokenSpec};

/// For the schema only: `"none"`, or a table.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum WordOrTable {
    /// `"none"` or `"basic"`.
    Word(String),
    /// A scheme.
    Table(Box<SchemeSpec>),
}

/// For the schema only: a place, or a table.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum PlaceOrTable {
    /// `"header:NAME"`.
    Place(String),
    /// With a prefix.
    Table(TokenSpec),
}

/// Reads a scheme, or the word `none` or `basic`. Not an untagged enum, whose errors would only say
/// that nothing fits.
pub(super) fn word_or_table<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SchemeSpec>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<SchemeSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a scheme such as { hmac = \"sha256\", … }, or \"none\"")
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
            match word {
                "none" => Ok(Some(SchemeSpec { none: Some(true), ..SchemeSpec::default() })),
                "basic" => Ok(Some(SchemeSpec { basic: Some(true), ..SchemeSpec::default() })),
                _ => Err(E::custom(format!(
                    "`{word}` is not a scheme by itself: write \"none\", \"basic\", or a table such as {{ hmac = \"sha256\", … }}"
                ))),
            }
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            SchemeSpec::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// Reads a place, or a table with a place and a prefix.
pub(super) fn place_or_table<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TokenSpec>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<TokenSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a place such as \"header:x-token\", or { from = …, prefix = … }")
        }

        fn visit_str<E: de::Error>(self, place: &str) -> Result<Self::Value, E> {
            Ok(Some(TokenSpec { from: place.to_owned(), prefix: String::new() }))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            TokenSpec::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Visitor)
}
