//! A whole request as it came: undecoded bytes, no promise about who sent them.

use std::net::IpAddr;

use bytes::Bytes;
use chrono::{DateTime, Utc};

/// A request whose body was read to its end, within its limit, undecoded.
///
/// Nothing in it is proven. [`crate::source::Source::admit`] makes a [`crate::verify::Verified`] of it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Upper case, such as `POST`.
    pub method: String,
    /// Path and query as sent, such as `/in/stripe?x=1`. Never used for a signature: see `public_url`.
    pub target: String,
    /// Lines of one name in order of arrival; the names as the listener gives them: alphabetically.
    pub headers: Headers,
    /// The exact bytes.
    pub body: Bytes,
    /// Who sent it, after walking the trusted proxies.
    pub peer: Option<IpAddr>,
    /// Our wall clock when the body was complete; freshness is judged as of this.
    pub arrived_at: DateTime<Utc>,
}

impl Received {
    /// What is kept of a request, to look a place in it up. Its query isn't: it is as if there had been none.
    #[must_use]
    pub fn kept(headers: Headers, body: Bytes) -> Self {
        Self {
            method: String::new(),
            target: String::new(),
            headers,
            body,
            peer: None,
            arrived_at: DateTime::<Utc>::UNIX_EPOCH,
        }
    }

    /// The same request with another body: one event of a batch.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        Self {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body,
            peer: self.peer,
            arrived_at: self.arrived_at,
        }
    }
}

/// Header lines: names in lower case, values byte for byte (they need not be UTF-8).
///
/// The order is that in which they were pushed. Lines of one name keep the order of the wire; between
/// names the wire's order is lost, because the HTTP framework keeps none, and the listener pushes them
/// in alphabetical order. Nothing may depend on it: a scheme that signs headers names them.
///
/// Kept as one text in the form of the tables, with the places of its lines: two allocations a
/// request, and recording copies nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a line lies in the text: the name is `start..colon`, `": "` follows, the value ends at `end`,
/// CRLF follows.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Line {
    start: usize,
    colon: usize,
    end: usize,
}

/// A header that must stand once stood more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl Headers {
    /// No headers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No headers yet, with room for so many lines and bytes.
    #[must_use]
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines) }
    }

    /// Adds a line. The name is lower-cased; the value is kept as it is, without CR and LF, which no
    /// HTTP parser lets through and which would forge a line in [`Headers::as_bytes`].
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let start = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        let colon = self.text.len();
        if let Some(name) = self.text.get_mut(start..) {
            name.make_ascii_lowercase();
        }
        self.text.extend_from_slice(b": ");
        if value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            self.text.extend(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')));
        } else {
            self.text.extend_from_slice(value);
        }
        self.lines.push(Line { start, colon, end: self.text.len() });
        self.text.extend_from_slice(b"\r\n");
    }

    /// Takes every line of `name` (lower case) away and adds one with this value at the end.
    pub fn replace(&mut self, name: &str, value: impl AsRef<[u8]>) {
        if self.all(name).next().is_some() {
            let mut others = Self::with_capacity(self.len(), self.text.len());
            for (other, line) in self.iter().filter(|(other, _)| *other != name) {
                others.push(other, line);
            }
            *self = others;
        }
        self.push(name, value);
    }

    /// Puts `value` in the place of every value of `name` (lower case).
    pub fn overwrite(&mut self, name: &str, value: &'static [u8]) {
        if self.all(name).next().is_none() {
            return;
        }
        let mut headers = Self::with_capacity(self.len(), self.text.len() + value.len());
        for (other, old) in self.iter() {
            headers.push(other, if other == name { value } else { old });
        }
        *self = headers;
    }

    /// Every value of `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |line| {
                line.colon - line.start == name.len() && self.name(line) == name.as_bytes()
            })
            .map(|line| self.value(line))
    }

    /// The value of `name` (lower case) when there is exactly one, `None` when there is none.
    pub fn one(&self, name: &str) -> Result<Option<&[u8]>, Repeated> {
        // Not through `all`: its values would live no longer than `name` does.
        let mut lines = self.lines.iter().filter(|line| self.name(line) == name.as_bytes());
        let first = lines.next();
        match lines.next() {
            Some(_) => Err(Repeated),
            None => Ok(first.map(|line| self.value(line))),
        }
    }

    /// Every line, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // A name came in as text, so it is text.
        self.lines.iter().map(|line| {
            (std::str::from_utf8(self.name(line)).unwrap_or_default(), self.value(line))
        })
    }

    fn name(&self, line: &Line) -> &[u8] {
        self.text.get(line.start..line.colon).unwrap_or_default()
    }

    fn value(&self, line: &Line) -> &[u8] {
        self.text.get(line.colon + 2..line.end).unwrap_or_default()
    }

    /// How many lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// `name: value` lines ended by CRLF: the form in which the tables keep them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Reads what [`Headers::as_bytes`] wrote. A line without a colon is passed over.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut headers = Self::with_capacity(16, bytes.len());
        for line in bytes.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            headers.push(&String::from_utf8_lossy(name), value);
        }
        headers
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_table_byte_for_byte() {
        let mut headers = Headers::new();
        headers.push("X-Odd", Bytes::from_static(b" \xff\xfe: tail "));
        headers.push("x-odd", Bytes::from_static(b""));
        headers.push("a", Bytes::from_static(b"1"));
        let back = Headers::from_bytes(headers.as_bytes());
        assert_eq!(back, headers);
        assert_eq!(back.one("x-odd"), Err(Repeated));
        assert_eq!(back.one("a"), Ok(Some(&b"1"[..])));
        assert_eq!(back.one("b"), Ok(None));
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        let mut headers = Headers::new();
        headers.push("a", Bytes::from_static(b"1\r\nb: 2"));
        assert_eq!(Headers::from_bytes(headers.as_bytes()).len(), 1);
    }
}
