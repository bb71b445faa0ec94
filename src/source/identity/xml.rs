//! Finds the texts of elements in an XML document: no tree, no document type, no entities but the
//! five that every document has, and references to characters.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// How deep elements may nest.
const DEPTH_MAX: usize = 64;

/// An element: the names from the root on, as they are written in the document, prefixes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct XmlPath(Vec<String>);

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum XmlText {
    /// No such element, or an empty one.
    Absent,
    /// Its text, without the white space around it.
    Text(String),
    /// It holds elements.
    Container,
    /// It stands more than once: two parsers could read two values.
    Repeated,
}

impl XmlPath {
    /// Reads `/root/name`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let names: Option<Vec<String>> =
            text.strip_prefix('/').map(|rest| rest.split('/').map(str::to_owned).collect());
        match names {
            Some(names) if names.iter().any(String::is_empty) => {
                Err(format!("`{text}` has an empty name: write it such as /root/name"))
            }
            Some(names) if names.len() > DEPTH_MAX => {
                Err(format!("`{text}` is deeper than {DEPTH_MAX} levels"))
            }
            Some(names) => Ok(Self(names)),
            None => Err(format!("`{text}` is not a path of elements such as /root/name")),
        }
    }
}

impl fmt::Display for XmlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// Checks that `document` is one whole element and gives what stands at each path.
pub(super) fn read(document: &[u8], paths: &[XmlPath]) -> Result<Vec<XmlText>, String> {
    let text = std::str::from_utf8(document).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut walk = Walk::new(paths);
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(|error| format!("{error} at byte {at}"))?;
        match event {
            Event::Eof => return walk.end(),
            event => walk.take(event).map_err(|why| format!("{why} at byte {at}"))?,
        }
    }
}

struct Walk<'p> {
    paths: &'p [XmlPath],
    found: Vec<XmlText>,
    /// Which paths were met.
    met: Vec<bool>,
    /// The names of the open elements, each with the path that it is at.
    open: Vec<(String, Option<usize>)>,
    /// The text of the innermost open element, when a path names it.
    text: String,
    rooted: bool,
}

impl<'p> Walk<'p> {
    fn new(paths: &'p [XmlPath]) -> Self {
        Self {
            paths,
            found: vec![XmlText::Absent; paths.len()],
            met: vec![false; paths.len()],
            open: Vec::new(),
            text: String::new(),
            rooted: false,
        }
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::Start(start) => self.start(start.name().as_ref()),
            Event::Empty(start) => {
                self.start(start.name().as_ref())?;
                self.close();
                Ok(())
            }
            Event::End(_) => {
                self.close();
                Ok(())
            }
            Event::Text(text) => self.add(&text.xml10_content()),
            Event::CData(text) => self.add(&text.xml10_content()),
            Event::GeneralRef(reference) => self.add(&resolved(&reference)?),
            Event::Decl(decl) => match decl.encoding() {
                None => Ok(()),
                Some(Ok(name)) if is_utf8(&name) => Ok(()),
                Some(_) => Err("it says that it is not UTF-8"),
            },
            Event::DocType(_) => Err("a document type is never read"),
            Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn start(&mut self, name: &str) -> Result<(), &'static str> {
        if self.open.is_empty() && self.rooted {
            return Err("a second root begins");
        }
        if self.open.len() == DEPTH_MAX {
            return Err("it nests too deep");
        }
        self.rooted = true;
        if let Some((_, Some(outer))) = self.open.last() {
            self.found[*outer] = XmlText::Container;
        }
        self.open.push((name.to_owned(), None));
        let target = self.paths.iter().position(|path| {
            path.0.len() == self.open.len()
                && path.0.iter().zip(&self.open).all(|(wanted, (name, _))| wanted == name)
        });
        if let Some((_, here)) = self.open.last_mut() {
            *here = target;
        }
        self.text.clear();
        Ok(())
    }

    fn close(&mut self) {
        let Some((_, Some(target))) = self.open.pop() else { return };
        let text = self.text.trim_matches(SPACE);
        if std::mem::replace(&mut self.met[target], true) {
            self.found[target] = XmlText::Repeated;
        } else if self.found[target] == XmlText::Absent && !text.is_empty() {
            self.found[target] = XmlText::Text(text.to_owned());
        }
    }

