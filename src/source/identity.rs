//! Which event a verified request is: its id, its type, and the digest of its body.
//!
//! Everything here is read from the bytes that were verified, never from a parsed copy of them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::OnReplay;
use crate::received::Received;
use crate::verify::json::{self, Pointer, Scan};
use crate::verify::{Code, Identity, Proof, Rejection, ReplayGuard, dedupe_key};

mod document;
mod find;
mod parse;
mod place;
mod split;
mod xml;

pub(super) use document::Format;
pub(super) use parse::{Targets, parse_places};
pub(super) use place::Place;
pub(super) use split::Split;
pub(super) use xml::XmlPath;

use document::Document;
use find::{Found, Item, View};

/// The longest id, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 512;

/// The longest type, in bytes; longer ones are cut.
pub const EVENT_TYPE_BYTES_MAX: usize = 255;

/// What [`Identity::held`] says when two parsers could read two ids or two types.
pub const HELD_DUPLICATE_KEY: &str = "duplicate_key";

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
    /// Pointers that are looked for in each part of a batch.
    pub(super) item: Vec<Pointer>,
    /// Elements that are looked for in XML.
    pub(super) xml: Vec<XmlPath>,
    /// How a batch is split; `None` when each request is one event.
    pub(super) split: Option<Split>,
    /// Tried in order.
    pub(super) id: Vec<Place>,
    /// Tried in order.
    pub(super) kind: Vec<Place>,
    /// Sources with one group share ids.
    pub(super) group: Arc<str>,
    /// What to do with signed bytes that come again under another id, where that can be.
    pub(super) on_replay: Option<OnReplay>,
    /// Whether it asks what the signature covers: decided once, because few do.
    pub(super) asks_what_is_covered: bool,
}

/// What one request is.
pub(super) enum Reading {
    /// One event, whose body is the request's.
    One(Identity),
    /// The events of a batch, each with a body of its own.
    Many(Vec<(Identity, Bytes)>),
    /// A batch without any event.
    Empty,
}

