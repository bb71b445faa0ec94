//! Finds the parts of a batch: every value that a pointer with `*` names.

use std::ops::Range;

use super::{Malformed, Pointer, Scanner, scan};

/// The most parts that one request may have.
pub(crate) const PARTS_MAX: usize = 10_000;

/// A pointer in which `*` stands for every element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    text: String,
    /// The way to each array, and then from its elements on; `None` is the value itself.
    steps: Vec<Option<Pointer>>,
}

/// What a selector finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Whether its first array was there at all.
    pub(crate) there: bool,
    /// Where the parts lie, in their order.
    pub(crate) parts: Vec<Part>,
    /// Elements of its arrays in which the rest of the way isn't there.
    pub(crate) barren: Vec<Part>,
    /// Elements of its arrays through which the way goes on.
    pub(crate) passed: Vec<Range<usize>>,
}

/// One part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its bytes.
    pub(crate) span: Range<usize>,
    /// The arrays that it lies in, the outermost first: from after `[` to before `]`; and in each the
    /// element that it is, or lies in.
    pub(crate) arrays: Vec<(Range<usize>, Range<usize>)>,
}

impl Selector {
    /// Reads `/a/*/b`: at least one `*`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` is not a pointer such as /events/*"));
        }
        let mut steps = Vec::new();
        let mut keys = String::new();
        for key in text[1..].split('/') {
            if key == "*" {
                steps.push(std::mem::take(&mut keys));
            } else {
                keys.push('/');
                keys.push_str(key);
            }
        }
        if steps.is_empty() {
            return Err(format!("`{text}` names no batch: write `*` for its elements"));
        }
        steps.push(keys);
        let parse = |keys: String| match keys.is_empty() {
            true => Ok(None),
            false => Pointer::parse(&keys).map(Some),
        };
        let steps = steps.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), steps })
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Finds its parts in a whole JSON document; fails when it is none, when a key stands twice on
    /// the way (two parsers could read two batches), or with more than [`PARTS_MAX`] parts.
    pub(crate) fn select(&self, document: &[u8]) -> Result<Selection, Malformed> {
        let mut found =
            Selection { there: false, parts: Vec::new(), barren: Vec::new(), passed: Vec::new() };
        scan(document, &[])?;
        self.walk(document, 0..document.len(), 0, &[], &mut found)?;
        Ok(found)
    }

    fn walk(
        &self,
        document: &[u8],
        within: Range<usize>,
        step: usize,
        arrays: &[(Range<usize>, Range<usize>)],
        found: &mut Selection,
    ) -> Result<(), Malformed> {
        let here = match self.steps.get(step) {
            Some(Some(pointer)) => {
                let scan = scan(&document[within.clone()], &[pointer])?;
                if scan.is_ambiguous(0) {
                    return Err(Malformed {
                        at: within.start,
                        why: "a key of the batch stands twice",
                    });
                }
                match scan.hits.into_iter().next().flatten() {
                    Some(hit) => within.start + hit.span.start..within.start + hit.span.end,
                    None => return found.end(within, arrays),
                }
            }
            Some(None) => trimmed(document, within.clone()),
            None => return Ok(()),
        };
        if step + 1 == self.steps.len() {
            found.room(here.start)?;
            found.passed.extend((step > 0).then_some(within));
            found.parts.push(Part { span: here, arrays: arrays.to_vec() });
            return Ok(());
        }
        if document.get(here.start) != Some(&b'[') {
            return found.end(within, arrays);
        }
        found.there = true;
        found.passed.extend((step > 0).then_some(within));
        let inside = here.start + 1..here.end - 1;
        for element in elements(document, &here)? {
            let mut deeper = arrays.to_vec();
            deeper.push((inside.clone(), element.clone()));
            self.walk(document, element, step + 1, &deeper, found)?;
        }
        Ok(())
    }
}

impl Selection {
    /// The way ends in this element. At the document itself there is no batch at all.
    fn end(
        &mut self,
        within: Range<usize>,
        arrays: &[(Range<usize>, Range<usize>)],
    ) -> Result<(), Malformed> {
        if !arrays.is_empty() {
            self.room(within.start)?;
            self.barren.push(Part { span: within, arrays: arrays.to_vec() });
        }
        Ok(())
    }

    fn room(&self, at: usize) -> Result<(), Malformed> {
        if self.parts.len() + self.barren.len() == PARTS_MAX {
            return Err(Malformed { at, why: "the batch has too many parts" });
        }
        Ok(())
    }
}

