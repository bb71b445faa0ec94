//! A place in a request where one value stands.
//!
//! Reading from a body happens before its proof only where the scheme's signature, time, id or
//! signed content lies there; nothing else that is read then leaves this room.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::json::{self, Pointer};
use super::multipart;
use crate::received::Received;

pub(super) mod name;

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// A header, by its lower-case name.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A field of a form body.
    Form(FormKind, String),
    /// A value inside of the JSON that a form field holds.
    FormJson(FormKind, String, Pointer),
    /// A value inside of a JSON body.
    Body(Pointer),
}

/// How a form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormKind {
    /// `application/x-www-form-urlencoded`.
    Pairs,
    /// `multipart/form-data`.
    Parts,
}

impl FormKind {
    /// The word of its places.
    const fn word(self) -> &'static str {
        match self {
            Self::Pairs => "form",
            Self::Parts => "part",
        }
    }

    /// Which form a body is to every reader, whether he goes by the content type or by the body. In
    /// pairs is every other body too.
    fn of(received: &Received) -> Result<Self, &'static str> {
        match multipart::is_one(received)? {
            true => Ok(Self::Parts),
            false if multipart::may_be_other_pairs(&received.headers) => {
                Err("the content type names a charset in which it may be another form")
            }
            false => Ok(Self::Pairs),
        }
    }

    /// Whether the body is one.
    pub(crate) fn check(self, received: &Received) -> Result<(), &'static str> {
        match (self, Self::of(received)?) {
            (Self::Pairs, Self::Pairs) => check_form(&received.body),
            (Self::Parts, Self::Parts) => multipart::parts(&received.body).map(|_| ()),
            (Self::Pairs, Self::Parts) => Err("it is a multipart form"),
            (Self::Parts, Self::Pairs) => Err("it doesn't begin with a boundary's line"),
        }
    }

    /// The one value of `name`; none where the body is no such form at all.
    pub(crate) fn one<'a>(
        self,
        received: &'a Received,
        name: &str,
    ) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
        let kind =
            Self::of(received).map_err(|why| Unreadable::Malformed(format!("the form: {why}")))?;
        match self {
            _ if self != kind => Ok(None),
            Self::Pairs => one_pair(&received.body, name),
            Self::Parts => one_part(&received.body, name),
        }
    }

    /// A body with this value in the place of any of that name.
    fn put(self, body: &[u8], name: &str, value: &str) -> Result<Bytes, String> {
        match self {
            Self::Pairs if multipart::begins(body) => {
                Err("the body is no form in pairs".to_owned())
            }
            Self::Pairs => Ok(Bytes::from(with_pair(body, name, value))),
            Self::Parts => multipart::with_value(body, name, value).map(Bytes::from),
        }
    }
}

/// What stands in the place of a value that must not be kept.
const HIDDEN: &str = "(hidden)";

/// Why a field has no one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It stands more than once, to some readers at least.
    Repeated,
    /// To some readers it is a file, another field or another text.
    Doubtful,
    /// What holds it can't be read.
    Malformed(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated => f.write_str("it stands more than once"),
            Self::Doubtful => {
                f.write_str("some programs take it for a file, another field or another text")
            }
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Form(kind, name) => write!(f, "{}:{name}", kind.word()),
            Self::FormJson(kind, name, pointer) => {
                write!(f, "{}:{name}:{}", kind.word(), pointer.as_str())
            }
            Self::Body(pointer) => write!(f, "body:{}", pointer.as_str()),
        }
    }
}