    fn add(&mut self, text: &str) -> Result<(), &'static str> {
        match self.open.last() {
            Some((_, Some(_))) => self.text.push_str(text),
            Some((_, None)) => {}
            None if text.trim_matches(SPACE).is_empty() => {}
            None => return Err("text stands outside of the root"),
        }
        Ok(())
    }

    fn end(self) -> Result<Vec<XmlText>, String> {
        if !self.rooted || !self.open.is_empty() {
            return Err("it ends before its root element does".to_owned());
        }
        Ok(self.found)
    }
}

/// XML's white space.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_utf8(encoding: &str) -> bool {
    ["utf-8", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
}

/// What `&name;` or `&#number;` stands for.
fn resolved(reference: &BytesRef<'_>) -> Result<String, &'static str> {
    match reference.resolve_char_ref() {
        Ok(Some(c)) => Ok(c.to_string()),
        Err(_) => Err("a reference to no character stands there"),
        Ok(None) => match &**reference {
            "amp" => Ok("&".to_owned()),
            "lt" => Ok("<".to_owned()),
            "gt" => Ok(">".to_owned()),
            "apos" => Ok("'".to_owned()),
            "quot" => Ok("\"".to_owned()),
            _ => Err("an unknown entity stands there"),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(document: &str, path: &str) -> Result<XmlText, String> {
        let path = XmlPath::parse(path).expect("a path");
        read(document.as_bytes(), &[path]).map(|mut found| found.remove(0))
    }

    fn text(text: &str) -> Result<XmlText, String> {
        Ok(XmlText::Text(text.to_owned()))
    }

    #[test]
    fn an_elements_text_is_read_as_it_is_meant() {
        for (document, path, wanted) in [
            ("<a><b>1</b></a>", "/a/b", text("1")),
            ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a> x </a>\n", "/a", text("x")),
            ("<a>&lt;&#233;&#x1F600;&amp;&quot;&apos;&gt;</a>", "/a", text("<é😀&\"'>")),
            ("<a><![CDATA[<&]]>x</a>", "/a", text("<&x")),
            ("<a>1<!-- c -->2<?p i?>3</a>", "/a", text("123")),
            ("<a><y:b z=\"1\">1</y:b><b>2</b></a>", "/a/y:b", text("1")),
            ("<a><b/></a>", "/a/b", Ok(XmlText::Absent)),
            ("<a><b> </b></a>", "/a/b", Ok(XmlText::Absent)),
            ("<a><c><b>1</b></c></a>", "/a/b", Ok(XmlText::Absent)),
            ("<a>t<b>1</b></a>", "/a", Ok(XmlText::Container)),
            ("<a><b>1</b><b>1</b></a>", "/a/b", Ok(XmlText::Repeated)),
            ("<a><b/><b>1</b></a>", "/a/b", Ok(XmlText::Repeated)),
        ] {
            assert_eq!(found(document, path), wanted, "{document}");
        }
    }

    #[test]
    fn what_is_not_one_whole_document_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(65), "</a>".repeat(65));
        for bad in [
            "",
            " ",
            "x",
            "<a>",
            "<a></b>",
            "<a/><a/>",
            "<a/>x",
            "x<a/>",
            "</a>",
            "<a>&b;</a>",
            "<a>&#xD800;</a>",
            "<a>&</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<!DOCTYPE a><a/>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>",
            &deep,
        ] {
            assert!(found(bad, "/a").is_err(), "{bad}");
        }
        assert!(read(b"<a>\xff</a>", &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let path = XmlPath::parse("/a/b").expect("a path");
            prop_assert!(read(&bytes, &[path]).map_or(true, |found| found.len() == 1));
        }

        #[test]
        fn anything_like_xml_is_read_or_refused(text in "[<>/a-c&;#x!\\[\\]? ='\"-]{0,80}") {
            let path = XmlPath::parse("/a/b").expect("a path");
            prop_assert!(read(text.as_bytes(), &[path]).map_or(true, |found| found.len() == 1));
        }

        #[test]
        fn what_is_escaped_is_what_is_read(inside in "[ -~é]{0,40}") {
            let escaped = inside.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let wanted = match inside.trim_matches(SPACE) {
                "" => XmlText::Absent,
                inside => XmlText::Text(inside.to_owned()),
            };
            prop_assert_eq!(found(&format!("<a>{escaped}</a>"), "/a"), Ok(wanted));
        }
    }
}
