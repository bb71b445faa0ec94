//! A protected request: run once, on a task that no client ends.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::answer::{END, Head, Reply};
use super::upstream::Upstream;
use super::{Gateway, headers, relay};
use crate::http::budget::Share;
use crate::http::problem::Problem;
use crate::idempotency::{Answer, AnswerBody, Begun, Concluded, Ended, Run};
use crate::received::Headers;

/// How long a client waits for its answer to be written down. After that it gets it all the same: it is
/// the truth, and only a retry may be refused.
const WRITE_PATIENCE: Duration = Duration::from_millis(2500);

/// How long a client may take to come to the end of a large answer.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Pieces of a large answer that may wait for the client.
const PIECES: usize = 8;

impl Gateway {
    /// Runs a request on its own task, and answers when its end is written down.
    pub(super) async fn run(
        &self,
        run: Option<Box<Run>>,
        request: reqwest::Request,
        share: Share,
    ) -> HttpResponse {
        let (reply, answer) = oneshot::channel();
        let upstream = Arc::clone(&self.upstream);
        let keep_max = self.rules.answer_max;
        let task = async move {
            match run {
                Some(run) => guarded(&run, &upstream, request, reply, keep_max).await,
                None => {
                    let (ended, answer) =
                        call(&upstream, request, &mut Some(reply), keep_max).await;
                    if let (Some(reply), Some(answer)) = (answer.reply, answer.whole) {
                        tell(reply, answer);
                    }
                    if let Some(rest) = answer.rest {
                        rest.say().await;
                    }
                    tracing::debug!(?ended, "a request was run unguarded");
                }
            }
            // The body counts against the budget as long as it is held.
            drop(share);
        };
        self.tracker.spawn_on(task, &self.runtime);
        match answer.await {
            Ok(reply) => reply.response(false, ()),
            Err(_) => lost().response(),
        }
    }
}

/// What is left to say to the client when the upstream's answer is over.
struct Unsaid {
    reply: Option<oneshot::Sender<Reply>>,
    whole: Option<Reply>,
    /// Held until the end is written down: a large answer ends with it.
    rest: Option<Rest>,
}

/// The last piece of a large answer, and its end. Who has announced a length ends with the piece.
struct Rest {
    pieces: mpsc::Sender<Result<Bytes, std::io::Error>>,
    last: Bytes,
}

impl Rest {
    async fn say(self) {
        let saying = async {
            self.pieces.send(Ok(self.last)).await?;
            self.pieces.send(Ok(END)).await
        };
        if !matches!(tokio::time::timeout(END_PATIENCE, saying).await, Ok(Ok(()))) {
            tracing::debug!("the client of a large answer has gone before its end");
        }
    }
}

async fn guarded(
    run: &Run,
    upstream: &Upstream,
    request: reqwest::Request,
    reply: oneshot::Sender<Reply>,
    keep_max: usize,
) {
    let mut reply = Some(reply);
    let (ended, unsaid) = run.guard(call(upstream, request, &mut reply, keep_max)).await;
    let Unsaid { reply, whole, rest } = unsaid;
    let concluding = run.conclude(&ended);
    tokio::pin!(concluding);
    let concluded = tokio::time::timeout(WRITE_PATIENCE, &mut concluding).await;
    let is_written = concluded.is_ok();
    if let (Some(reply), Some(whole)) = (reply, whole) {
        tell(
            reply,
            match concluded {
                Ok(Concluded::Overtaken(Begun::Replay(kept))) => Reply::Kept(kept),
                _ => whole,
            },
        );
    }
    // While the client reads the end of a large answer, writing it down and keeping the lease go on.
    let saying = async {
        if let Some(rest) = rest {
            rest.say().await;
        }
    };
    if is_written {
        saying.await;
    } else {
        match tokio::join!(saying, concluding).1 {
            Concluded::Stands => tracing::info!("the end of a run was written down late"),
            Concluded::Overtaken(_) | Concluded::Unwritten => {}
        }
    }
}

