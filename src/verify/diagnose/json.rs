//! JSON as other programs write it. Numbers stay as they stand: nobody can tell what they were.

use crate::verify::json;

/// A document: values as they stand, but for the white space between them.
pub(super) enum Node<'a> {
    /// A string, number, `true`, `false` or `null`.
    Leaf(&'a str),
    Array(Vec<Node<'a>>),
    /// Keys with their quotes.
    Object(Vec<(&'a str, Node<'a>)>),
}

/// Where white space stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// None.
    Compact,
    /// A blank behind each comma and colon, as Python writes.
    Spaced,
    /// A line for each value, with so many blanks a level.
    Indented(usize),
    /// A line for each value, with a tab a level.
    Tabs,
}

/// How strings are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    AsTheyAre,
    /// Only what must be.
    Plain,
    /// What isn't ASCII too, as Python does.
    Ascii,
    /// What isn't ASCII and slashes too, as PHP does.
    AsciiAndSlashes,
    /// Slashes too.
    Slashes,
    /// `<`, `>` and `&` too, as Go does.
    Html,
}

impl Layout {
    pub(super) const ALL: [Self; 5] =
        [Self::Compact, Self::Spaced, Self::Indented(2), Self::Indented(4), Self::Tabs];

    pub(super) const fn said(self) -> &'static str {
        match self {
            Self::Compact => "without white space",
            Self::Spaced => "with `, ` and `: ` as Python does",
            Self::Indented(2) => "with an indent of 2",
            Self::Indented(_) => "with an indent of 4",
            Self::Tabs => "with tabs",
        }
    }
}

impl Strings {
    /// All but [`Strings::AsTheyAre`].
    pub(super) const ALL: [Self; 5] =
        [Self::Plain, Self::Ascii, Self::AsciiAndSlashes, Self::Slashes, Self::Html];

    pub(super) const fn said(self) -> &'static str {
        match self {
            Self::AsTheyAre => "its strings as they are",
            Self::Plain => "no needless escapes in its strings",
            Self::Ascii => "what isn't ASCII in its strings escaped",
            Self::AsciiAndSlashes => "slashes and what isn't ASCII in its strings escaped",
            Self::Slashes => "slashes in its strings escaped",
            Self::Html => "`<`, `>` and `&` in its strings escaped",
        }
    }

    /// A string with its quotes, written so; as it is when it can't be read.
    fn write(self, raw: &str) -> String {
        if self == Self::AsTheyAre {
            return raw.to_owned();
        }
        let Ok(text) = serde_json::from_str::<String>(raw) else { return raw.to_owned() };
        let mut out = String::with_capacity(raw.len());
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '/' if matches!(self, Self::Slashes | Self::AsciiAndSlashes) => out.push_str("\\/"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if self == Self::Html => {
                    escape(c, &mut out)
                }
                c if c < ' ' => escape(c, &mut out),
                c if !c.is_ascii() && matches!(self, Self::Ascii | Self::AsciiAndSlashes) => {
                    escape(c, &mut out);
                }
                c => out.push(c),
            }
        }
        out.push('"');
        out
    }
}

fn escape(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Reads a whole document; `None` when it is none.
pub(super) fn parse(body: &[u8]) -> Option<Node<'_>> {
    // It checks everything, depth included; what follows only takes apart.
    json::scan(body, &[]).ok()?;
    let mut reader = Reader { text: std::str::from_utf8(body).ok()?, at: 0 };
    reader.node()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn blank(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// A string or a word, from here to its end.
    fn leaf(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let length = length(rest)?;
        self.at += length;
        rest.get(..length)
    }

    fn node(&mut self) -> Option<Node<'a>> {
        match self.blank()? {
            b'[' => {
                let mut items = Vec::new();
                while !self.ends(b']')? {
                    items.push(self.node()?);
                }
                Some(Node::Array(items))
            }
            b'{' => {
                let mut pairs = Vec::new();
                while !self.ends(b'}')? {
                    self.blank()?;
                    let key = self.leaf()?;
                    self.blank()?;
                    self.at += 1;
                    pairs.push((key, self.node()?));
                }
                Some(Node::Object(pairs))
            }
            _ => self.leaf().map(Node::Leaf),
        }
    }

    /// Passes over the bracket or comma here; whether nothing follows before the end.
    fn ends(&mut self, end: u8) -> Option<bool> {
        let here = self.blank()?;
        self.at += 1;
        if here == end {
            return Some(true);
        }
        let over = self.blank()? == end;
        if over {
            self.at += 1;
        }
        Some(over)
    }
}

