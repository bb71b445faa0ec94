//! The operator's words as a tree in which each value knows where it stands.

use toml::de::{DeTable, DeValue};

use super::place::{Fault, Place};

/// A value and where it stands. No `Debug`: it may hold a secret.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// The text of an environment variable: what a text field wants, whatever the text looks like.
    pub(crate) raw: Option<String>,
}

/// What a value is.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// An empty table.
    pub(crate) fn table(place: Place) -> Self {
        Self { place, value: Value::Table(Vec::new()), raw: None }
    }

    /// The entries of a table; none when this is another value.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a table's key, or of a list's position.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            Value::List(nodes) => nodes.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The value at a path.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Where a fault about `path` is shown: at its value, or at the nearest table that stands.
    pub(crate) fn place_of(&self, path: &[&str]) -> Place {
        let mut node = self;
        let mut place = self.place.clone();
        for key in path {
            let Some(entry) = node.get(key) else { break };
            node = entry;
            if entry.place != Place::Whole {
                place = entry.place.clone();
            }
        }
        place
    }

    /// The text, when it is one.
    #[cfg(test)]
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a TOML document; every syntax fault is reported, and what could be read is kept.
pub(crate) fn parse(text: &str) -> (Node, Vec<Fault>) {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let faults = errors
        .iter()
        .map(|error| {
            let place = error.span().map_or(Place::Whole, |span| lines.place(span.start));
            Fault::new(place, format!("this is not TOML: {}", error.message().trim()))
        })
        .collect();
    let mut faults: Vec<Fault> = faults;
    let entries = entries(table.into_inner(), &lines, &mut faults);
    (Node { place: Place::Whole, value: Value::Table(entries), raw: None }, faults)
}

/// Reads one TOML value, such as `5`, `true` or `["a", "b"]`; `None` when it isn't one.
pub(crate) fn parse_value(text: &str, place: &Place) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut faults = Vec::new();
    let mut node = node(value.into_inner(), place.clone(), &Lines::new(text), &mut faults);
    relocate(&mut node, place);
    faults.is_empty().then_some(node)
}

/// Puts a whole tree at one place: the parts of a variable's value have no lines of their own.
pub(crate) fn relocate(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::List(nodes) => nodes.iter_mut().for_each(|node| relocate(node, place)),
        Value::Table(entries) => {
            for entry in entries {
                entry.key_place = place.clone();
                relocate(&mut entry.node, place);
            }
        }
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {}
    }
}

fn entries(table: DeTable<'_>, lines: &Lines<'_>, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let mut entries: Vec<(usize, Entry)> = table
        .into_iter()
        .map(|(key, value)| {
            let start = key.span().start;
            let key_place = lines.place(start);
            // A table's own span is its header, or nothing when only its children are written;
            // the key is where a reader looks.
            let place = match value.get_ref() {
                DeValue::Table(_) => key_place.clone(),
                _ => lines.place(value.span().start),
            };
            let node = node(value.into_inner(), place, lines, faults);
            (start, Entry { key: key.into_inner().into_owned(), key_place, node })
        })
        .collect();
    entries.sort_by_key(|(start, _)| *start);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn node(value: DeValue<'_>, place: Place, lines: &Lines<'_>, faults: &mut Vec<Fault>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(yes) => Value::Boolean(yes),
        DeValue::Integer(number) => {
            if let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) {
                Value::Integer(number)
            } else {
                faults.push(Fault::new(place.clone(), "this number is too large"));
                Value::Integer(0)
            }
        }
        DeValue::Float(number) => {
            if let Ok(number) = number.as_str().parse() {
                Value::Float(number)
            } else {
                faults.push(Fault::new(place.clone(), "this is not a number"));
                Value::Float(0.0)
            }
        }
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Array(values) => Value::List(
            values
                .into_iter()
                .map(|value| {
                    let place = lines.place(value.span().start);
                    node(value.into_inner(), place, lines, faults)
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(entries(table, lines, faults)),
    };
    Node { place, value, raw: None }
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        Place::Text { line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_knows_its_line_and_column() {
        let (tree, faults) =
            parse("[server]\nlisten = \"ä\"\n\n[sources.a-b]\nsecrets = [\n  1,\n]\n");
        assert!(faults.is_empty());
        let at = |path: &[&str]| tree.place_of(path);
        assert_eq!(at(&["server", "listen"]), Place::Text { line: 2, column: 10 });
        assert_eq!(at(&["sources", "a-b"]), Place::Text { line: 4, column: 10 });
        assert_eq!(at(&["sources", "a-b", "secrets", "0"]), Place::Text { line: 6, column: 3 });
        assert_eq!(at(&["sources", "a-b", "path"]), Place::Text { line: 4, column: 10 });
        assert_eq!(at(&["admin", "token"]), Place::Whole);
    }

    #[test]
    fn every_syntax_fault_is_reported() {
        let (_, faults) = parse("a = \nb = 1\nb = 2\nc = [1,\n");
        let lines: Vec<_> = faults.iter().map(|fault| fault.line("f")).collect();
        for want in ["f:1:5: this is not TOML", "f:3:1: this is not TOML: duplicate key", "f:4:8: "]
        {
            assert!(lines.iter().any(|line| line.starts_with(want)), "{lines:#?}");
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_a_fault() {
        let (_, faults) = parse("a = 99999999999999999999\n");
        assert_eq!(faults[0].line("f"), "f:1:5: this number is too large");
    }
}
