//! A serde deserializer over the tree.

use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use super::fail::{Fail, unknown_key};
use super::{Origin, Path, State, identity};
use crate::config::not_built;
use crate::config::tree::{Entry, Node, Value};

#[derive(Clone, Copy)]
pub(super) struct Reader<'t> {
    pub(super) node: &'t Node,
    pub(super) path: Option<&'t Path>,
    pub(super) state: &'t State,
}

impl<'t> Reader<'t> {
    fn keys(&self) -> Vec<&'t str> {
        self.path.map(Path::keys).unwrap_or_default()
    }

    /// Notes the keys that nobody knows, before the values are read.
    fn check_keys(&self, entries: &[Entry], known: &'static [&'static str]) {
        let path = self.keys();
        let Some(also) = (self.state.also)(&path) else { return };
        for entry in entries {
            let key = entry.key.as_str();
            if known.contains(&key) || also.contains(&key) {
                continue;
            }
            let message = not_built::reason(&path, key)
                .unwrap_or_else(|| unknown_key(key, &[known, also].concat()));
            self.state.note(&entry.node, &entry.key_place, message);
        }
    }

    fn visit<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        known: Option<&'static [&'static str]>,
    ) -> Result<V::Value, Fail> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(yes) => visitor.visit_bool(*yes),
            Value::List(nodes) => visitor.visit_seq(Elements { reader: self, nodes, next: 0 }),
            Value::Table(entries) => {
                visitor.visit_map(Pairs { reader: self, entries, next: 0, known })
            }
        };
        result.map_err(|fail| fail.about(self.node))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fail;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.visit(visitor, None)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match &self.node.raw {
            Some(raw) => visitor.visit_str(raw).map_err(|fail: Fail| fail.about(self.node)),
            None => self.visit(visitor, None),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fail> {
        visitor.visit_newtype_struct(self).map_err(|fail| fail.about(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        if let Value::Table(entries) = &self.node.value {
            self.check_keys(entries, fields);
        }
        self.visit(visitor, Some(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Table(entries) => {
                let pairs = Pairs { reader: self, entries, next: 0, known: None };
                visitor.visit_enum(de::value::MapAccessDeserializer::new(pairs))
            }
            _ => Err(de::Error::custom("expected a word or a table")),
        };
        result.map_err(|fail| fail.about(self.node))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Elements<'t> {
    reader: Reader<'t>,
    nodes: &'t [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Fail;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fail> {
        while let Some(node) = self.nodes.get(self.next) {
            let key = self.next.to_string();
            self.next += 1;
            if self.reader.state.is_left_out(node) {
                continue;
            }
            let path = Path { parent: self.reader.path.cloned().map(Box::new), key };
            let reader = Reader { node, path: Some(&path), state: self.reader.state };
            return seed.deserialize(reader).map(Some).map_err(|fail| fail.about(node));
        }
        Ok(None)
    }
}

struct Pairs<'t> {
    reader: Reader<'t>,
    entries: &'t [Entry],
    next: usize,
    /// The struct's fields; keys beside them were noted and are passed over.
    known: Option<&'static [&'static str]>,
}

impl<'t> Pairs<'t> {
    fn current(&self) -> Option<&'t Entry> {
        self.entries.get(self.next)
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Fail;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fail> {
        while let Some(entry) = self.current() {
            let unknown = self.known.is_some_and(|known| !known.contains(&entry.key.as_str()));
            if unknown || self.reader.state.is_left_out(&entry.node) {
                self.next += 1;
                continue;
            }
            let key = entry.key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some).map_err(|fail: Fail| Fail {
                origin: Some(Origin {
                    identity: identity(&entry.node),
                    place: entry.key_place.clone(),
                }),
                ..fail
            });
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fail> {
        let Some(entry) = self.current() else {
            return Err(de::Error::custom("a value is missing"));
        };
        self.next += 1;
        let path = Path { parent: self.reader.path.cloned().map(Box::new), key: entry.key.clone() };
        let reader = Reader { node: &entry.node, path: Some(&path), state: self.reader.state };
        seed.deserialize(reader).map_err(|fail| fail.about(&entry.node))
    }
}
