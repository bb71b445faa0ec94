//! A body, as far as its source says what it is.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Reader;
use super::xml::{self, XmlText};
use crate::received::Received;
use crate::verify::field::FormKind;
use crate::verify::json::{self, Pointer, Scan};
use crate::verify::{Code, Rejection};

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Format {
    /// One whole JSON value.
    Json,
    /// Lines, each of which is one whole JSON value or blank.
    Ndjson,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`.
    Multipart,
    /// A form, one field of which holds JSON.
    FormField(String),
    /// One whole XML element.
    Xml,
    /// A form, one field of which holds XML in base64.
    Base64Xml(String),
    /// UTF-8.
    Text,
    /// Any bytes.
    Raw,
    /// No byte.
    Empty,
}

impl Format {
    /// Whether a body of it is, or holds, one whole JSON or XML document.
    pub(in crate::source) fn is_document(&self) -> bool {
        matches!(self, Self::Json | Self::FormField(_) | Self::Xml | Self::Base64Xml(_))
    }
}

/// The body, as far as it was understood.
pub(super) enum Document<'a> {
    /// With what stands at the reader's pointers.
    Json(Cow<'a, [u8]>, Scan),
    /// Where the lines lie in the body, without their ends and without blank ones.
    Lines(Vec<Range<usize>>),
    Form(FormKind),
    /// What stands at the reader's paths.
    Xml(Vec<XmlText>),
    Opaque,
}

impl Reader {
    /// The body as the first of the formats that it is. Fails with `body_malformed` when it is none.
    pub(super) fn document<'a>(&self, received: &'a Received) -> Result<Document<'a>, Rejection> {
        let mut refusal = None;
        for format in &self.formats {
            match self.parse(format, received) {
                Ok(document) => return Ok(document),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match refusal {
            Some(why) => Err(Rejection::new(Code::BodyMalformed, why)),
            None => Ok(Document::Opaque),
        }
    }

    fn parse<'a>(&self, format: &Format, received: &'a Received) -> Result<Document<'a>, String> {
        let body = received.body.as_ref();
        match format {
            Format::Json => self
                .scan(Cow::Borrowed(body))
                .map_err(|error| format!("the body is not one whole JSON value: {error}")),
            Format::Ndjson => lines(body).map(Document::Lines),
            Format::Form => form(FormKind::Pairs, received, "a form"),
            Format::Multipart => form(FormKind::Parts, received, "a multipart form"),
            Format::FormField(name) => self.scan(field(received, name)?).map_err(|error| {
                format!("the form's field `{name}` is not one whole JSON value: {error}")
            }),
            Format::Xml => xml::read(body, &self.xml)
                .map(Document::Xml)
                .map_err(|why| format!("the body is not one whole XML element: {why}")),
            Format::Base64Xml(name) => {
                let field = field(received, name)?;
                // Some senders break the lines of their base64.
                let field: Vec<u8> =
                    field.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
                let document = BASE64_STANDARD
                    .decode(field)
                    .map_err(|_| format!("the form's field `{name}` is not base64"))?;
                xml::read(&document, &self.xml).map(Document::Xml).map_err(|why| {
                    format!("the form's field `{name}` is not one whole XML element: {why}")
                })
            }
            Format::Text if std::str::from_utf8(body).is_err() => {
                Err("the body is not UTF-8".to_owned())
            }
            Format::Empty if !body.is_empty() => Err("the body is not empty".to_owned()),
            Format::Text | Format::Raw | Format::Empty => Ok(Document::Opaque),
        }
    }

    fn scan<'a>(&self, document: Cow<'a, [u8]>) -> Result<Document<'a>, json::Malformed> {
        let pointers: Vec<&Pointer> = self.pointers.iter().collect();
        let scan = json::scan(&document, &pointers)?;
        Ok(Document::Json(document, scan))
    }
}

fn form<'a>(kind: FormKind, received: &Received, what: &str) -> Result<Document<'a>, String> {
    match kind.check(received) {
        Ok(()) => Ok(Document::Form(kind)),
        Err(why) => Err(format!("the body is not {what}: {why}")),
    }
}

fn field<'a>(received: &'a Received, name: &str) -> Result<Cow<'a, [u8]>, String> {
    match FormKind::Pairs.one(received, name) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(format!("the body is a form without the field `{name}`")),
        Err(why) => Err(format!("the form's field `{name}` can't be read: {why}")),
    }
}

/// Where the lines lie that aren't blank. A line ends with LF, or with CR and LF.
fn lines(body: &[u8]) -> Result<Vec<Range<usize>>, String> {
    let mut found = Vec::new();
    let mut start = 0;
    for (n, line) in body.split(|b| *b == b'\n').enumerate() {
        let end = start + line.strip_suffix(b"\r").unwrap_or(line).len();
        let text = &body[start..end];
        if !text.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            json::scan(text, &[]).map_err(|error| {
                format!("line {} of the body is not one whole JSON value: {error}", n + 1)
            })?;
            found.push(start..end);
        }
        start += line.len() + 1;
    }
    Ok(found)
}
