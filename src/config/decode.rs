//! Reads typed values out of the tree, and goes on after a fault, so that all are reported at once.
//!
//! Serde stops at the first fault. So a faulty value is noted and taken out, and the reading begins
//! again without it, until it succeeds: every field of the file's types is optional.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

use super::place::{Fault, Place};
use super::tree::{Node, Value};

mod fail;
mod reader;

use fail::Fail;
use reader::Reader;

/// Which keys of a table are read elsewhere; `None` for all that the type doesn't know.
pub(crate) type Also = fn(&[&str]) -> Option<&'static [&'static str]>;

/// Reads a `T` from a node; faulty parts are reported and left out.
///
/// `path` is where the node stands; `also` names keys that the table at a path may have although its
/// type doesn't know them, because somebody else reads them (`None`: any).
pub(crate) fn decode<T: DeserializeOwned + Default>(
    node: &Node,
    path: &[&str],
    also: Also,
    faults: &mut Vec<Fault>,
) -> T {
    let state = State { left_out: RefCell::default(), faults: RefCell::default(), also };
    let root = path.iter().fold(None, |parent, key| {
        Some(Path { parent: parent.map(Box::new), key: (*key).to_owned() })
    });
    let decoded = loop {
        match T::deserialize(Reader { node, path: root.as_ref(), state: &state }) {
            Ok(value) => break value,
            Err(Fail { message, origin }) => {
                let culprit = origin.as_ref().map_or(node, |origin| origin.find(node));
                let consequence = state.has_gaps(culprit);
                if !consequence {
                    let place = origin.map_or_else(|| node.place.clone(), |origin| origin.place);
                    state.faults.borrow_mut().push(Fault::new(place, message));
                }
                let fresh = state.left_out.borrow_mut().insert(identity(culprit));
                if !fresh || std::ptr::eq(culprit, node) {
                    break T::default();
                }
            }
        }
    };
    faults.append(&mut state.faults.into_inner());
    decoded
}

/// The names of a type's fields, as serde knows them.
pub(crate) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only the fields are asked for"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    // The answer is in `fields`; the reading itself always ends in the error above.
    drop(T::deserialize(Ask(&mut fields)));
    fields
}

fn identity(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

struct State {
    left_out: RefCell<HashSet<usize>>,
    faults: RefCell<Vec<Fault>>,
    also: Also,
}

impl State {
    fn is_left_out(&self, node: &Node) -> bool {
        self.left_out.borrow().contains(&identity(node))
    }

    fn note(&self, node: &Node, place: &Place, message: String) {
        if self.left_out.borrow_mut().insert(identity(node)) {
            self.faults.borrow_mut().push(Fault::new(place.clone(), message));
        }
    }

    /// Whether a part of this value was taken out, so that a fault of the whole is its consequence.
    fn has_gaps(&self, node: &Node) -> bool {
        let gap = |child: &Node| self.is_left_out(child) || self.has_gaps(child);
        match &node.value {
            Value::List(nodes) => nodes.iter().any(gap),
            Value::Table(entries) => entries.iter().any(|entry| gap(&entry.node)),
            Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => false,
        }
    }
}

#[derive(Clone)]
struct Path {
    parent: Option<Box<Path>>,
    key: String,
}

impl Path {
    fn keys(&self) -> Vec<&str> {
        let mut keys = self.parent.as_ref().map(|parent| parent.keys()).unwrap_or_default();
        keys.push(&self.key);
        keys
    }
}

/// Which value a fault is about: its identity finds it again in the tree.
#[derive(Debug)]
struct Origin {
    identity: usize,
    place: Place,
}

impl Origin {
    fn find<'a>(&self, root: &'a Node) -> &'a Node {
        fn search(node: &Node, wanted: usize) -> Option<&Node> {
            if identity(node) == wanted {
                return Some(node);
            }
            match &node.value {
                Value::List(nodes) => nodes.iter().find_map(|node| search(node, wanted)),
                Value::Table(entries) => entries.iter().find_map(|e| search(&e.node, wanted)),
                Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => None,
            }
        }
        search(root, self.identity).unwrap_or(root)
    }
}
