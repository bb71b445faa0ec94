//! WebSockets: once the service agrees, bytes both ways until one side has enough, or we stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::answer::{END, Head, Pieces, Reply};
use super::frames::{Frames, GOING_AWAY};
use super::relay::{self, PIECES};
use super::upstream::Upstream;
use super::{Gateway, headers, protected};
use crate::http::problem::Problem;

/// A tunnel in which neither side says anything for so long is closed: nobody tells us of a client whose
/// network has gone. Services that mean to be silent for longer send pings.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// When we stop: how long we wait for the end of the frame that the service is sending, after which the
/// client can be told that we go away.
const FRAME_PATIENCE: Duration = Duration::from_secs(2);

/// The largest piece from the service.
const PIECE: usize = 16 * 1024;

impl Gateway {
    /// Asks the service for a WebSocket, and joins the two connections when it agrees. Its refusal is
    /// passed back like any answer.
    pub(super) async fn tunnel(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        mut head: reqwest::Request,
    ) -> HttpResponse {
        head.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        head.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
        let (sent, is_sent) = oneshot::channel::<()>();
        let (pieces, from_client) = mpsc::channel(PIECES);
        actix_web::rt::spawn(relay::pump(payload, pieces, is_sent));
        let (reply, answer) = oneshot::channel();
        let (upstream, closing) = (Arc::clone(&self.upstream), self.closing.clone());
        let task = connect(upstream, head, from_client, reply, closing);
        self.tracker.spawn_on(task, &self.runtime);
        let is_head = request.method() == actix_web::http::Method::HEAD;
        match answer.await {
            Ok(reply) => reply.response(is_head, sent),
            Err(_) => protected::lost().response(),
        }
    }
}

async fn connect(
    upstream: Arc<Upstream>,
    request: reqwest::Request,
    from_client: Pieces,
    mut reply: oneshot::Sender<Reply>,
    closing: CancellationToken,
) {
    let asked = async {
        let response = upstream.upgrading.execute(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok((None, response));
        }
        let head = Head {
            status: response.status().as_u16(),
            headers: headers::homeward(response.headers()),
            length: None,
        };
        Ok::<_, reqwest::Error>((Some(head), response))
    };
    let asked = tokio::select! {
        asked = tokio::time::timeout(upstream.timeout, asked) => asked,
        () = reply.closed() => return,
        () = closing.cancelled() => {
            let detail = "we are shutting down; the service had not agreed to a WebSocket yet";
            let problem = Problem::later("overloaded", 1, detail);
            return protected::tell(reply, Reply::Problem(problem));
        }
    };
    let (head, response) = match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => return protected::tell(reply, Reply::Problem(protected::failed(&error))),
        Err(_) => return protected::tell(reply, Reply::Problem(protected::timed_out())),
    };
    let Some(head) = head else {
        return relay::hand_over(&upstream, response, reply).await;
    };
    match tokio::time::timeout(upstream.timeout, response.upgrade()).await {
        Ok(Ok(service)) => {
            let (to_client, pieces) = mpsc::channel(PIECES);
            protected::tell(reply, Reply::Pieces(head, pieces));
            join(service, from_client, to_client, &closing).await;
        }
        Ok(Err(error)) => protected::tell(reply, Reply::Problem(protected::failed(&error))),
        Err(_) => protected::tell(reply, Reply::Problem(protected::timed_out())),
    }
}

/// Ends when the service has ended, the client is gone, or we stop. A client that only stopped speaking is
/// told the rest.
async fn join(
    service: impl AsyncRead + AsyncWrite,
    from_client: Pieces,
    to_client: mpsc::Sender<Result<Bytes, io::Error>>,
    closing: &CancellationToken,
) {
    let (hears, speaks) = tokio::io::split(service);
    let spoken = AtomicU64::new(0);
    let outward = async {
        if let Err(error) = carry_out(speaks, from_client, &spoken).await {
            tracing::debug!(error = %error, "a tunnel's service takes no more");
        }
        std::future::pending::<()>().await;
    };
    let overdue = async {
        closing.cancelled().await;
        tokio::time::sleep(FRAME_PATIENCE).await;
    };
    tokio::select! {
        () = outward => {}
        () = carry_home(hears, &to_client, &spoken, closing) => {}
        () = to_client.closed() => {}
        () = overdue => {}
    }
}

