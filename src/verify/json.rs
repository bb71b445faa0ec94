//! Finds JSON pointers in raw bytes: no tree, no floats, every number as it stands.
//!
//! One pass checks that the bytes are one whole JSON value (RFC 8259, UTF-8) and remembers where each
//! pointer's value lies. A key that stands twice on a pointer's path is reported, because two parsers
//! may read two values there.

use std::borrow::Cow;
use std::ops::Range;

pub(crate) mod keys;
mod plain;
pub(crate) mod select;
mod unescape;

use unescape::unescape;

/// How deep arrays and objects may nest.
pub(crate) const DEPTH_MAX: usize = 64;

/// How many pointers one pass can look for: the bits of its masks.
pub(crate) const POINTERS_MAX: usize = 64;

/// A JSON pointer (RFC 6901) that names a value inside of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    key: String,
    index: Option<usize>,
}

impl Pointer {
    /// Reads `/a/b`; `~1` stands for `/` and `~0` for `~`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("`{text}` is not a JSON pointer: it begins with `/`"));
        };
        let mut tokens = Vec::new();
        for raw in rest.split('/') {
            let bare = raw.replace("~0", "").replace("~1", "");
            if bare.contains('~') {
                return Err(format!("`{text}` is not a JSON pointer: write `~` as `~0`"));
            }
            let key = raw.replace("~1", "/").replace("~0", "~");
            let canonical = key == "0" || !key.starts_with('0');
            let digits = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
            let index = if canonical && digits { key.parse().ok() } else { None };
            tokens.push(Token { key, index });
        }
        if tokens.len() > DEPTH_MAX {
            return Err(format!("`{text}` is deeper than {DEPTH_MAX} levels"));
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With its quotes.
    String,
    /// As it stands.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// An array or an object.
    Container,
}

/// Where a value lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Its bytes.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) kind: Kind,
}

impl Hit {
    /// The text of a string (unescaped) or of a number or a boolean (as it stands). `None` for
    /// anything else, and for a string with a lone surrogate, which is no text.
    pub(crate) fn text<'a>(&self, document: &'a [u8]) -> Option<Cow<'a, str>> {
        let raw = std::str::from_utf8(document.get(self.span.clone())?).ok()?;
        match self.kind {
            Kind::Number | Kind::Bool => Some(Cow::Borrowed(raw)),
            Kind::String => unescape(raw.get(1..raw.len().checked_sub(1)?)?),
            Kind::Null | Kind::Container => None,
        }
    }
}

/// What one pass found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// For each pointer, its first value.
    pub(crate) hits: Vec<Option<Hit>>,
    /// One bit for each pointer on whose path a key stands twice.
    duplicates: u64,
}

impl Scan {
    /// Whether a key stands twice on this pointer's path.
    pub(crate) fn is_ambiguous(&self, pointer: usize) -> bool {
        pointer < POINTERS_MAX && self.duplicates & (1 << pointer) != 0
    }
}

/// Why bytes are not one whole JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Offset in bytes.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) why: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

/// Checks `document` and finds the first [`POINTERS_MAX`] of `pointers` in it.
pub(crate) fn scan(document: &[u8], pointers: &[&Pointer]) -> Result<Scan, Malformed> {
    if let Err(error) = std::str::from_utf8(document) {
        return Err(Malformed { at: error.valid_up_to(), why: "it is not UTF-8" });
    }
    let pointers = pointers.get(..POINTERS_MAX).unwrap_or(pointers);
    let all = pointers.iter().enumerate().fold(0, |mask, (i, _)| mask | (1_u64 << i));
    let mut scanner =
        Scanner { document, at: 0, pointers, hits: vec![None; pointers.len()], duplicates: 0 };
    scanner.skip_space();
    scanner.value(0, all)?;
    scanner.skip_space();
    if scanner.at < document.len() {
        return scanner.fail("something stands after the end of the value");
    }
    Ok(Scan { hits: scanner.hits, duplicates: scanner.duplicates })
}

struct Scanner<'a> {
    document: &'a [u8],
    at: usize,
    pointers: &'a [&'a Pointer],
    hits: Vec<Option<Hit>>,
    duplicates: u64,
}

