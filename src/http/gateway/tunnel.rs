//! WebSockets: once the service agrees, bytes both ways until one side has enough.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::answer::{END, Head, Pieces, Reply};
use super::relay::{self, PIECES};
use super::upstream::Upstream;
use super::{Gateway, headers, protected};

/// A tunnel in which neither side says anything for so long is closed: nobody tells us of a client whose
/// network has gone. Services that mean to be silent for longer send pings.
const SILENCE_MAX: Duration = Duration::from_secs(600);

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
        let upstream = Arc::clone(&self.upstream);
        self.tracker.spawn_on(connect(upstream, head, from_client, reply), &self.runtime);
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
            join(service, from_client, to_client).await;
        }
        Ok(Err(error)) => protected::tell(reply, Reply::Problem(protected::failed(&error))),
        Err(_) => protected::tell(reply, Reply::Problem(protected::timed_out())),
    }
}

/// Ends when the service has ended or the client is gone. A client that only stopped speaking is told the rest.
async fn join(
    service: Upgraded,
    from_client: Pieces,
    to_client: mpsc::Sender<Result<Bytes, io::Error>>,
) {
    let (hears, speaks) = tokio::io::split(service);
    let spoken = AtomicU64::new(0);
    let outward = async {
        if let Err(error) = carry_out(speaks, from_client, &spoken).await {
            tracing::debug!(error = %error, "a tunnel's service takes no more");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outward => {}
        () = carry_home(hears, &to_client, &spoken) => {}
        () = to_client.closed() => {}
    }
}

async fn carry_out(
    mut service: WriteHalf<Upgraded>,
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
    mut service: ReadHalf<Upgraded>,
    to_client: &mpsc::Sender<Result<Bytes, io::Error>>,
    spoken: &AtomicU64,
) {
    let mut heard = 0;
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let last = match tokio::time::timeout(SILENCE_MAX, service.read_buf(&mut piece)).await {
            Ok(Ok(0)) => Ok(END),
            Ok(Ok(_)) => Ok(piece.freeze()),
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