async fn carry_out(
    mut service: impl AsyncWrite + Unpin,
    mut from_client: Pieces,
    spoken: &AtomicU64,
) -> io::Result<()> {
    // The framework calls the end of a tunnel's client an error: its body had no length to come to.
    while let Some(Ok(piece)) = from_client.recv().await {
        service.write_all(&piece).await?;
        service.flush().await?;
        spoken.fetch_add(1, Ordering::Relaxed);
    }
    service.shutdown().await
}

async fn carry_home(
    mut service: impl AsyncRead + Unpin,
    to_client: &mpsc::Sender<Result<Bytes, io::Error>>,
    spoken: &AtomicU64,
    closing: &CancellationToken,
) {
    let mut heard = 0;
    let mut frames = Frames::default();
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = tokio::select! {
            read = tokio::time::timeout(SILENCE_MAX, service.read_buf(&mut piece)) => read,
            () = closing.cancelled(), if frames.may_say() => {
                // Nobody there any more is no fault.
                for last in [Bytes::from_static(GOING_AWAY), END] {
                    to_client.send(Ok(last)).await.unwrap_or_default();
                }
                return;
            }
        };
        let last = match read {
            Ok(Ok(0)) => Ok(END),
            Ok(Ok(_)) => {
                frames.follow(&piece);
                Ok(piece.freeze())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let now = spoken.load(Ordering::Relaxed);
                if now != std::mem::replace(&mut heard, now) {
                    continue;
                }
                Ok(END)
            }
        };
        let ends = !matches!(&last, Ok(piece) if !piece.is_empty());
        // A client that takes nothing for so long is as gone as one that says nothing.
        let taken = tokio::time::timeout(SILENCE_MAX, to_client.send(last)).await;
        if ends || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said = Result<Bytes, io::Error>;

    /// What stands around a tunnel.
    struct Ends {
        service: tokio::io::DuplexStream,
        heard: mpsc::Receiver<Said>,
        stop: CancellationToken,
        /// Of a client that says nothing, and is there.
        _client: mpsc::Sender<Said>,
    }

    fn tunnel() -> Ends {
        let (service, ours) = tokio::io::duplex(1024);
        let (to_client, heard) = mpsc::channel(PIECES);
        let (client, from_client) = mpsc::channel(PIECES);
        let closing = CancellationToken::new();
        let stop = closing.clone();
        tokio::spawn(async move { join(ours, from_client, to_client, &closing).await });
        Ends { service, heard, stop, _client: client }
    }

    async fn hear(heard: &mut mpsc::Receiver<Said>) -> Option<Bytes> {
        heard.recv().await.map(|piece| piece.expect("no error"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_being_sent_when_we_stop_comes_whole() {
        let Ends { mut service, mut heard, stop, _client } = tunnel();
        service.write_all(b"\x81\x04ab").await.expect("taken");
        assert_eq!(hear(&mut heard).await.as_deref(), Some(&b"\x81\x04ab"[..]));
        stop.cancel();
        tokio::time::advance(FRAME_PATIENCE / 2).await;
        service.write_all(b"cd").await.expect("taken");
        for want in [b"cd", GOING_AWAY, &END[..]] {
            assert_eq!(hear(&mut heard).await.as_deref(), Some(want));
        }
        assert_eq!(hear(&mut heard).await, None);
        let mut rest = Vec::new();
        service.read_to_end(&mut rest).await.expect("the service's end is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_without_an_end_is_cut_off_and_nothing_is_said_within_it() {
        let Ends { mut service, mut heard, stop, _client } = tunnel();
        service.write_all(b"\x81\x04ab").await.expect("taken");
        assert!(hear(&mut heard).await.is_some());
        stop.cancel();
        let begun = tokio::time::Instant::now();
        assert_eq!(hear(&mut heard).await, None, "not even the end of the body");
        assert!(begun.elapsed() >= FRAME_PATIENCE);
    }
}