impl Scanner<'_> {
    fn fail<T>(&self, why: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, why })
    }

    fn peek(&self) -> Option<u8> {
        self.document.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads a value at `depth`, which the pointers of `active` have reached.
    fn value(&mut self, depth: usize, active: u64) -> Result<(), Malformed> {
        let start = self.at;
        let deeper = self.those(active, |pointer| pointer.tokens.len() > depth);
        let kind = match self.peek() {
            Some(b'{') => self.object(depth, deeper)?,
            Some(b'[') => self.array(depth, deeper)?,
            Some(b'"') => self.string().map(|_| Kind::String)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true", Kind::Bool)?,
            Some(b'f') => self.word(b"false", Kind::Bool)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(_) => return self.fail("no JSON value begins here"),
            None => return self.fail("it ends where a value should stand"),
        };
        let here = active & !deeper;
        if here != 0 {
            for (i, hit) in self.hits.iter_mut().enumerate() {
                if here & (1 << i) != 0 {
                    *hit = Some(Hit { span: start..self.at, kind });
                }
            }
        }
        Ok(())
    }

    /// The pointers of `mask` for which `holds`.
    fn those(&self, mask: u64, holds: impl Fn(&Pointer) -> bool) -> u64 {
        let (mut open, mut chosen) = (mask, 0);
        while open != 0 {
            let lowest = open & open.wrapping_neg();
            let pointer = self.pointers.get(lowest.trailing_zeros() as usize);
            if pointer.is_some_and(|pointer| holds(pointer)) {
                chosen |= lowest;
            }
            open ^= lowest;
        }
        chosen
    }

    fn object(&mut self, depth: usize, active: u64) -> Result<Kind, Malformed> {
        self.enter(depth)?;
        let mut seen = 0;
        if self.leave(b'}') {
            return Ok(Kind::Container);
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.fail("an object's key should stand here");
            }
            let raw = self.string()?;
            let matched = self.matching_key(raw, depth, active);
            // Only the first value counts, and its pointer is marked: see the head of this file.
            self.duplicates |= matched & seen;
            let fresh = matched & !seen;
            seen |= matched;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.fail("a colon should stand here");
            }
            self.at += 1;
            self.skip_space();
            self.value(depth + 1, fresh)?;
            if self.next_or_end(b'}')? {
                return Ok(Kind::Container);
            }
        }
    }

    fn array(&mut self, depth: usize, active: u64) -> Result<Kind, Malformed> {
        self.enter(depth)?;
        if self.leave(b']') {
            return Ok(Kind::Container);
        }
        for index in 0.. {
            let at_index = |pointer: &Pointer| {
                pointer.tokens.get(depth).is_some_and(|t| t.index == Some(index))
            };
            let matched = self.those(active, at_index);
            self.value(depth + 1, matched)?;
            if self.next_or_end(b']')? {
                break;
            }
        }
        Ok(Kind::Container)
    }

    fn enter(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth >= DEPTH_MAX {
            return self.fail("it nests too deep");
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn leave(&mut self, close: u8) -> bool {
        let closes = self.peek() == Some(close);
        self.at += usize::from(closes);
        closes
    }

    /// After a value in a container: true at its end, false before another value.
    fn next_or_end(&mut self, close: u8) -> Result<bool, Malformed> {
        self.skip_space();
        if self.leave(close) {
            return Ok(true);
        }
        if self.peek() != Some(b',') {
            return self.fail("a comma or the end of the container should stand here");
        }
        self.at += 1;
        self.skip_space();
        Ok(false)
    }

    fn matching_key(&self, raw: Range<usize>, depth: usize, active: u64) -> u64 {
        if active == 0 {
            return 0;
        }
        let raw = self.document.get(raw).unwrap_or_default();
        if !raw.contains(&b'\\') {
            let is_raw = |token: &Token| token.key.as_bytes() == raw;
            return self.those(active, |pointer| pointer.tokens.get(depth).is_some_and(is_raw));
        }
        // A key with a lone surrogate is no text, so no pointer names it.
        let Some(key) = std::str::from_utf8(raw).ok().and_then(unescape) else { return 0 };
        self.those(active, |pointer| pointer.tokens.get(depth).is_some_and(|t| t.key == key))
    }

    /// Reads a string and returns where its inside lies, without the quotes.
    fn string(&mut self) -> Result<Range<usize>, Malformed> {
        self.at += 1;
        let start = self.at;
        loop {
            self.at += plain::len(self.document.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at - 1);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fail("a control character stands in a string"),
                None => return self.fail("it ends inside of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.document.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("four hex digits should follow `\\u`");
                }
                self.at += 5;
            }
            _ => return self.fail("no such escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Kind, Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.fail("a digit should stand here"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.fail("a digit should stand here");
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Malformed> {
        if !self.document[self.at..].starts_with(word) {
            return self.fail("no JSON value begins here");
        }
        self.at += word.len();
        Ok(kind)
    }
}

#[cfg(test)]
mod tests;
