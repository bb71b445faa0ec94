//! One text for each JSON value, however it is written, in the spirit of RFC 8785. Only for hashing.
//!
//! Where two parsers could read two values (a key that stands twice, an integer beyond the exact range
//! of a double that is written as a fraction) there is no such text, and the caller compares bytes.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The canonical text of a whole document.
pub(super) fn whole(body: &[u8]) -> Option<String> {
    let value: Json = serde_json::from_slice(body).ok()?;
    let mut text = String::with_capacity(body.len());
    value.write(&mut text).ok()?;
    Some(text)
}

/// The canonical texts of the values at these pointers, each behind its pointer.
pub(super) fn at(body: &[u8], pointers: &[String]) -> Option<String> {
    let value: Json = serde_json::from_slice(body).ok()?;
    let mut text = String::new();
    for pointer in pointers {
        quote(&mut text, pointer).ok()?;
        match value.at(pointer) {
            Some(found) => {
                text.push('=');
                found.write(&mut text).ok()?;
            }
            None => text.push('!'),
        }
    }
    Some(text)
}

enum Json {
    Null,
    Bool(bool),
    /// As it is written canonically.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl Json {
    fn write(&self, out: &mut String) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Number(text) => out.write_str(text),
            Self::Text(text) => quote(out, text),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out)?;
                }
                out.write_char(']')
            }
            Self::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(out, key)?;
                    out.push(':');
                    value.write(out)?;
                }
                out.write_char('}')
            }
        }
    }

    fn at(&self, pointer: &str) -> Option<&Self> {
        let Some(rest) = pointer.strip_prefix('/') else {
            return pointer.is_empty().then_some(self);
        };
        rest.split('/').try_fold(self, |value, token| {
            let token = token.replace("~1", "/").replace("~0", "~");
            match value {
                Self::Map(entries) => entries.get(&token),
                Self::List(items) => items.get(token.parse::<usize>().ok()?),
                _ => None,
            }
        })
    }
}

fn quote(out: &mut String, text: &str) -> fmt::Result {
    let quoted = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    out.write_str(&quoted)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        // From here on neighbouring integers are one double.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.abs() >= EXACT {
            return Err(E::custom("a number that a double can't hold exactly"));
        }
        if value == 0.0 {
            return Ok(Json::Number("0".to_owned()));
        }
        // Rust writes the shortest digits that mean the same double; without a fraction, an integer's.
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            if entries.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Json::Map(entries))
    }
}
