//! Which event a verified request is: its id, its type, and the digest of its body.
//!
//! Everything here is read from the bytes that were verified, never from a parsed copy of them.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::received::Received;
use crate::verify::field::{Field, check_form, one_pair};
use crate::verify::json::{self, Kind, Pointer, Scan};
use crate::verify::{Code, Identity, Proof, Rejection};

mod place;

pub(super) use place::{Place, parse_places};

/// The longest id, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 512;

/// The longest type, in bytes; longer ones are cut.
pub const EVENT_TYPE_BYTES_MAX: usize = 255;

/// What [`Identity::held`] says when two parsers could read two ids or two types.
pub const HELD_DUPLICATE_KEY: &str = "duplicate_key";

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// One whole JSON value.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// A form, one field of which holds JSON.
    FormField(String),
    /// UTF-8.
    Text,
    /// Any bytes.
    Raw,
}

/// How to read identities from one source's requests.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// Tried in order; the request is refused when the body is none of them. Chosen by the bytes and
    /// never by the content type, which isn't signed: else a replay under another content type
    /// would be read as another event.
    pub(super) formats: Vec<Format>,
    /// Pointers that one pass looks for: those of id and type, then those to ignore.
    pub(super) pointers: Vec<Pointer>,
    /// How many of them are of id and type.
    pub(super) identifying: usize,
    /// Tried in order.
    pub(super) id: Vec<Place>,
    /// Tried in order.
    pub(super) kind: Vec<Place>,
    /// Sources with one group share ids.
    pub(super) group: String,
}

/// The body, as far as it was understood.
enum Document<'a> {
    Json(Cow<'a, [u8]>, Scan),
    Form,
    Opaque,
}

/// What stands in a place.
enum Found<'a> {
    Absent,
    Text(Cow<'a, str>),
    Unreadable(&'static str),
    /// Two values, of which two parsers could take different ones.
    Ambiguous,
}

impl Reader {
    /// Reads which event this is. Fails with `body_malformed` when the body isn't what the source
    /// declares, and with `id_missing` when there is no readable id. A type never makes it fail.
    pub(super) fn read(&self, received: &Received, proof: &Proof) -> Result<Identity, Rejection> {
        let document = self.document(received)?;
        let mut held = None;
        let event_id = match self.event_id(received, proof, &document)? {
            Some(id) => id,
            None => {
                // Neither of the two ids: either one could suppress the genuine event that has it.
                held = Some(HELD_DUPLICATE_KEY);
                body_id(&received.body)
            }
        };
        let kind = match self.first(&self.kind, received, proof, &document) {
            Some((_, Found::Ambiguous)) => {
                held = Some(HELD_DUPLICATE_KEY);
                String::new()
            }
            Some((_, Found::Text(text))) => printable(&text),
            Some((_, Found::Absent | Found::Unreadable(_))) | None => String::new(),
        };
        let digest = self.digest(received, &document);
        Ok(Identity {
            dedupe_key: dedupe_key(&self.group, &event_id),
            event_id,
            kind,
            digest,
            held,
        })
    }

    fn document<'a>(&self, received: &'a Received) -> Result<Document<'a>, Rejection> {
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
            Format::Form => match check_form(body) {
                Ok(()) => Ok(Document::Form),
                Err(why) => Err(format!("the body is not a form: {why}")),
            },
            Format::FormField(name) => match one_pair(body, name) {
                Ok(Some(document)) => self.scan(document).map_err(|error| {
                    format!("the form's field `{name}` is not one whole JSON value: {error}")
                }),
                Ok(None) => Err(format!("the body is a form without the field `{name}`")),
                Err(why) => Err(format!("the form's field `{name}` can't be read: {why}")),
            },
            Format::Text if std::str::from_utf8(body).is_err() => {
                Err("the body is not UTF-8".to_owned())
            }
            Format::Text | Format::Raw => Ok(Document::Opaque),
        }
    }

    fn scan<'a>(&self, document: Cow<'a, [u8]>) -> Result<Document<'a>, json::Malformed> {
        let pointers: Vec<&Pointer> = self.pointers.iter().collect();
        let scan = json::scan(&document, &pointers)?;
        Ok(Document::Json(document, scan))
    }

    /// The id; `None` when it is ambiguous.
    fn event_id(
        &self,
        received: &Received,
        proof: &Proof,
        document: &Document<'_>,
    ) -> Result<Option<String>, Rejection> {
        // A place that an earlier one makes unnecessary counts too: the parser behind us may look there.
        if self.id.iter().any(|place| self.is_ambiguous(place, document)) {
            return Ok(None);
        }
        match self.first(&self.id, received, proof, document) {
            Some((_, Found::Ambiguous)) => Ok(None),
            Some((place, Found::Unreadable(why))) => Err(id_missing(place, why)),
            Some((place, Found::Text(text))) => match check_id(&text) {
                Ok(()) => Ok(Some(text.into_owned())),
                Err(why) => Err(id_missing(place, why)),
            },
            Some((_, Found::Absent)) | None => {
                let places: Vec<String> = self.id.iter().map(ToString::to_string).collect();
                let detail = format!("there is no id in {}", places.join(", nor in "));
                Err(Rejection::new(Code::IdMissing, detail))
            }
        }
    }

    /// The first place that holds something.
    fn first<'a>(
        &'a self,
        places: &'a [Place],
        received: &'a Received,
        proof: &'a Proof,
        document: &'a Document<'_>,
    ) -> Option<(&'a Place, Found<'a>)> {
        places
            .iter()
            .map(|place| (place, self.find(place, received, proof, document)))
            .find(|(_, found)| !matches!(found, Found::Absent))
    }

    fn find<'a>(
        &'a self,
        place: &'a Place,
        received: &'a Received,
        proof: &'a Proof,
        document: &'a Document<'_>,
    ) -> Found<'a> {
        match place {
            Place::Body(index, _) => match document {
                Document::Json(bytes, scan) => in_json(bytes, scan, *index),
                Document::Form | Document::Opaque => Found::Absent,
            },
            Place::Field(field @ (Field::Form(_) | Field::FormJson(..))) => match document {
                Document::Form => in_field(field, received),
                Document::Json(..) | Document::Opaque => Found::Absent,
            },
            Place::Field(field) => in_field(field, received),
            Place::Signed(_) => match proof.signed_id().map(std::str::from_utf8) {
                Some(Ok(text)) => Found::Text(Cow::Borrowed(text)),
                Some(Err(_)) => Found::Unreadable("it is not UTF-8"),
                None => Found::Absent,
            },
            Place::Concat(parts) => self.concat(parts, received, proof, document),
            Place::BodyHash => Found::Text(Cow::Owned(body_id(&received.body))),
            // A fresh id for each request: a thin ping that comes again means a new change.
            Place::Never => Found::Text(Cow::Owned(format!("none:{}", Uuid::now_v7()))),
        }
    }

    /// Parts joined by `:`, which is escaped inside of them, so that no two lists of parts look alike.
    fn concat<'a>(
        &'a self,
        parts: &'a [Place],
        received: &'a Received,
        proof: &'a Proof,
        document: &'a Document<'_>,
    ) -> Found<'a> {
        let mut joined = Vec::with_capacity(parts.len());
        for part in parts {
            match self.find(part, received, proof, document) {
                Found::Text(text) => joined.push(text.replace('%', "%25").replace(':', "%3A")),
                other => return other,
            }
        }
        Found::Text(Cow::Owned(joined.join(":")))
    }

    fn is_ambiguous(&self, place: &Place, document: &Document<'_>) -> bool {
        match (place, document) {
            (Place::Body(index, _), Document::Json(_, scan)) => scan.is_ambiguous(*index),
            (Place::Concat(parts), _) => parts.iter().any(|p| self.is_ambiguous(p, document)),
            _ => false,
        }
    }

    /// SHA-256 over the body without the values that differ between retries.
    fn digest(&self, received: &Received, document: &Document<'_>) -> [u8; 32] {
        let body = received.body.as_ref();
        let mut spans = Vec::new();
        if let Document::Json(Cow::Borrowed(_), scan) = document {
            for (index, hit) in scan.hits.iter().enumerate().skip(self.identifying) {
                if let Some(hit) = hit
                    && !scan.is_ambiguous(index)
                {
                    spans.push(hit.span.clone());
                }
            }
        }
        spans.sort_by_key(|span| span.start);
        let mut hash = Sha256::new();
        let mut at = 0;
        for span in spans {
            // Spans nest when one pointer leads into another's value.
            if span.start >= at {
                hash.update(&body[at..span.start]);
            }
            at = at.max(span.end);
        }
        hash.update(&body[at..]);
        hash.finalize().into()
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

fn in_field<'a>(field: &Field, received: &'a Received) -> Found<'a> {
    use crate::verify::field::Unreadable;
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
        Err(Unreadable::Repeated) if field.is_in_body() => Found::Ambiguous,
        Err(Unreadable::Repeated) => Found::Unreadable("it stands more than once"),
        Err(Unreadable::Malformed(_)) => Found::Unreadable("what holds it can't be read"),
    }
}