/// Calls the upstream and reads its whole answer. One that is too large to keep goes on to the client
/// as it comes.
async fn call(
    upstream: &Upstream,
    request: reqwest::Request,
    reply: &mut Option<oneshot::Sender<Reply>>,
    keep_max: usize,
) -> (Ended, Unsaid) {
    let mut deadline = Instant::now() + upstream.timeout;
    let mut unsaid = |ended, problem| {
        (ended, Unsaid { reply: reply.take(), whole: Some(Reply::Problem(problem)), rest: None })
    };
    let mut response =
        match tokio::time::timeout_at(deadline, upstream.fresh.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => {
                return unsaid(
                    Ended::NotBegun("the service can't be reached".to_owned()),
                    failed(&error),
                );
            }
            Ok(Err(error)) => {
                let why = "the connection broke before an answer came".to_owned();
                return unsaid(Ended::Unknown(why), failed(&error));
            }
            Err(_) => {
                return unsaid(Ended::Unknown("no answer in time".to_owned()), timed_out());
            }
        };
    let status = response.status().as_u16();
    let kept = headers::homeward(response.headers());
    let length = relay::announced(&response);
    let mut body = BytesMut::new();
    let mut large: Option<Large> = None;
    loop {
        let piece = match tokio::time::timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => break,
            broken => {
                let (why, problem) = match broken {
                    Ok(Err(error)) => ("the answer broke off", failed(&error)),
                    _ => ("the answer did not end in time", timed_out()),
                };
                let whole = Some(Reply::Problem(problem));
                if let Some(mut large) = large {
                    large.say(Err(std::io::Error::other(why))).await;
                }
                let ended = Ended::Unknown(why.to_owned());
                return (ended, Unsaid { reply: reply.take(), whole, rest: None });
            }
        };
        if piece.is_empty() {
            continue;
        }
        if let Some(large) = &mut large {
            // The time for which the client let us wait is not the service's.
            deadline += large.take(piece).await;
        } else if body.len() + piece.len() <= keep_max {
            body.extend_from_slice(&piece);
        } else {
            let head = Head { status, headers: kept.clone(), length };
            let (pieces, receiver) = mpsc::channel(PIECES);
            if let Some(reply) = reply.take() {
                tell(reply, Reply::Pieces(head, receiver));
            }
            let mut begun = Large {
                pieces: Some(pieces),
                last: Bytes::new(),
                hash: Sha256::new(),
                bytes: 0,
                patience: upstream.timeout,
            };
            deadline += begun.take(std::mem::take(&mut body).freeze()).await;
            deadline += begun.take(piece).await;
            large = Some(begun);
        }
    }
    let mut lines = Headers::new();
    for (name, value) in &kept {
        lines.push(name, value);
    }
    let (body, whole, rest) = match large {
        Some(Large { pieces, last, hash, bytes, .. }) => {
            let sha256 = hex::encode(hash.finalize());
            let rest = pieces.map(|pieces| Rest { pieces, last });
            (AnswerBody::TooLarge { bytes, sha256 }, None, rest)
        }
        None => {
            let body = body.freeze();
            let whole = Reply::Whole(Head { status, headers: kept, length }, body.clone());
            (AnswerBody::Whole(body), Some(whole), None)
        }
    };
    let ended = Ended::Answered(Answer { status, headers: lines, body });
    (ended, Unsaid { reply: reply.take(), whole, rest })
}

/// An answer that is too large to keep: to the client piece by piece, and to its hash.
struct Large {
    /// `None` once the client has gone, or has not read for too long.
    pieces: Option<mpsc::Sender<Result<Bytes, std::io::Error>>>,
    /// The newest piece, held back: the answer may end with it.
    last: Bytes,
    hash: Sha256,
    bytes: u64,
    /// How long the client may still let us wait, in all. It never decides how the run ended.
    patience: Duration,
}

impl Large {
    /// Takes a piece, and says how long the client let us wait.
    async fn take(&mut self, piece: Bytes) -> Duration {
        self.hash.update(&piece);
        self.bytes += piece.len() as u64;
        let before = std::mem::replace(&mut self.last, piece);
        if before.is_empty() { Duration::ZERO } else { self.say(Ok(before)).await }
    }

    async fn say(&mut self, piece: Result<Bytes, std::io::Error>) -> Duration {
        let Some(pieces) = &self.pieces else { return Duration::ZERO };
        let begun = Instant::now();
        match tokio::time::timeout(self.patience, pieces.send(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.pieces = None,
            Err(_) => {
                tracing::info!(
                    "a client did not read its answer: it is cut off, and the run goes on"
                );
                self.pieces = None;
            }
        }
        let waited = begun.elapsed();
        self.patience = self.patience.saturating_sub(waited);
        waited
    }
}

/// Gives the client its answer, if it still waits.
pub(super) fn tell(to: oneshot::Sender<Reply>, reply: Reply) {
    if to.send(reply).is_err() {
        tracing::debug!("the client of a request has gone before its answer");
    }
}

/// The service gave no answer.
pub(super) fn failed(error: &reqwest::Error) -> Problem {
    if error.is_connect() {
        let detail = "the service can't be reached; the request was not run";
        return Problem::later("upstream_unreachable", 1, detail);
    }
    Problem::new(502, "upstream_failed", "the service gave no whole answer")
}

/// The service was too slow.
pub(super) fn timed_out() -> Problem {
    Problem::new(504, "upstream_timeout", "the service did not answer in time")
}

/// A task of ours ended without a word, which it never should.
pub(super) fn lost() -> Problem {
    tracing::error!("a gateway's task ended without an answer: this is a bug");
    Problem::new(502, "upstream_failed", "we failed while the request was run")
}
