//! What goes back to the client.

use std::io;

use actix_web::HttpResponse;
use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

use crate::http::problem::Problem;
use crate::idempotency::Refusal;
use crate::idempotency::middleware::replayed;
use crate::idempotency::policy::is_bodiless;
use crate::store::idempotency::KeyAnswer;

/// The head of an answer of the upstream.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// As the upstream announced it.
    pub(super) length: Option<u64>,
}

/// What a run or a relay has for the client.
#[derive(Debug)]
pub(super) enum Reply {
    /// The whole answer.
    Whole(Head, Bytes),
    /// Its head, and pieces as they come.
    Pieces(Head, Pieces),
    /// The answer of another run, which took the key over.
    Kept(Box<KeyAnswer>),
    /// None.
    Problem(Problem),
}

/// Pieces of a body.
pub(super) type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

impl Reply {
    /// The answer. `with` is kept until its last piece is sent.
    pub(super) fn response(self, is_head: bool, with: impl Send + 'static) -> HttpResponse {
        match self {
            Self::Whole(head, body) => begin(&head).body(body),
            Self::Kept(kept) => replayed(*kept),
            Self::Problem(problem) => problem.response(),
            Self::Pieces(head, _) if is_head => {
                // The length is what a client asks for by HEAD; no body follows it.
                let mut response = begin(&head);
                match head.length {
                    Some(length) => response.no_chunking(length).finish(),
                    None => response.finish(),
                }
            }
            Self::Pieces(head, pieces) if head.status == SWITCHING => {
                begin(&head).upgrade("websocket").streaming(stream(pieces, with))
            }
            Self::Pieces(head, pieces) => {
                let length = head.length;
                let mut response = begin(&head);
                let stream = stream(pieces, with);
                match length {
                    _ if is_bodiless(head.status) => response.finish(),
                    Some(length) => response.body(SizedStream::new(length, stream)),
                    None => response.body(BodyStream::new(stream)),
                }
            }
        }
    }
}

/// The status after which the connection is the WebSocket's.
const SWITCHING: u16 = 101;

/// The piece that says that the body is whole: without it, its end is a cut.
pub(super) const END: Bytes = Bytes::new();

fn stream(
    pieces: Pieces,
    with: impl Send + 'static,
) -> impl Stream<Item = Result<Bytes, io::Error>> {
    futures::stream::unfold(Some((pieces, with)), |state| async move {
        let (mut pieces, with) = state?;
        match pieces.recv().await {
            Some(Ok(piece)) if piece.is_empty() => None,
            Some(Ok(piece)) => Some((Ok(piece), Some((pieces, with)))),
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((Err(io::Error::other("the answer was cut off")), None)),
        }
    })
}

fn begin(head: &Head) -> actix_web::HttpResponseBuilder {
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for (name, value) in &head.headers {
        // Both came in as header lines, so they fit.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            response.append_header((name, value));
        }
    }
    response
}

/// A refusal as a problem document.
pub(super) fn refusal(refusal: &Refusal) -> Problem {
    Problem {
        retry_after: refusal.retry_after(),
        ..Problem::new(refusal.status(), refusal.code(), refusal.detail())
    }
}
