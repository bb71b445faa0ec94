//! Values as CEL has them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::Value;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use cel::objects::{Key, Map};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::String(Arc::new(text.into()))
}

pub(super) fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    let map: HashMap<Key, Value> =
        entries.into_iter().map(|(key, value)| (Key::String(Arc::new(key)), value)).collect();
    Value::Map(Map { map: Arc::new(map) })
}

/// A value that is read from JSON at once as what CEL calculates with. A tree of JSON, or of [`Value`], between the two
/// would take more memory than the value itself.
///
/// Whole numbers are `int` where they fit, because that is what a number in an expression is.
pub(super) struct Json(pub(super) Box<dyn Val>);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json(Box::new(CelNull)))
    }
    fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
        Ok(Json(Box::new(CelBool::from(it))))
    }
    fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
        Ok(Json(Box::new(CelInt::from(it))))
    }
    fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
        Ok(Json(match i64::try_from(it) {
            Ok(it) => Box::new(CelInt::from(it)),
            Err(_too_large) => Box::new(CelUInt::from(it)),
        }))
    }
    fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
        Ok(Json(Box::new(CelDouble::from(it))))
    }
    fn visit_str<E>(self, it: &str) -> Result<Json, E> {
        Ok(Json(Box::new(CelString::from(it.to_owned()))))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list: Vec<Box<dyn Val>> = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Json(Box::new(CelList::from(list))))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut map: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
        // Of a key that stands twice the last value counts, as everywhere.
        while let Some((key, Json(value))) = entries.next_entry::<String, Json>()? {
            map.insert(CelMapKey::from(key), value);
        }
        Ok(Json(Box::new(CelMap::from(map))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_its_json_says() {
        for (json, want) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("9223372036854775807", Value::Int(i64::MAX)),
            ("9223372036854775808", Value::UInt(1 << 63)),
            ("18446744073709551616", Value::Float(18_446_744_073_709_551_616.0)),
            ("1.0", Value::Float(1.0)),
            ("1e2", Value::Float(100.0)),
            (r#""\u00e9\n""#, text("é\n")),
            (
                "[1, [\"x\"]]",
                Value::List(Arc::new(vec![Value::Int(1), Value::List(Arc::new(vec![text("x")]))])),
            ),
            (r#"{"a": {}}"#, map([("a".to_owned(), map([]))])),
            (r#"{"a": 1, "a": 2}"#, map([("a".to_owned(), Value::Int(2))])),
        ] {
            let Json(got) = serde_json::from_str(json).expect("JSON");
            let got = Value::try_from(&*got).expect("a value");
            assert_eq!(format!("{got:?}"), format!("{want:?}"), "{json}");
        }
    }
}