impl Field {
    /// Reads `header:NAME`, `query:NAME`, `form:NAME`, `form:NAME:/pointer`, the last two with `part` as
    /// well, or `body:/pointer`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (place, name) = text.split_once(':').unwrap_or((text, ""));
        match place {
            "header" | "query" | "form" | "part" if name.is_empty() => {
                Err(format!("`{text}` names nothing: write `{place}:NAME`"))
            }
            "header" if !name.bytes().all(is_token) => {
                Err(format!("`{name}` can't be the name of a header"))
            }
            "header" => Ok(Self::Header(name.to_ascii_lowercase())),
            "query" => Ok(Self::Query(name.to_owned())),
            "form" | "part" => {
                let kind = if place == "form" { FormKind::Pairs } else { FormKind::Parts };
                match name.find(":/") {
                    Some(at) => Pointer::parse(&name[at + 1..])
                        .map(|p| Self::FormJson(kind, name[..at].to_owned(), p)),
                    None => Ok(Self::Form(kind, name.to_owned())),
                }
            }
            "body" => Pointer::parse(name).map(Self::Body),
            _ => Err(format!(
                "`{text}` is not a place: write header:NAME, query:NAME, form:NAME, part:NAME or body:/pointer"
            )),
        }
    }

    /// Whether it lies in the body.
    pub(crate) fn is_in_body(&self) -> bool {
        match self {
            Self::Form(..) | Self::FormJson(..) | Self::Body(_) => true,
            Self::Header(_) | Self::Query(_) => false,
        }
    }

    /// Its one value, or `None` when it isn't there (or is JSON's null).
    pub(crate) fn read<'a>(
        &self,
        received: &'a Received,
    ) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
        self.read_in(received, &received.body)
    }

    /// As [`Field::read`], with pointers into `part` of the body: one event of a batch.
    pub(crate) fn read_in<'a>(
        &self,
        received: &'a Received,
        part: &[u8],
    ) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
        match self {
            Self::Header(name) => received
                .headers
                .one(name)
                .map(|value| value.map(Cow::Borrowed))
                .map_err(|_| Unreadable::Repeated),
            Self::Query(name) => one_pair(query_of(&received.target), name),
            Self::Form(kind, name) => kind.one(received, name),
            Self::Body(pointer) => one_value(part, pointer).map(|v| v.map(Cow::Owned)),
            Self::FormJson(kind, name, pointer) => match kind.one(received, name)? {
                Some(document) => one_value(&document, pointer).map(|v| v.map(Cow::Owned)),
                None => Ok(None),
            },
        }
    }

    /// Overwrites its values in the head of a request; one in the body is left, because bodies are
    /// kept byte for byte.
    pub(crate) fn conceal(&self, received: &mut Received) {
        match self {
            Self::Header(name) => received.headers.overwrite(name, HIDDEN.as_bytes()),
            Self::Query(name) => {
                let Some((path, query)) = received.target.split_once('?') else { return };
                let pairs = form_urlencoded::parse(query.as_bytes()).map(|(key, value)| {
                    if key == *name { (key, HIDDEN.into()) } else { (key, value) }
                });
                let query =
                    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                received.target = format!("{path}?{query}");
            }
            Self::Form(..) | Self::FormJson(..) | Self::Body(_) => {}
        }
    }

    /// Writes its value, in place of any that is there. For signing.
    pub(crate) fn put(&self, received: &mut Received, value: &str) -> Result<(), String> {
        match self {
            Self::Header(name) => {
                received.headers.replace(name, value);
                Ok(())
            }
            Self::Query(name) => {
                let target = received.target.clone();
                let (path, query) = target.split_once('?').unwrap_or((&target, ""));
                received.target = format!("{path}?{}", with_pair(query.as_bytes(), name, value));
                Ok(())
            }
            Self::Form(kind, name) => {
                received.body = kind
                    .put(&received.body, name, value)
                    .map_err(|why| format!("{self}: {why}"))?;
                Ok(())
            }
            Self::Body(pointer) => {
                let whole = 0..received.body.len();
                received.body = spliced(&received.body, whole, pointer, value)
                    .map_err(|why| format!("{self}: {why}"))?;
                Ok(())
            }
            Self::FormJson(kind, name, pointer) => {
                let form = Self::Form(*kind, name.clone());
                let inner = form.read(received).map_err(|why| format!("{form}: {why}"))?;
                let inner = inner.ok_or_else(|| format!("{form} is not in the body"))?.into_owned();
                let inner = spliced(&inner, 0..inner.len(), pointer, value)
                    .map_err(|why| format!("{self}: {why}"))?;
                form.put(received, &String::from_utf8_lossy(&inner))
            }
        }
    }
}

