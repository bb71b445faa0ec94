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

/// Header lines: names in lower case, values byte for byte (they need not be UTF-8).
///
/// The order is that in which they were pushed. Lines of one name keep the order of the wire; between
/// names the wire's order is lost, because the HTTP framework keeps none, and the listener pushes them
/// in alphabetical order. Nothing may depend on it: a scheme that signs headers names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Bytes)>);

/// A header that must stand once stood more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl Headers {
    /// No headers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line. The name is lower-cased; the value is kept as it is, without CR and LF, which no
    /// HTTP parser lets through and which would forge a line in [`Headers::to_bytes`].
    pub fn push(&mut self, name: &str, value: impl Into<Bytes>) {
        let value: Bytes = value.into();
        let value = if value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()
        } else {
            value
        };
        self.0.push((name.to_ascii_lowercase(), value));
    }

    /// Takes every line of `name` (lower case) away and adds one with this value at the end.
    pub fn replace(&mut self, name: &str, value: impl Into<Bytes>) {
        self.0.retain(|(other, _)| other != name);
        self.push(name, value);
    }

    /// Puts `value` in the place of every value of `name` (lower case).
    pub fn overwrite(&mut self, name: &str, value: &'static [u8]) {
        for (_, old) in self.0.iter_mut().filter(|(n, _)| n == name) {
            *old = Bytes::from_static(value);
        }
    }

    /// Every value of `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v)
    }

    /// The value of `name` (lower case) when there is exactly one, `None` when there is none.
    pub fn one(&self, name: &str) -> Result<Option<&Bytes>, Repeated> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Repeated),
            None => Ok(first),
        }
    }

    /// Every line, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// How many lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `name: value` lines ended by CRLF: the form in which the tables keep them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in &self.0 {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// Reads what [`Headers::to_bytes`] wrote. A line without a colon is passed over.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut headers = Self::new();
        for line in bytes.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            headers.push(&String::from_utf8_lossy(name), Bytes::copy_from_slice(value));
        }
        headers
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
        let back = Headers::from_bytes(&headers.to_bytes());
        assert_eq!(back, headers);
        assert_eq!(back.one("x-odd"), Err(Repeated));
        assert_eq!(back.one("a"), Ok(Some(&Bytes::from_static(b"1"))));
        assert_eq!(back.one("b"), Ok(None));
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        let mut headers = Headers::new();
        headers.push("a", Bytes::from_static(b"1\r\nb: 2"));
        assert_eq!(Headers::from_bytes(&headers.to_bytes()).len(), 1);
    }
}
