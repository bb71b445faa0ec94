//! Reads a request as it is: bounded, timed, undecoded, byte for byte.
//!
//! The framework's own extractors are not used: they would inflate a `Content-Encoding` once a
//! feature is switched on anywhere in the build, and they have no deadline. Here the bytes are those
//! that were sent (but for the chunked framing), which is what providers sign.
//!
//! What the framework itself does before a request gets here, seen in its source: more than 96
//! header lines, or a head over 128 KiB, is answered 431; `Content-Length` together with
//! `Transfer-Encoding`, either of them twice, or any coding but `chunked`, is answered 400 and the
//! connection is closed; a first head that isn't complete in time is answered 408.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::budget::Share;
use crate::received::Headers;

/// The largest head: request line and header lines together, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What is set aside for a body before its first byte is there. A promised length is not believed
/// beyond this: memory follows the bytes.
const FIRST_BYTES: usize = 16 * 1024;

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes.
    pub(super) bytes: usize,
    /// For the whole body to arrive.
    pub(super) timeout: Duration,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// More bytes than allowed were promised or sent.
    TooLarge,
    /// It did not arrive in time.
    Timeout,
    /// The budget that all requests share is used up.
    Exhausted,
    /// The sender stopped before the end, or broke the framing.
    Incomplete,
}

/// Reads the whole body, or says why not.
///
/// After a fault the payload must be kept until the answer is on its way: see [`Held`].
pub(super) async fn read(
    headers: &HeaderMap,
    payload: &mut web::Payload,
    limits: Limits,
    share: &mut Share,
) -> Result<Bytes, BodyFault> {
    let promised = promised(headers);
    if promised.is_some_and(|bytes| bytes > limits.bytes) {
        return Err(BodyFault::TooLarge);
    }
    match tokio::time::timeout(limits.timeout, collect(promised, payload, limits.bytes, share))
        .await
    {
        Ok(read) => read,
        Err(_) => Err(BodyFault::Timeout),
    }
}

async fn collect(
    promised: Option<usize>,
    payload: &mut web::Payload,
    limit: usize,
    share: &mut Share,
) -> Result<Bytes, BodyFault> {
    let Some(first) = next(payload).await? else { return Ok(Bytes::new()) };
    share.grow(first.len()).map_err(|_| BodyFault::Exhausted)?;
    if first.len() > limit {
        return Err(BodyFault::TooLarge);
    }
    if promised == Some(first.len()) {
        // The usual webhook comes in one piece: nothing is copied. The end is awaited all the same.
        return match next(payload).await? {
            None => Ok(first),
            Some(_) => Err(BodyFault::Incomplete),
        };
    }
    // The first piece may be larger than what is set aside at first: a bound of both is no range.
    let room = promised.unwrap_or(0).min(FIRST_BYTES).max(first.len());
    let mut body = BytesMut::with_capacity(room);
    body.extend_from_slice(&first);
    while let Some(chunk) = next(payload).await? {
        if body.len() + chunk.len() > limit {
            return Err(BodyFault::TooLarge);
        }
        share.grow(chunk.len()).map_err(|_| BodyFault::Exhausted)?;
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn next(payload: &mut web::Payload) -> Result<Option<Bytes>, BodyFault> {
    loop {
        match payload.next().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(BodyFault::Incomplete),
            Some(Ok(chunk)) if chunk.is_empty() => {}
            Some(Ok(chunk)) => return Ok(Some(chunk)),
        }
    }
}

/// Whether the framework takes all that follows on the connection for the body. It does so for a
/// request that wants a WebSocket, whatever length it says, unless it comes in chunks.
pub(super) fn is_endless(headers: &HeaderMap) -> bool {
    let websocket =
        |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    headers.get_all(UPGRADE).any(websocket) && !headers.contains_key(TRANSFER_ENCODING)
}

/// The promised length. The framework has refused anything but one row of digits.
pub(super) fn promised(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim();
    // A length that doesn't fit is larger than any limit.
    Some(text.parse().unwrap_or(usize::MAX))
}

/// The bytes of a request's head, about as they were on the wire.
pub(super) fn head_bytes(request: &HttpRequest) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let lines: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + b": \r\n".len())
        .sum();
    request.method().as_str().len() + target + " HTTP/1.1\r\n".len() + lines
}

/// Header lines, values byte for byte; lines of one name in order of arrival, names in alphabetical
/// order, because the framework keeps no other.
pub(super) fn headers(map: &HeaderMap) -> Headers {
    let mut lines: Vec<_> =
        map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    // A stable sort: lines of one name stay in their order.
    lines.sort_by_key(|(a, _)| *a);
    let bytes = lines.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut headers = Headers::with_capacity(lines.len(), bytes);
    for (name, value) in lines {
        headers.push(name, value);
    }
    headers
}

/// An answer's body that keeps the rest of the request's body alive until it is sent.
///
/// When the payload is dropped unread, the framework reads the rest of a chunked body for ever, to
/// save the connection; an endless one would hold it. While the payload lives, it closes the
/// connection after the answer, with a moment of lingering so that the sender can read it.
pub(super) struct Held {
    answer: Bytes,
    _payload: Option<web::Payload>,
}

impl Held {
    pub(super) fn new(answer: Bytes, payload: Option<web::Payload>) -> Self {
        Self { answer, _payload: payload }
    }
}

impl MessageBody for Held {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.answer.len() as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let answer = std::mem::take(&mut self.get_mut().answer);
        Poll::Ready((!answer.is_empty()).then_some(Ok(answer)))
    }
}
