//! Requests that are answered and not recorded: challenges by which a provider makes sure that the
//! address is ours.

use std::borrow::Cow;

use bytes::Bytes;

use super::compile::Faults;
use super::spec::{HandshakeSpec, MatchSpec};
use crate::received::Received;
use crate::verify::field::{Field, Unreadable};
use crate::verify::{Code, Rejection};

/// The longest value that an answer repeats, in bytes.
pub const ECHO_BYTES_MAX: usize = 4096;

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// A compiled handshake.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    /// Whether the request must pass the scheme first.
    pub(super) signed: bool,
    method: Option<String>,
    fields: Vec<(Field, String)>,
    status: u16,
    content_type: String,
    headers: Vec<(String, Echo)>,
    body: Echo,
}

/// A template over a request.
#[derive(Debug, Clone)]
struct Echo(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Field(Field),
}

/// The value of a match that only asks whether something is there.
const ANYTHING: &str = "*";

impl Handshake {
    /// Whether `received` looks like this handshake.
    pub(super) fn matches(&self, received: &Received) -> bool {
        self.method.as_ref().is_none_or(|method| *method == received.method)
            && self.fields.iter().all(|(field, wanted)| match field.read(received) {
                Ok(Some(value)) => wanted == ANYTHING || *value == *wanted.as_bytes(),
                // Of two values, one might be the wanted one, and the other one be acted upon.
                Ok(None) | Err(Unreadable::Repeated | Unreadable::Malformed(_)) => false,
            })
    }

    /// The answer; `body_malformed` when what it must repeat is missing or can't be repeated.
    pub(super) fn answer(&self, received: &Received) -> Result<Answer, Rejection> {
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        // The body may repeat what a stranger sent: no browser shall take it for a page.
        headers.push(("x-content-type-options".to_owned(), "nosniff".to_owned()));
        for (name, value) in &self.headers {
            let value = value.resolve(received)?;
            if value.chars().any(char::is_control) {
                return Err(malformed("the handshake's value can't stand in a header"));
            }
            headers.push((name.clone(), value));
        }
        Ok(Answer {
            status: self.status,
            content_type: Some(self.content_type.clone()),
            headers,
            body: Bytes::from(self.body.resolve(received)?),
        })
    }
}

fn malformed(detail: &str) -> Rejection {
    Rejection::new(Code::BodyMalformed, detail)
}

impl Echo {
    /// Reads `text {query.x} {header.x} {body./x}`; `{{` and `}}` stand for braces.
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let end = match (brace, rest.find('}')) {
                ("{", Some(end)) => end,
                _ => return Err(format!("`{text}` has a `{brace}` without its partner")),
            };
            let word = &rest[..end];
            if word.starts_with("hmac:") || word.starts_with("urldecode:") {
                return Err(format!("{{{word}}} is not built yet"));
            }
            let field = word
                .split_once('.')
                .and_then(|(place, name)| Field::parse(&format!("{place}:{name}")).ok())
                .ok_or_else(|| {
                    format!(
                        "{{{word}}} is not known here: use {{query.x}}, {{header.x}} or {{body./x}}"
                    )
                })?;
            parts.push(Part::Literal(std::mem::take(&mut literal)));
            parts.push(Part::Field(field));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Self(parts))
    }

    fn resolve(&self, received: &Received) -> Result<String, Rejection> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Field(field) => {
                    let value: Cow<'_, [u8]> = match field.read(received) {
                        Ok(Some(value)) => value,
                        Ok(None) => {
                            return Err(malformed(&format!("the handshake lacks {field}")));
                        }
                        Err(why) => {
                            return Err(malformed(&format!("{field} can't be read: {why}")));
                        }
                    };
                    match std::str::from_utf8(&value) {
                        Ok(text) if text.len() <= ECHO_BYTES_MAX => out.push_str(text),
                        _ => {
                            let detail = format!(
                                "{field} is longer than {ECHO_BYTES_MAX} bytes, or not text"
                            );
                            return Err(malformed(&detail));
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn is_literal(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Field(_)))
    }
}

/// Compiles every handshake of a source.
pub(super) fn compile(specs: &[HandshakeSpec], faults: &mut Faults) -> Vec<Handshake> {
    let mut handshakes = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("handshake[{i}]");
        faults.unbuilt(
            &path,
            &[
                ("signed_by", spec.signed_by.is_some()),
                ("check", !spec.check.is_empty()),
                ("refuse", spec.refuse.is_some()),
                ("callout", spec.callout.is_some()),
                ("capture_secret", spec.capture_secret.is_some()),
                ("only_while", spec.only_while.is_some()),
                ("match.path", spec.when.path.is_some()),
                ("match.form", !spec.when.form.is_empty()),
                ("match.absent", !spec.when.absent.is_empty()),
            ],
        );
        handshakes.extend(compile_one(spec, &path, faults));
    }
    handshakes
}

fn compile_one(spec: &HandshakeSpec, path: &str, faults: &mut Faults) -> Option<Handshake> {
    let fields = match_fields(&spec.when, path, faults);
    if fields.is_empty() {
        faults.push(
            &format!("{path}.match"),
            "would swallow every request: match a header, a query parameter or a body pointer too",
        );
    }
    if !(200..=299).contains(&spec.reply.status) {
        let fault = format!("{} is not between 200 and 299", spec.reply.status);
        faults.push(&format!("{path}.reply.status"), fault);
    }
    let body = faults.take(&format!("{path}.reply.body"), Echo::parse(&spec.reply.body))?;
    let content_type = spec.reply.content_type.clone().unwrap_or_else(|| "text/plain".to_owned());
    if !spec.signed && !body.is_literal() && content_type.contains("html") {
        faults.push(
            &format!("{path}.reply.content_type"),
            "an unsigned handshake that repeats what it was sent must not be a page",
        );
    }
    let mut headers = Vec::new();
    for (name, value) in &spec.reply.headers {
        let path = format!("{path}.reply.headers.{name}");
        let legal = faults.take(&path, Field::parse(&format!("header:{name}")));
        let value = faults.take(&path, Echo::parse(value));
        if let (Some(_), Some(value)) = (legal, value) {
            headers.push((name.to_ascii_lowercase(), value));
        }
    }
    Some(Handshake {
        signed: spec.signed,
        method: spec.when.method.clone(),
        fields,
        status: spec.reply.status,
        content_type,
        headers,
        body,
    })
}

fn match_fields(spec: &MatchSpec, path: &str, faults: &mut Faults) -> Vec<(Field, String)> {
    let mut fields = Vec::new();
    for (place, wanted) in [("header", &spec.header), ("query", &spec.query), ("body", &spec.body)]
    {
        for (name, value) in wanted {
            let field = Field::parse(&format!("{place}:{name}"));
            if let Some(field) = faults.take(&format!("{path}.match.{place}"), field) {
                fields.push((field, value.clone()));
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests;