/// Bytes of the string or word with which a text begins.
fn length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        let end = bytes.iter().position(|b| b",]} \t\r\n".contains(b));
        return Some(end.unwrap_or(bytes.len())).filter(|length| *length > 0);
    }
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The document with every string written so, and nothing else changed.
pub(super) fn respelled(body: &[u8], strings: Strings) -> Option<Vec<u8>> {
    let mut rest = std::str::from_utf8(body).ok()?;
    let mut out = String::with_capacity(body.len());
    while let Some(at) = rest.find('"') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = length(rest)?;
        out.push_str(&strings.write(rest.get(..length)?));
        rest = rest.get(length..)?;
    }
    out.push_str(rest);
    Some(out.into_bytes())
}

/// The document written so.
pub(super) fn written(node: &Node<'_>, layout: Layout, sorted: bool, strings: Strings) -> Vec<u8> {
    let mut writer = Writer { layout, sorted, strings, out: String::new() };
    writer.node(node, 0);
    writer.out.into_bytes()
}

struct Writer {
    layout: Layout,
    sorted: bool,
    strings: Strings,
    out: String,
}

impl Writer {
    fn node(&mut self, node: &Node<'_>, depth: usize) {
        match node {
            Node::Leaf(text) => self.leaf(text),
            Node::Array(items) => {
                self.out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.before(i, depth + 1);
                    self.node(item, depth + 1);
                }
                self.close(']', items.is_empty(), depth);
            }
            Node::Object(pairs) => {
                self.out.push('{');
                let mut order: Vec<&(&str, Node<'_>)> = pairs.iter().collect();
                if self.sorted {
                    order.sort_by_key(|pair| pair.0);
                }
                for (i, (key, value)) in order.into_iter().enumerate() {
                    self.before(i, depth + 1);
                    self.leaf(key);
                    self.out.push_str(if self.layout == Layout::Compact { ":" } else { ": " });
                    self.node(value, depth + 1);
                }
                self.close('}', pairs.is_empty(), depth);
            }
        }
    }

    fn leaf(&mut self, text: &str) {
        if text.starts_with('"') {
            let text = self.strings.write(text);
            self.out.push_str(&text);
        } else {
            self.out.push_str(text);
        }
    }

    fn before(&mut self, i: usize, depth: usize) {
        if i > 0 {
            self.out.push_str(if self.layout == Layout::Spaced { ", " } else { "," });
        }
        self.line(depth);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        let indent = match self.layout {
            Layout::Compact | Layout::Spaced => return,
            Layout::Indented(blanks) => " ".repeat(blanks * depth),
            Layout::Tabs => "\t".repeat(depth),
        };
        self.out.push('\n');
        self.out.push_str(&indent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_other_programs_do() {
        let text = r#" { "b" : [ 1.0 , {} , [] , "é/<\u0041" ] , "a" : { "x" : null } } "#;
        let node = parse(text.as_bytes()).expect("JSON");
        let of = |layout, sorted, strings| {
            String::from_utf8(written(&node, layout, sorted, strings)).expect("text")
        };
        for (layout, sorted, strings, wanted) in [
            (
                Layout::Compact,
                false,
                Strings::AsTheyAre,
                r#"{"b":[1.0,{},[],"é/<\u0041"],"a":{"x":null}}"#,
            ),
            (
                Layout::Spaced,
                true,
                Strings::Ascii,
                r#"{"a": {"x": null}, "b": [1.0, {}, [], "\u00e9/<A"]}"#,
            ),
            (
                Layout::Indented(2),
                false,
                Strings::AsciiAndSlashes,
                "{\n  \"b\": [\n    1.0,\n    {},\n    [],\n    \"\\u00e9\\/<A\"\n  ],\n  \"a\": {\n    \"x\": null\n  }\n}",
            ),
            (
                Layout::Compact,
                true,
                Strings::Html,
                r#"{"a":{"x":null},"b":[1.0,{},[],"é/\u003cA"]}"#,
            ),
        ] {
            assert_eq!(of(layout, sorted, strings), wanted);
        }
        assert_eq!(
            respelled(br#"{"a" : "\/\u00e9"}"#, Strings::Plain).expect("text"),
            "{\"a\" : \"/é\"}".as_bytes()
        );
        assert!(parse(b"{\"a\":").is_none());
        assert!(parse(b"7").is_some());
    }
}