fn id_missing(place: &Place, why: &str) -> Rejection {
    Rejection::new(Code::IdMissing, format!("the id in {place} can't be used: {why}"))
}

fn check_id(id: &str) -> Result<(), &'static str> {
    if id.is_empty() {
        return Err("it is empty");
    }
    if id.len() > EVENT_ID_BYTES_MAX {
        return Err("it is longer than 512 bytes");
    }
    if id.chars().any(char::is_control) {
        return Err("it has control characters");
    }
    Ok(())
}

/// A type as it is stored and shown: control characters escaped, cut at [`EVENT_TYPE_BYTES_MAX`].
fn printable(kind: &str) -> String {
    // The usual type is both short and plain: one look, one copy.
    if kind.len() <= EVENT_TYPE_BYTES_MAX && !kind.chars().any(char::is_control) {
        return kind.to_owned();
    }
    let mut out = String::with_capacity(kind.len().min(EVENT_TYPE_BYTES_MAX));
    for c in kind.chars() {
        let escaped: Cow<'_, str> = if c.is_control() {
            Cow::Owned(c.escape_default().to_string())
        } else {
            Cow::Owned(c.to_string())
        };
        if out.len() + escaped.len() > EVENT_TYPE_BYTES_MAX {
            break;
        }
        out.push_str(&escaped);
    }
    out
}

fn body_id(body: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body)))
}

/// First 16 bytes of SHA-256 over the group, its length before it, and the id.
pub(super) fn dedupe_key(group: &str, id: &str) -> Uuid {
    let mut hash = Sha256::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hash.update((group.len() as u64).to_be_bytes());
    hash.update(group.as_bytes());
    hash.update(id.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    Uuid::from_bytes(key)
}

#[cfg(test)]
mod tests;
