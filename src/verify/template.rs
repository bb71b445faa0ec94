//! The signed content, as a template: literal text, and the parts of a request in braces.

use std::borrow::Cow;

use super::field::{Field, Unreadable};
use super::json::Pointer;
use super::rejection::{Code, Rejection};
use super::url::Spelling;

mod parse;
mod resolve;

pub(crate) use parse::{Words, params};

/// What a signature covers, in order.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Body,
    /// The body's CRC-32, as a decimal number.
    Checksum,
    Timestamp,
    Id,
    Secret,
    Method,
    /// The registered URL with the request's query, in a spelling.
    Url(String, Spelling),
    /// Path and query as Contentful signs them; with the registered URL when there is one.
    Contentful(Option<String>),
    /// A value.
    Field(Field, Demand),
    /// A JSON value as it stands.
    Raw(Pointer),
    /// Every pair of a form, decoded, sorted, without anything between them.
    SortedForm,
    /// A named value beside the signature.
    Beside(String),
    /// The values of the headers that a named value beside the signature lists.
    SignedHeaders(String),
    /// The lines of the headers that a header lists.
    HeaderLines(String),
    /// Left out when a value in it is missing.
    Optional(Vec<Part>),
}

/// What is asked of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Demand {
    /// Whether nothing stands for it when it is missing.
    or_nothing: bool,
    /// A character that it must not hold: the one that parts it from the next value, so that the
    /// signed bytes can be read in one way only.
    without: Option<char>,
}

/// What a template is resolved with, beside the request itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context<'a> {
    /// The part of the body that pointers lead into.
    pub(crate) part: &'a [u8],
    /// What `{ts}` stands for.
    pub(crate) ts: Option<&'a [u8]>,
    /// What `{id}` stands for.
    pub(crate) id: Option<&'a [u8]>,
    /// What `{secret}` stands for.
    pub(crate) secret: &'a [u8],
    /// The named values beside the signature.
    pub(crate) beside: &'a [(&'a str, &'a [u8])],
    /// The header of the signed time: a list of signed headers must name it.
    pub(crate) time_header: Option<&'a str>,
}

impl Template {
    /// Whether it names the timestamp by `{ts}`, or by a list of signed headers that must hold it.
    pub(crate) fn names_timestamp(&self) -> bool {
        self.leaves().any(|part| matches!(part, Part::Timestamp | Part::HeaderLines(_)))
    }

    /// Whether it names the id by `{id}`.
    pub(crate) fn names_id(&self) -> bool {
        self.leaves().any(|part| *part == Part::Id)
    }

    /// Whether it names the secret.
    pub(crate) fn names_secret(&self) -> bool {
        self.leaves().any(|part| *part == Part::Secret)
    }

    /// Whether it names values that stand beside the signature.
    pub(crate) fn names_beside(&self) -> bool {
        self.leaves().any(|part| matches!(part, Part::Beside(_) | Part::SignedHeaders(_)))
    }

    /// Whether it holds the registered URL.
    pub(crate) fn has_url(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Url(..) | Part::Contentful(_)))
    }

    /// Whether it holds the request's query: not when the registered URL has one of its own, which is
    /// signed in its place.
    fn has_query(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Url(registered, _) => !registered.contains('?'),
            Part::Contentful(_) => true,
            _ => false,
        })
    }

    /// Whether it is the body and nothing else.
    pub(crate) fn is_bare_body(&self) -> bool {
        self.parts == [Part::Body]
    }

    /// Whether it always holds the whole body.
    pub(crate) fn has_body(&self) -> bool {
        self.parts.contains(&Part::Body)
    }

    /// Whether it holds something of the body.
    pub(crate) fn has_part_of_body(&self) -> bool {
        let in_body = |part: &Part| match part {
            Part::Field(field, _) => field.is_in_body(),
            Part::Checksum | Part::Raw(_) | Part::SortedForm => true,
            _ => false,
        };
        self.has_body() || self.leaves().any(in_body)
    }

    /// Whether it holds this field, by itself or with the whole body. What is left out when it is
    /// missing counts: who leaves it out sends another content. No field of a sorted form is held: its
    /// names and values stand side by side, so that another form can have the same signed bytes.
    pub(crate) fn has_field(&self, field: &Field) -> bool {
        if field.is_in_body() && self.has_body() {
            return true;
        }
        match field {
            Field::Query(_) if self.has_query() => true,
            _ => self.leaves().any(|part| match part {
                Part::Field(other, _) => other == field || holds(other, field),
                _ => false,
            }),
        }
    }

    /// The values that it names, each in its place.
    pub(super) fn fields(&self) -> Vec<&Field> {
        self.leaves()
            .filter_map(|part| match part {
                Part::Field(field, demand) if !demand.or_nothing => Some(field),
                _ => None,
            })
            .collect()
    }

    /// Every value that it names, also one that may be missing.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Field> {
        self.leaves().filter_map(|part| match part {
            Part::Field(field, _) => Some(field),
            _ => None,
        })
    }

    /// The headers that list the headers whose lines it holds.
    pub(crate) fn header_lists(&self) -> impl Iterator<Item = &str> {
        self.leaves().filter_map(|part| match part {
            Part::HeaderLines(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The registered URL, when it holds that.
    pub(super) fn url(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Url(url, _) | Part::Contentful(Some(url)) => Some(url.as_str()),
            _ => None,
        })
    }

    /// Puts another URL in the place of the registered one: for diagnosis.
    pub(super) fn replace_url(&mut self, other: &str) {
        for part in &mut self.parts {
            match part {
                Part::Url(url, _) | Part::Contentful(Some(url)) => other.clone_into(url),
                _ => {}
            }
        }
    }

    fn leaves(&self) -> impl Iterator<Item = &Part> {
        fn flat(part: &Part) -> Box<dyn Iterator<Item = &Part> + '_> {
            match part {
                Part::Optional(parts) => Box::new(parts.iter().flat_map(flat)),
                part => Box::new(std::iter::once(part)),
            }
        }
        self.parts.iter().flat_map(flat)
    }
}

/// Whether a form's field is signed as a whole, with the JSON value inside of it.
fn holds(outer: &Field, inner: &Field) -> bool {
    match (outer, inner) {
        (Field::Form(outer, name), Field::FormJson(inner, other, _)) => {
            (outer, name) == (inner, other)
        }
        _ => false,
    }
}

/// The rejection for a field of the scheme that can't be read.
pub(crate) fn malformed(field: &Field, why: &Unreadable) -> Rejection {
    Rejection::new(Code::SignatureMalformed, format!("{field} can't be read: {why}"))
}

/// The rejection for something that the signature covers and that isn't there: nothing was proven.
fn missing(what: &dyn std::fmt::Display) -> Rejection {
    Rejection::new(
        Code::SignatureMalformed,
        format!("{what}, which the signature covers, is missing"),
    )
}

/// Signed pieces of a request.
pub(crate) type Content<'a> = Vec<Cow<'a, [u8]>>;

#[cfg(test)]
mod tests;