impl Part {
    /// How many bytes [`Part::alone`] gives.
    pub(crate) fn length_alone(&self, document: &[u8]) -> usize {
        let left_out = self.arrays.iter().map(|(inside, element)| inside.len() - element.len());
        document.len() - left_out.sum::<usize>()
    }

    /// The document with the other parts left out: its own bytes, in which each array that this part
    /// lies in has one element.
    pub(crate) fn alone(&self, document: &[u8]) -> Vec<u8> {
        let mut head = Vec::new();
        let mut tail = Vec::new();
        let mut at = 0..document.len();
        for (inside, element) in &self.arrays {
            head.extend_from_slice(&document[at.start..inside.start]);
            tail.push(&document[inside.end..at.end]);
            at = element.clone();
        }
        head.extend_from_slice(&document[at]);
        tail.iter().rev().for_each(|bytes| head.extend_from_slice(bytes));
        head
    }
}

/// Where the elements of the array at `span` lie, in a document that was checked.
fn elements(document: &[u8], span: &Range<usize>) -> Result<Vec<Range<usize>>, Malformed> {
    let mut scanner =
        Scanner { document, at: span.start + 1, pointers: &[], hits: Vec::new(), duplicates: 0 };
    let mut elements = Vec::new();
    scanner.skip_space();
    if scanner.leave(b']') {
        return Ok(elements);
    }
    loop {
        let start = scanner.at;
        scanner.value(1, 0)?;
        if elements.len() == PARTS_MAX {
            return Err(Malformed { at: start, why: "the batch has too many parts" });
        }
        elements.push(start..scanner.at);
        if scanner.next_or_end(b']')? {
            return Ok(elements);
        }
    }
}

/// A value without the white space around it.
fn trimmed(document: &[u8], within: Range<usize>) -> Range<usize> {
    let bytes = &document[within.clone()];
    let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    let start = bytes.iter().position(|b| !space(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !space(b)).map_or(start, |at| at + 1);
    within.start + start..within.start + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(selector: &str, document: &str) -> Result<(bool, Vec<String>), Malformed> {
        let found = Selector::parse(selector).expect("a selector").select(document.as_bytes())?;
        let text = |part: &Part| document[part.span.clone()].to_owned();
        Ok((found.there, found.parts.iter().map(text).collect()))
    }

    fn alone(selector: &str, document: &str) -> Vec<String> {
        let found = Selector::parse(selector).expect("a selector").select(document.as_bytes());
        let parts = found.expect("a document").parts;
        parts
            .iter()
            .map(|part| String::from_utf8(part.alone(document.as_bytes())).expect("text"))
            .collect()
    }

    #[test]
    fn parts_are_found_where_the_selector_says() {
        let some = |there: bool, parts: &[&str]| {
            Ok((there, parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(select("/*", " [1, {\"a\":2} ,[3]] "), some(true, &["1", "{\"a\":2}", "[3]"]));
        assert_eq!(select("/*", "{}"), some(false, &[]));
        assert_eq!(select("/e/*", r#"{"e":[]}"#), some(true, &[]));
        assert_eq!(
            select("/e/*/i", r#"{"e":[{"i":1},{},{"i":"2"}]}"#),
            some(true, &["1", "\"2\""])
        );
        let nested = r#"{"e":[{"c":[1,2]},{"m":[]},{"c":[3]}]}"#;
        assert_eq!(select("/e/*/c/*", nested), some(true, &["1", "2", "3"]));
        assert!(select("/e/*", r#"{"e":[1],"e":[2]}"#).is_err());
        assert!(select("/*", "[1").is_err());
        assert!(select("/*", &format!("[{}1]", "1,".repeat(PARTS_MAX))).is_err());
    }

    #[test]
    fn a_part_alone_is_the_document_without_the_others() {
        assert_eq!(alone("/*", "[ 1, 2 ]"), ["[1]", "[2]"]);
        assert_eq!(
            alone("/e/*/c/*", r#"{"o":"p","e":[{"id":1,"c":[1,2],"x":0},{"id":2,"c":[3]}],"z":1}"#),
            [
                r#"{"o":"p","e":[{"id":1,"c":[1],"x":0}],"z":1}"#,
                r#"{"o":"p","e":[{"id":1,"c":[2],"x":0}],"z":1}"#,
                r#"{"o":"p","e":[{"id":2,"c":[3]}],"z":1}"#,
            ]
        );
    }

    #[test]
    fn a_selector_needs_a_star() {
        for bad in ["", "events/*", "/events", "/a/~2/*"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }
}
