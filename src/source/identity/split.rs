//! Splits a batch into the events of which it is made.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;

use super::document::Document;
use crate::received::Received;
use crate::verify::json::Malformed;
use crate::verify::json::select::{PARTS_MAX, Part, Selector};
use crate::verify::{Code, Rejection};

/// The most bytes that the events of one request may have together, their headers included: each is
/// kept with the request's headers and with what stands around it, so that a small request could
/// become a large one.
const PARTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a batch is split.
#[derive(Debug, Clone)]
pub(in crate::source) struct Split {
    /// Where the parts stand in a JSON document.
    pub(in crate::source) selectors: Vec<Selector>,
    /// Whether each line of an `ndjson` body is a part.
    pub(in crate::source) lines: bool,
    /// Whether a batch without any part is acked.
    pub(in crate::source) empty_ok: bool,
}

/// One event of a batch.
pub(super) struct Piece<'a> {
    /// The part itself.
    pub(super) item: &'a [u8],
    /// What is kept as its body: the document's own bytes, without the other parts.
    pub(super) alone: Bytes,
}

impl Split {
    /// The pieces of a batch in their order; `None` when the document is no batch. Fails with
    /// `body_malformed` when it can't be split in one way only, or into too much.
    pub(super) fn pieces<'d>(
        &self,
        received: &'d Received,
        document: &'d Document<'_>,
    ) -> Result<Option<Vec<Piece<'d>>>, Rejection> {
        let head = received.headers.as_bytes().len();
        match document {
            Document::Lines(lines) if self.lines => {
                let bytes = lines.iter().map(|line| line.len() + head).sum();
                bounded(lines.len(), bytes)?;
                let piece = |line: &Range<usize>| Piece {
                    item: &received.body[line.clone()],
                    alone: received.body.slice(line.clone()),
                };
                Ok(Some(lines.iter().map(piece).collect()))
            }
            Document::Json(bytes, _) if !self.selectors.is_empty() => {
                let Some(parts) = self
                    .parts(bytes)
                    .map_err(|error| malformed(&format!("the batch can't be split: {error}")))?
                else {
                    return Ok(None);
                };
                let size = parts.iter().map(|part| part.length_alone(bytes) + head).sum();
                bounded(parts.len(), size)?;
                let piece = |part: &Part| Piece {
                    item: &bytes[part.span.clone()],
                    alone: Bytes::from(part.alone(bytes)),
                };
                Ok(Some(parts.iter().map(piece).collect()))
            }
            _ => Ok(None),
        }
    }

    /// The parts that any selector finds, in the order of the document. An element in which none of
    /// them finds the array that should stand there is a part by itself: left out, it would be lost.
    fn parts(&self, document: &[u8]) -> Result<Option<Vec<Part>>, Malformed> {
        let mut there = false;
        let mut parts = Vec::new();
        let mut barren = Vec::new();
        let mut passed = HashSet::new();
        for selector in &self.selectors {
            let found = selector.select(document)?;
            there |= found.there;
            parts.extend(found.parts);
            barren.extend(found.barren);
            passed.extend(found.passed);
        }
        parts.extend(barren.into_iter().filter(|part| !passed.contains(&part.span)));
        parts.sort_by_key(|part| (part.span.start, part.span.end));
        parts.dedup_by(|one, other| one.span == other.span);
        Ok(there.then_some(parts))
    }
}

fn bounded(parts: usize, bytes: usize) -> Result<(), Rejection> {
    if parts > PARTS_MAX {
        return Err(malformed(&format!("the batch has more than {PARTS_MAX} events")));
    }
    if bytes > PARTS_BYTES_MAX {
        return Err(malformed(
            "the events of the batch, each with its headers and what stands around it, would have more than 64 MiB",
        ));
    }
    Ok(())
}

fn malformed(detail: &str) -> Rejection {
    Rejection::new(Code::BodyMalformed, detail)
}
