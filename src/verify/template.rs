//! The signed content, as a template: literal text, and the parts of a request in braces.

use std::borrow::Cow;

use super::field::{Field, Unreadable};
use super::rejection::{Code, Rejection};
use crate::received::Received;

/// What a signature covers, in order.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Body,
    Timestamp,
    Id,
    Method,
    Field(Field),
}

/// The words of the vocabulary that aren't built yet.
const UNBUILT: &[&str] = &["secret", "sorted_form"];
const UNBUILT_PREFIXES: &[&str] = &["sig:", "crc32:", "signed_headers:", "hmac:", "?"];

impl Template {
    /// Reads a template; `{{` and `}}` stand for braces. `url` is what `{url}` stands for: the
    /// registered public URL, never one that is rebuilt from a request.
    pub(crate) fn parse(text: &str, url: Option<&str>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.extend_from_slice(brace.as_bytes());
                rest = after;
                continue;
            }
            let end = match (brace, rest.find('}')) {
                ("{", Some(end)) => end,
                _ => return Err(format!("`{text}` has a `{brace}` without its partner")),
            };
            let part = Self::part(&rest[..end], url)?;
            rest = &rest[end + 1..];
            if let Part::Literal(bytes) = part {
                literal.extend_from_slice(&bytes);
                continue;
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if !parts.iter().any(|part| !matches!(part, Part::Literal(_))) {
            return Err(format!(
                "`{text}` signs nothing of the request: name a part such as {{body}}"
            ));
        }
        Ok(Self { parts })
    }

    fn part(word: &str, url: Option<&str>) -> Result<Part, String> {
        match word {
            "body" => Ok(Part::Body),
            "ts" => Ok(Part::Timestamp),
            "id" => Ok(Part::Id),
            "method" => Ok(Part::Method),
            "url" => match url {
                Some(url) => Ok(Part::Literal(url.as_bytes().to_vec())),
                None => Err("{url} needs `public_url` to be set: the URL that is registered with the provider, byte for byte".to_owned()),
            },
            _ if UNBUILT.contains(&word) || UNBUILT_PREFIXES.iter().any(|p| word.starts_with(p)) => {
                Err(format!("{{{word}}} is not built yet"))
            }
            _ => Field::parse(word).map(Part::Field).map_err(|_| {
                format!(
                    "{{{word}}} is not a part of a request: use {{body}}, {{ts}}, {{id}}, {{url}}, {{method}}, {{header:NAME}}, {{query:NAME}}, {{form:NAME}} or {{body:/pointer}}"
                )
            }),
        }
    }

    /// Whether it names the timestamp by `{ts}`.
    pub(crate) fn names_timestamp(&self) -> bool {
        self.parts.contains(&Part::Timestamp)
    }

    /// Whether it names the id by `{id}`.
    pub(crate) fn names_id(&self) -> bool {
        self.parts.contains(&Part::Id)
    }

    /// Whether it holds the whole body.
    pub(crate) fn has_body(&self) -> bool {
        self.parts.contains(&Part::Body)
    }

    /// Whether it holds something of the body.
    pub(crate) fn has_part_of_body(&self) -> bool {
        let in_body = |part: &Part| matches!(part, Part::Field(field) if field.is_in_body());
        self.has_body() || self.parts.iter().any(in_body)
    }

    /// Whether it holds this field, by itself or with the whole body.
    pub(crate) fn has_field(&self, field: &Field) -> bool {
        let same = |part: &Part| matches!(part, Part::Field(other) if other == field);
        (field.is_in_body() && self.has_body()) || self.parts.iter().any(same)
    }

    /// The signed bytes of a request, piece by piece.
    pub(crate) fn resolve<'a>(
        &'a self,
        received: &'a Received,
        ts: Option<&'a [u8]>,
        id: Option<&'a [u8]>,
    ) -> Result<Vec<Cow<'a, [u8]>>, Rejection> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Literal(bytes) => Ok(Cow::Borrowed(bytes.as_slice())),
                Part::Body => Ok(Cow::Borrowed(received.body.as_ref())),
                Part::Method => Ok(Cow::Borrowed(received.method.as_bytes())),
                Part::Timestamp => ts.map(Cow::Borrowed).ok_or_else(|| {
                    Rejection::new(Code::TimestampMissing, "the signed timestamp is missing")
                }),
                Part::Id => id
                    .map(Cow::Borrowed)
                    .ok_or_else(|| Rejection::new(Code::IdMissing, "the signed id is missing")),
                Part::Field(field) => signed_value(field, received),
            })
            .collect()
    }
}

/// A value that the signature covers. Without it the signature can't be checked, so its absence is
/// the signature's: nothing was proven.
fn signed_value<'a>(field: &Field, received: &'a Received) -> Result<Cow<'a, [u8]>, Rejection> {
    match field.read(received) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Rejection::new(
            Code::SignatureMalformed,
            format!("{field}, which the signature covers, is missing"),
        )),
        Err(why) => Err(malformed(field, &why)),
    }
}

/// The rejection for a field of the scheme that can't be read.
pub(crate) fn malformed(field: &Field, why: &Unreadable) -> Rejection {
    Rejection::new(Code::SignatureMalformed, format!("{field} can't be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::Headers;
    use bytes::Bytes;

    #[test]
    fn a_template_gives_the_signed_bytes() {
        let mut headers = Headers::new();
        headers.push("x-a", Bytes::from_static(b"\xff"));
        let received = Received {
            method: "PUT".to_owned(),
            target: "/in/x?q=1".to_owned(),
            headers,
            body: Bytes::from_static(br#"{"n":1.0}"#),
            peer: None,
            arrived_at: chrono::DateTime::UNIX_EPOCH,
        };
        let template = Template::parse(
            "v0:{ts}{{{id}}}{method}{url}{header:X-A}{query:q}{body:/n}|{body}",
            Some("https://x/"),
        )
        .expect("a template");
        let bytes = template.resolve(&received, Some(b"7"), Some(b"i")).expect("resolves").concat();
        assert_eq!(bytes, b"v0:7{i}PUThttps://x/\xff11.0|{\"n\":1.0}");
        assert_eq!(
            template.resolve(&received, None, Some(b"i")).map_err(|r| r.code),
            Err(Code::TimestampMissing)
        );
    }

    #[test]
    fn a_template_that_says_nothing_is_refused() {
        for (bad, part) in [
            ("{body", "partner"),
            ("body}", "partner"),
            ("{bodi}", "not a part"),
            ("{header:}", "not a part"),
            ("{secret}", "not built yet"),
            ("{crc32:body}", "not built yet"),
            ("{url}{body}", "public_url"),
            ("", "signs nothing"),
            ("constant", "signs nothing"),
        ] {
            let error = Template::parse(bad, None).expect_err(bad);
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