impl Reader {
    /// Reads which events this is. Fails with `body_malformed` when the body isn't what the source
    /// declares, and with `id_missing` when there is no readable id. A type never makes it fail. One
    /// part of a batch that fails makes the whole request fail.
    pub(super) fn read(&self, received: &Received, proof: &Proof) -> Result<Reading, Rejection> {
        let document = self.document(received)?;
        let Some(split) = &self.split else {
            let view = View { received, proof, document: &document, item: None };
            return self.whole(&view).map(Reading::One);
        };
        let Some(pieces) = split.pieces(received, &document)? else {
            let item = match &document {
                Document::Json(bytes, _) => Some(self.item(bytes)?),
                _ => None,
            };
            let view = View { received, proof, document: &document, item };
            let identity = self.whole(&view)?;
            return Ok(Reading::Many(vec![(identity, received.body.clone())]));
        };
        if pieces.is_empty() {
            return if split.empty_ok { Ok(Reading::Empty) } else { Err(empty()) };
        }
        let mut events = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let item = Some(self.item(piece.item)?);
            let view = View { received, proof, document: &document, item };
            let of_item = self.id.iter().filter(|place| place.is_of_item());
            let digest = self.digest_of_part(&piece.alone)?;
            events.push((self.identity(of_item, &view, &piece.alone, digest)?, piece.alone));
        }
        Ok(Reading::Many(events))
    }

    fn whole(&self, view: &View<'_>) -> Result<Identity, Rejection> {
        let body = view.received.body.as_ref();
        let digest = match view.document {
            Document::Json(Cow::Borrowed(_), scan) => digest(body, scan, self.identifying),
            _ => Sha256::digest(body).into(),
        };
        self.identity(self.id.iter(), view, body, digest)
    }

    fn item<'a>(&self, bytes: &'a [u8]) -> Result<Item<'a>, Rejection> {
        let pointers: Vec<&Pointer> = self.item.iter().collect();
        match json::scan(bytes, &pointers) {
            Ok(scan) => Ok(Item { bytes, scan }),
            Err(error) => Err(Rejection::new(
                Code::BodyMalformed,
                format!("a part of the batch is not JSON: {error}"),
            )),
        }
    }

    /// The identity of the event with this body.
    fn identity<'a>(
        &'a self,
        ids: impl Iterator<Item = &'a Place> + Clone,
        view: &'a View<'_>,
        body: &[u8],
        digest: [u8; 32],
    ) -> Result<Identity, Rejection> {
        let mut held = None;
        let event_id = match self.event_id(ids, view)? {
            Some(id) => id,
            None => {
                // Neither of the two ids: either one could suppress the genuine event that has it.
                held = Some(HELD_DUPLICATE_KEY);
                hash_id(body)
            }
        };
        let kind = match self.first(&self.kind, view) {
            Some((_, Found::Ambiguous)) => {
                held = Some(HELD_DUPLICATE_KEY);
                String::new()
            }
            Some((_, Found::Text(text))) => printable(&text),
            Some((_, Found::Absent | Found::Unreadable(_))) | None => String::new(),
        };
        Ok(Identity {
            dedupe_key: dedupe_key(&self.group, &event_id),
            group: Arc::clone(&self.group),
            event_id,
            kind,
            digest,
            held,
            replay: self.on_replay.map(|on_replay| ReplayGuard {
                // The same signed bytes may come in another body: beside other pairs of a form, or in
                // another order. A part of a batch is known by its own bytes.
                digest: match view.proof.covered().filter(|_| body == view.received.body) {
                    Some(covered) => covered,
                    // Without fields to ignore the digest is one of the whole body.
                    None if self.identifying == self.pointers.len() => digest,
                    None => Sha256::digest(body).into(),
                },
                reject: on_replay == OnReplay::Reject,
            }),
        })
    }

    /// The id; `None` when it is ambiguous.
    fn event_id<'a>(
        &'a self,
        ids: impl Iterator<Item = &'a Place> + Clone,
        view: &'a View<'_>,
    ) -> Result<Option<String>, Rejection> {
        // A place that an earlier one makes unnecessary counts too: the parser behind us may look there.
        if ids.clone().any(|place| self.is_ambiguous(place, view)) {
            return Ok(None);
        }
        match self.first(ids.clone(), view) {
            Some((_, Found::Ambiguous)) => Ok(None),
            Some((place, Found::Unreadable(why))) => Err(id_missing(place, why)),
            Some((place, Found::Text(text))) => match check_id(&text) {
                Ok(()) => Ok(Some(text.into_owned())),
                Err(why) => Err(id_missing(place, why)),
            },
            Some((_, Found::Absent)) | None => {
                let places: Vec<String> = ids.map(ToString::to_string).collect();
                let detail = format!("there is no id in {}", places.join(", nor in "));
                Err(Rejection::new(Code::IdMissing, detail))
            }
        }
    }

    /// As [`digest`], of the body that a part of a batch gets.
    fn digest_of_part(&self, alone: &[u8]) -> Result<[u8; 32], Rejection> {
        let ignored: Vec<&Pointer> = self.pointers.iter().skip(self.identifying).collect();
        if ignored.is_empty() {
            return Ok(Sha256::digest(alone).into());
        }
        match json::scan(alone, &ignored) {
            Ok(scan) => Ok(digest(alone, &scan, 0)),
            Err(error) => Err(Rejection::new(
                Code::BodyMalformed,
                format!("a part of the batch is not JSON: {error}"),
            )),
        }
    }
}

/// SHA-256 over the body without the values that differ between retries: those of the pointers from
/// `ignored` on.
fn digest(body: &[u8], scan: &Scan, ignored: usize) -> [u8; 32] {
    let mut spans = Vec::new();
    for (index, hit) in scan.hits.iter().enumerate().skip(ignored) {
        if let Some(hit) = hit
            && !scan.is_ambiguous(index)
        {
            spans.push(hit.span.clone());
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

fn empty() -> Rejection {
    Rejection::new(
        Code::BodyMalformed,
        "the batch holds no event; where a provider sends such ones, set event.empty_ok = true",
    )
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

fn hash_id(body: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body)))
}

#[cfg(test)]
mod tests;
