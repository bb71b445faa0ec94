//! Requests without protection: streamed through, both ways, unbuffered.

use std::io;

use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures::StreamExt;
use reqwest::header::HeaderValue;
use tokio::sync::{mpsc, oneshot};

use super::answer::{END, Head, Reply};
use super::upstream::Upstream;
use super::{Gateway, headers, protected};

/// Pieces that may wait for the slower side.
pub(super) const PIECES: usize = 8;

impl Gateway {
    /// Passes a request on and its answer back. A client that goes away ends it.
    pub(super) async fn relay(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        mut head: reqwest::Request,
    ) -> HttpResponse {
        let length = request.headers().get(CONTENT_LENGTH);
        let has_body = length.is_some() || request.headers().contains_key(TRANSFER_ENCODING);
        // The rest of a body that the upstream didn't want stays alive until the answer is sent.
        let (sent, is_sent) = oneshot::channel::<()>();
        if has_body {
            if let Some(length) = length.and_then(|it| HeaderValue::from_bytes(it.as_bytes()).ok())
            {
                head.headers_mut().insert("content-length", length);
            }
            let (pieces, body) = mpsc::channel(PIECES);
            actix_web::rt::spawn(pump(payload, pieces, is_sent));
            let stream = futures::stream::unfold(body, |mut body| async move {
                let piece: Result<Bytes, io::Error> = body.recv().await?;
                Some((piece, body))
            });
            *head.body_mut() = Some(reqwest::Body::wrap_stream(stream));
        }
        let (reply, answer) = oneshot::channel();
        let upstream = std::sync::Arc::clone(&self.upstream);
        self.tracker.spawn_on(pass(upstream, head, reply), &self.runtime);
        let is_head = request.method() == actix_web::http::Method::HEAD;
        match answer.await {
            Ok(reply) => reply.response(is_head, sent),
            Err(_) => protected::lost().response(),
        }
    }
}

/// Reads the client's body as fast as the upstream takes it.
pub(super) async fn pump(
    mut payload: web::Payload,
    pieces: mpsc::Sender<Result<Bytes, io::Error>>,
    is_sent: oneshot::Receiver<()>,
) {
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| io::Error::other(error.to_string()));
        let failed = piece.is_err();
        if pieces.send(piece).await.is_err() || failed {
            break;
        }
    }
    drop(pieces);
    // Ends in an error by design: the other half is dropped with the answer.
    if is_sent.await.is_err() {
        drop(payload);
    }
}

async fn pass(
    upstream: std::sync::Arc<Upstream>,
    request: reqwest::Request,
    mut reply: oneshot::Sender<Reply>,
) {
    let called = tokio::time::timeout(upstream.timeout, upstream.pooled.execute(request));
    let called = tokio::select! {
        called = called => called,
        () = reply.closed() => return,
    };
    match called {
        Ok(Ok(response)) => hand_over(&upstream, response, reply).await,
        Ok(Err(error)) => protected::tell(reply, Reply::Problem(protected::failed(&error))),
        Err(_) => protected::tell(reply, Reply::Problem(protected::timed_out())),
    }
}

/// Gives the client an answer piece by piece.
pub(super) async fn hand_over(
    upstream: &Upstream,
    mut response: reqwest::Response,
    reply: oneshot::Sender<Reply>,
) {
    let head = Head {
        status: response.status().as_u16(),
        headers: headers::homeward(response.headers()),
        length: announced(&response),
    };
    let (pieces, body) = mpsc::channel(PIECES);
    protected::tell(reply, Reply::Pieces(head, body));
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(upstream.timeout, response.chunk()) => next,
            () = pieces.closed() => return,
        };
        let piece = match next {
            Ok(Ok(Some(piece))) if piece.is_empty() => continue,
            Ok(Ok(Some(piece))) => Ok(piece),
            Ok(Ok(None)) => {
                // Nobody there any more is no fault.
                pieces.send(Ok(END)).await.unwrap_or_default();
                return;
            }
            Ok(Err(error)) => Err(io::Error::other(error.to_string())),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the service fell silent")),
        };
        let failed = piece.is_err();
        if pieces.send(piece).await.is_err() || failed {
            return;
        }
    }
}

/// The length that the upstream announced, also where no body follows.
pub(super) fn announced(response: &reqwest::Response) -> Option<u64> {
    response.headers().get("content-length")?.to_str().ok()?.trim().parse().ok()
}
