//! What stands in a place.

use std::borrow::Cow;

use uuid::Uuid;

use super::document::Document;
use super::xml::XmlText;
use super::{Place, Reader, hash_id};
use crate::received::Received;
use crate::verify::Proof;
use crate::verify::field::{Field, Unreadable};
use crate::verify::json::keys::first_key;
use crate::verify::json::{Kind, Scan};

/// What an event is read from.
pub(super) struct View<'a> {
    /// The whole request.
    pub(super) received: &'a Received,
    /// That it is authentic.
    pub(super) proof: &'a Proof,
    /// Its whole body.
    pub(super) document: &'a Document<'a>,
    /// The part of it that this event is.
    pub(super) item: Option<Item<'a>>,
}

/// One part of a batch, or all of a body that is no batch.
pub(super) struct Item<'a> {
    /// Its bytes.
    pub(super) bytes: &'a [u8],
    /// What stands at the reader's pointers.
    pub(super) scan: Scan,
}

/// What stands in a place.
pub(super) enum Found<'a> {
    Absent,
    Text(Cow<'a, str>),
    Unreadable(&'static str),
    /// Two values, of which two parsers could take different ones.
    Ambiguous,
}

impl Reader {
    /// The first place that holds something.
    pub(super) fn first<'a>(
        &'a self,
        places: impl IntoIterator<Item = &'a Place>,
        view: &'a View<'_>,
    ) -> Option<(&'a Place, Found<'a>)> {
        places
            .into_iter()
            .map(|place| (place, self.find(place, view)))
            .find(|(_, found)| !matches!(found, Found::Absent))
    }

    fn find<'a>(&'a self, place: &'a Place, view: &'a View<'_>) -> Found<'a> {
        match place {
            Place::Body(index, _) => match view.document {
                Document::Json(bytes, scan) => in_json(bytes, scan, *index),
                _ => Found::Absent,
            },
            Place::Item(index, _) => match &view.item {
                Some(item) => in_json(item.bytes, &item.scan, *index),
                None => Found::Absent,
            },
            Place::Xml(index, _) => match view.document {
                Document::Xml(found) => found.get(*index).map_or(Found::Absent, in_xml),
                _ => Found::Absent,
            },
            Place::Field(field @ (Field::Form(kind, _) | Field::FormJson(kind, ..))) => {
                match view.document {
                    Document::Form(found) if found == kind => in_field(field, view.received),
                    _ => Found::Absent,
                }
            }
            Place::Field(field) => in_field(field, view.received),
            Place::Claim(name) => match view.proof.claim(name) {
                Some(text) => Found::Text(Cow::Borrowed(text)),
                None => Found::Absent,
            },
            Place::Signed(_) => match view.proof.signed_id().map(std::str::from_utf8) {
                Some(Ok(text)) => Found::Text(Cow::Borrowed(text)),
                Some(Err(_)) => Found::Unreadable("it is not UTF-8"),
                None => Found::Absent,
            },
            Place::Concat(parts) => self.concat(parts, view),
            Place::Dotted(parts) => self.dotted(parts, view),
            Place::Key(pattern) => {
                let key = match (&view.item, view.document) {
                    (Some(item), _) => first_key(item.bytes, |key| pattern.fits(key)),
                    (None, Document::Json(bytes, _)) => first_key(bytes, |key| pattern.fits(key)),
                    (None, _) => Ok(None),
                };
                // Malformed it can't be: it was read before.
                key.ok().flatten().map_or(Found::Absent, |key| Found::Text(Cow::Owned(key)))
            }
            Place::BodyHash => Found::Text(Cow::Owned(hash_id(&view.received.body))),
            Place::CoveredHash => Found::Text(Cow::Owned(match view.proof.covered() {
                Some(covered) => format!("sha256:{}", hex::encode(covered)),
                None => hash_id(&view.received.body),
            })),
            Place::ItemHash => {
                let bytes = view.item.as_ref().map_or(view.received.body.as_ref(), |it| it.bytes);
                Found::Text(Cow::Owned(hash_id(bytes)))
            }
            // A fresh id for each request: a thin ping that comes again means a new change.
            Place::Never => Found::Text(Cow::Owned(format!("none:{}", Uuid::now_v7()))),
        }
    }

    /// Parts joined by `:`, which is escaped inside of them, so that no two lists of parts look alike.
    fn concat<'a>(&'a self, parts: &'a [Place], view: &'a View<'_>) -> Found<'a> {
        let mut joined = Vec::with_capacity(parts.len());
        for part in parts {
            match self.find(part, view) {
                Found::Text(text) => joined.push(text.replace('%', "%25").replace(':', "%3A")),
                other => return other,
            }
        }
        Found::Text(Cow::Owned(joined.join(":")))
    }

    /// What there is of the parts, joined by `.`. For types, which never make a request fail.
    fn dotted<'a>(&'a self, parts: &'a [Place], view: &'a View<'_>) -> Found<'a> {
        let mut joined = Vec::with_capacity(parts.len());
        for part in parts {
            match self.find(part, view) {
                Found::Text(text) if text.is_empty() => {}
                Found::Text(text) => joined.push(text),
                Found::Absent | Found::Unreadable(_) => {}
                Found::Ambiguous => return Found::Ambiguous,
            }
        }
        if joined.is_empty() { Found::Absent } else { Found::Text(Cow::Owned(joined.join("."))) }
    }

    /// Whether two parsers could read two values there.
    pub(super) fn is_ambiguous(&self, place: &Place, view: &View<'_>) -> bool {
        match (place, view.document) {
            (Place::Body(index, _), Document::Json(_, scan)) => scan.is_ambiguous(*index),
            (Place::Xml(index, _), Document::Xml(found)) => {
                found.get(*index) == Some(&XmlText::Repeated)
            }
            (Place::Item(index, _), _) => {
                view.item.as_ref().is_some_and(|item| item.scan.is_ambiguous(*index))
            }
            (Place::Concat(parts) | Place::Dotted(parts), _) => {
                parts.iter().any(|part| self.is_ambiguous(part, view))
            }
            _ => false,
        }
    }
}