/// A document with `value` in the place of the value that stands at `pointer` inside of `part`. A
/// number stays a number when the value is one. Nothing else changes, byte for byte.
pub(crate) fn spliced(
    document: &[u8],
    part: Range<usize>,
    pointer: &Pointer,
    value: &str,
) -> Result<Bytes, String> {
    let found = json::scan(&document[part.clone()], &[pointer])
        .map_err(|error| format!("the body is not JSON: {error}"))?;
    let hit = found.hits.into_iter().next().flatten();
    let hit = hit.ok_or("it is missing, and only you can put it into the body")?;
    let number = hit.kind == json::Kind::Number && value.bytes().all(|b| b.is_ascii_digit());
    let text = if number { value.to_owned() } else { serde_json::Value::from(value).to_string() };
    let at = part.start + hit.span.start..part.start + hit.span.end;
    Ok([&document[..at.start], text.as_bytes(), &document[at.end..]].concat().into())
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// The query of a request's target.
pub(crate) fn query_of(target: &str) -> &[u8] {
    target.split_once('?').map_or(&[], |(_, query)| query.as_bytes())
}

/// Whether `bytes` can be a form: UTF-8, and every `%` begins two hex digits. Lenient parsers keep
/// a bad escape as it stands, so two parsers could read two values.
pub(crate) fn check_form(bytes: &[u8]) -> Result<(), &'static str> {
    if std::str::from_utf8(bytes).is_err() {
        return Err("it is not UTF-8");
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        let digits = rest.get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            return Err("a `%` stands without two hex digits");
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// The one value of `name` in a form or query.
pub(crate) fn one_pair<'a>(
    pairs: &'a [u8],
    name: &str,
) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
    check_form(pairs).map_err(|why| Unreadable::Malformed(format!("the form: {why}")))?;
    let mut found =
        form_urlencoded::parse(pairs).filter(|(key, _)| key == name || name::is_alias(key, name));
    let first = found.next();
    if found.next().is_some() {
        return Err(Unreadable::Repeated);
    }
    if first.as_ref().is_some_and(|(key, _)| key != name) {
        return Err(Unreadable::Doubtful);
    }
    // What isn't UTF-8 behind its escapes is decoded to this: many values would look like one, and
    // one event be taken for a copy of another.
    if first.as_ref().is_some_and(|(_, value)| value.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(Unreadable::Malformed("the form: the value is not UTF-8".to_owned()));
    }
    Ok(first.map(|(_, value)| match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }))
}

/// The one value of `name` in a multipart form: its bytes as they are.
fn one_part<'a>(body: &'a [u8], name: &str) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
    let parts = multipart::parts(body)
        .map_err(|why| Unreadable::Malformed(format!("the multipart form: {why}")))?;
    let part = multipart::value(&parts, name)?;
    Ok(part.map(|part| Cow::Borrowed(&body[part.content.clone()])))
}

fn one_value(document: &[u8], pointer: &Pointer) -> Result<Option<Vec<u8>>, Unreadable> {
    let found = json::scan(document, &[pointer])
        .map_err(|error| Unreadable::Malformed(format!("the body is not JSON: {error}")))?;
    if found.is_ambiguous(0) {
        return Err(Unreadable::Repeated);
    }
    let Some(hit) = found.hits.into_iter().next().flatten() else { return Ok(None) };
    if hit.kind == json::Kind::Null {
        return Ok(None);
    }
    match hit.text(document) {
        Some(text) => Ok(Some(text.into_owned().into_bytes())),
        None => Err(Unreadable::Malformed("it is neither text nor number".to_owned())),
    }
}

fn with_pair(pairs: &[u8], name: &str, value: &str) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    out.extend_pairs(
        form_urlencoded::parse(pairs).filter(|(key, _)| key != name && !name::is_alias(key, name)),
    );
    out.append_pair(name, value);
    out.finish()
}

#[cfg(test)]
mod tests;