fn in_json<'a>(bytes: &'a [u8], scan: &Scan, index: usize) -> Found<'a> {
    if scan.is_ambiguous(index) {
        return Found::Ambiguous;
    }
    let Some(hit) = scan.hits.get(index).and_then(Option::as_ref) else { return Found::Absent };
    match hit.kind {
        Kind::Null => Found::Absent,
        Kind::Bool | Kind::Container => Found::Unreadable("it is neither text nor number"),
        Kind::Number | Kind::String => match hit.text(bytes) {
            Some(text) => Found::Text(text),
            None => Found::Unreadable("it is not text: it has a lone surrogate"),
        },
    }
}

fn in_xml(found: &XmlText) -> Found<'_> {
    match found {
        XmlText::Absent => Found::Absent,
        XmlText::Text(text) => Found::Text(Cow::Borrowed(text)),
        XmlText::Container => Found::Unreadable("it holds elements"),
        XmlText::Repeated => Found::Ambiguous,
    }
}

fn in_field<'a>(field: &Field, received: &'a Received) -> Found<'a> {
    match field.read(received) {
        Ok(None) => Found::Absent,
        Ok(Some(value)) => match value {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes)
                .map_or(Found::Unreadable("it is not UTF-8"), |t| Found::Text(Cow::Borrowed(t))),
            Cow::Owned(bytes) => String::from_utf8(bytes)
                .map_or(Found::Unreadable("it is not UTF-8"), |t| Found::Text(Cow::Owned(t))),
        },
        // In a body it is the sender's own doing, and signed: keep it, don't run it. A header or a
        // query may have been doubled on the way.
        Err(Unreadable::Repeated | Unreadable::Doubtful) if field.is_in_body() => Found::Ambiguous,
        Err(Unreadable::Repeated) => Found::Unreadable("it stands more than once"),
        Err(Unreadable::Doubtful) => Found::Unreadable("some programs take it for another field"),
        Err(Unreadable::Malformed(_)) => Found::Unreadable("what holds it can't be read"),
    }
}
