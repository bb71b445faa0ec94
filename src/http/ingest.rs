//! The way of a webhook: cheap checks, the body, the proof, the record, the answer.
//!
//! A known source is answered 2xx only after COMMIT. Whatever is our own fault is 503, so that the
//! sender tries again; a panic too.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, http::header::CONTENT_TYPE, web};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures::FutureExt;
use tracing::{debug, error, info};
use uuid::Uuid;

use super::body::{self, BodyFault, Limits};
use super::budget::Share;
use super::peer::peer;
use super::problem::Problem;
use super::public::PublicState;
use super::reply;
use crate::handler::answers::Told;
use crate::intake::Desk;
use crate::metric;
use crate::received::Received;
use crate::source::{Admitted, Answer, Refused, Source};
use crate::store::NewRejection;
use crate::verify::Code;

mod handshake;
mod record;
mod respond;

/// A refusal for a stale or future timestamp is doubted when our clock and the database's differ by
/// more than this.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(30);

/// Refusals that have causes behind them. The sender is told none: only who runs this may know.
const DIAGNOSED: [Code; 8] = [
    Code::SignatureMissing,
    Code::SignatureMalformed,
    Code::SignatureMismatch,
    Code::TimestampMissing,
    Code::TimestampStale,
    Code::TimestampFuture,
    Code::IdMissing,
    Code::BodyMalformed,
];

/// How a request to a known source ended.
enum Ending {
    /// It is durable, and this is what its handler answered, if it was asked to and did so in time.
    Recorded { event: Uuid, duplicate: bool, conflict: bool, answer: Told },
    /// The events of a source whose requests are split are: all of them, in their order.
    RecordedAll { events: Vec<Uuid>, duplicate: bool, conflict: bool },
    /// It is a batch without any event.
    Empty,
    /// It asks whether somebody is here, and nothing else.
    Probe,
    /// It asked for an answer and recorded nothing.
    Handshake(Box<Answer>),
    /// The sender did something wrong; what there is of the request is kept for diagnosis.
    Refused(Problem, Option<Box<Received>>),
    /// We did: it may come again, and isn't counted against the sender.
    Failed(Problem, Option<Box<Received>>),
}

/// What is known of a request on its way; for the log and the answer.
struct Visit<'a> {
    state: &'a PublicState,
    desk: &'a Desk,
    source: &'a Arc<Source>,
    request: &'a HttpRequest,
    payload: web::Payload,
    /// True once the body was read to its end: before, the connection can't be used again.
    whole: bool,
    bytes: usize,
    event_id: String,
    kind: String,
    events: usize,
}

/// Receives whatever comes to the public listener, but for the probes.
pub(super) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<PublicState>,
    desk: web::Data<Desk>,
) -> HttpResponse {
    let started = Instant::now();
    if body::head_bytes(&request) > body::HEAD_BYTES_MAX {
        return Problem::head_too_large().holding(Some(payload));
    }
    if let Some(gateway) = state.gateways.at(request.path()) {
        return Box::pin(gateway.serve(&request, payload, &state)).await;
    }
    let Some(source) = state.sources.at(request.path()) else {
        state.metrics.intake_unknown();
        return Problem::unknown_source().holding(Some(payload));
    };
    let mut visit = Visit {
        state: &state,
        desk: &desk,
        source,
        request: &request,
        payload,
        whole: false,
        bytes: 0,
        event_id: String::new(),
        kind: String::new(),
        events: 0,
    };
    // A panic would close the connection without an answer. The sender would come again, but would
    // see a broken pipe in place of a 503, and nobody here would know.
    let ending = match AssertUnwindSafe(visit.run()).catch_unwind().await {
        Ok(ending) => ending,
        Err(_) => {
            error!(source.name = %source.name(), "receiving a request panicked: this is a bug");
            state.metrics.invariant_violated();
            Ending::Failed(Problem::unforeseen(), None)
        }
    };
    visit.finish(ending, started.elapsed())
}

impl Visit<'_> {
    async fn run(&mut self) -> Ending {
        let forwarded = self.request.headers().get_all("x-forwarded-for");
        let peer = self.request.peer_addr().and_then(|connection| {
            let lines = forwarded.map(|line| line.as_bytes());
            peer(connection.ip(), lines, &self.state.trusted_proxies)
        });
        let mut received = Received {
            method: self.request.method().as_str().to_owned(),
            target: self.request.uri().path_and_query().map_or("/", |t| t.as_str()).to_owned(),
            headers: body::headers(self.request.headers()),
            body: Bytes::new(),
            peer,
            arrived_at: Utc::now(),
        };
        if let Some(ending) = self.cheap_checks(&received) {
            return ending;
        }
        // Counts against the budget until the answer: the recorder holds the body meanwhile.
        let mut share = self.state.budget.share();
        match self.read(&mut share).await {
            Ok(body) => received.body = body,
            Err(fault) => return unread(fault, self.source.max_body(), received),
        }
        let read = Instant::now();
        received.arrived_at = Utc::now();
        // Of a batch that is refused once it was recorded, the whole is kept and not its parts.
        let keeps = self.source.splits() && self.may_refuse_later();
        let whole = keeps.then(|| {
            let mut whole = received.clone();
            self.source.conceal(&mut whole);
            Box::new(whole)
        });
        self.state.keys.see_to(self.source, &received).await;
        match self.judge_knowing(received).await {
            Err(ending) => ending,
            Ok(Admitted::Handshake(answer)) => self.shake(answer).await,
            Ok(Admitted::Event(verified)) => {
                let ending = self.record(verified).await;
                // Nobody holds the body any more for this request: who waits long takes no room from others.
                drop(share);
                self.with_answer(ending, read).await
            }
            Ok(Admitted::Events(verified)) => self.record_all(verified, whole).await,
            Ok(Admitted::Empty) => Ending::Empty,
        }
    }

    /// What can be refused without reading the body.
    fn cheap_checks(&self, received: &Received) -> Option<Ending> {
        let source = self.source;
        let unread = |problem| Some(Ending::Refused(problem, Some(Box::new(received.clone()))));
        let may_shake = source.may_shake(received);
        if !may_shake && !source.takes(self.request.path(), &received.method) {
            // Some providers, and monitors, ask by HEAD whether the address is there.
            if received.method == "HEAD" {
                return Some(Ending::Probe);
            }
            // A browser or a scanner: nothing in it could become an event, so it isn't kept.
            return Some(Ending::Refused(self.method_refused(), None));
        }
        if body::is_endless(self.request.headers()) {
            let detail = "a webhook is no WebSocket: leave `Upgrade: websocket` out";
            return Some(Ending::Refused(Problem::new(400, "body_malformed", detail), None));
        }
        if !source.allows(received.peer) {
            return unread(Problem::ip_denied());
        }
        let kind = self.request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        // A handshake may be of another type than the events are.
        if !may_shake && !source.allows_content_type(kind) {
            return unread(Problem::content_type());
        }
        None
    }

    fn method_refused(&self) -> Problem {
        Problem::method(self.source.methods(self.request.path()).join(", "))
    }

    async fn read(&mut self, share: &mut Share) -> Result<Bytes, BodyFault> {
        let limits = Limits { bytes: self.source.max_body(), timeout: self.state.body_timeout };
        let headers = self.request.headers();
        // A body that can't fit now is not begun. What is over the source's limit gets its 413.
        if body::promised(headers)
            .is_some_and(|bytes| bytes <= limits.bytes && !self.state.budget.has_room(bytes))
        {
            return Err(BodyFault::Exhausted);
        }
        let body = body::read(headers, &mut self.payload, limits, share).await?;
        self.whole = true;
        self.bytes = body.len();
        Ok(body)
    }

    /// Asks the source, and doubts our own clock before a request is called stale.
    fn judge(&self, received: Received) -> Result<Admitted, Ending> {
        let now = received.arrived_at;
        let refused = match self.source.admit(received, now) {
            Ok(admitted) => return Ok(admitted),
            Err(refused) => *refused,
        };
        let Refused { rejection, mut received } = refused;
        let skew = self.state.skew.get();
        let by_time = rejection.code.is_of_time();
        if by_time && skew.abs() > SKEW_MAX {
            // Kept as of the database's time, so that it passes when it is readmitted.
            received.arrived_at = now + skew;
            if self.source.admit(received.clone(), now + skew).is_ok() {
                error!(
                    source.name = %self.source.name(),
                    clock.skew_ms = skew.num_milliseconds(),
                    "our clock and the database's differ by {} s: requests are refused for it; set the clock",
                    skew.num_seconds(),
                );
                return Err(Ending::Failed(Problem::clock_skew(), Some(Box::new(received))));
            }
            received.arrived_at = now;
        }
        if rejection.code == Code::MethodNotAllowed {
            return Err(Ending::Refused(self.method_refused(), None));
        }
        if rejection.code == Code::KeyUnavailable {
            let problem = Problem::later(rejection.code.as_str(), 5, rejection.detail);
            return Err(Ending::Failed(problem, Some(Box::new(received))));
        }
        let mut problem = Problem::refused(rejection.code, rejection.detail);
        problem.status = rejection.status.unwrap_or(problem.status);
        Err(Ending::Refused(problem, Some(Box::new(received))))
    }

    /// Counts, keeps, logs and answers.
    fn finish(self, ending: Ending, took: Duration) -> HttpResponse {
        let source = self.source.name();
        let (outcome, response) = match ending {
            Ending::Recorded { event, duplicate, conflict, answer } => {
                let outcome = record::outcome(duplicate, conflict);
                self.flow(if duplicate { metric::DUPLICATE } else { outcome }, took);
                let response = match answer {
                    Some(answer) => respond::response(answer),
                    None => reply::ack(&self.source.reply().ok, duplicate, event),
                };
                (outcome, response)
            }
            Ending::RecordedAll { events, duplicate, conflict } => {
                let outcome = record::outcome(duplicate, conflict);
                self.flow(if duplicate { metric::DUPLICATE } else { outcome }, took);
                (outcome, reply::ack_all(&self.source.reply().ok, duplicate, &events))
            }
            Ending::Empty => {
                self.flow(metric::EMPTY, took);
                (metric::EMPTY, reply::ack_empty(&self.source.reply().ok))
            }
            Ending::Probe => {
                self.flow(metric::PROBE, took);
                (metric::PROBE, HttpResponse::Ok().finish())
            }
            Ending::Handshake(answer) => match reply::handshake(*answer) {
                Ok(response) => {
                    self.flow(metric::HANDSHAKE, took);
                    (metric::HANDSHAKE, response)
                }
                Err(problem) => return self.refuse(problem, None, took),
            },
            Ending::Refused(problem, received) => return self.refuse(problem, received, took),
            Ending::Failed(problem, received) => {
                self.keep(&problem, received);
                return self.close(problem, took);
            }
        };
        self.state.metrics.intake(source, outcome, took);
        response
    }

    /// Refuses what the sender did wrong, and keeps it, unless too much of it comes.
    fn refuse(
        self,
        problem: Problem,
        received: Option<Box<Received>>,
        took: Duration,
    ) -> HttpResponse {
        let source = self.source.name();
        if !self.state.may_fail(source) {
            return self.close(Problem::rate_limited(), took);
        }
        if self.state.may_log(source) {
            info!(
                source.name = %source,
                code = problem.code,
                detail = problem.detail,
                peer = received.as_ref().and_then(|r| r.peer).map(tracing::field::display),
                "refused a request to {source}: {}", problem.code,
            );
        }
        self.keep(&problem, received);
        self.close(problem, took)
    }

    fn keep(&self, problem: &Problem, received: Option<Box<Received>>) {
        let Some(mut received) = received else { return };
        let detail = if problem.code == Code::HandshakeClosed.as_str() {
            // It may be the secret of another address of ours.
            self.source.conceal(&mut received);
            problem.detail.clone()
        } else if self.whole {
            problem.detail.clone()
        } else {
            self.source.conceal(&mut received);
            format!("{} (its body was not read)", problem.detail)
        };
        let rejection = NewRejection {
            source: self.source.name().clone(),
            code: problem.code,
            detail,
            received: *received,
        };
        if self.whole && DIAGNOSED.iter().any(|code| code.as_str() == problem.code) {
            let sources = Arc::clone(&self.state.sources);
            self.state.keeper.keep_diagnosed(rejection, Arc::clone(self.source), sources);
        } else {
            self.state.keeper.keep(rejection);
        }
    }

    fn close(self, mut problem: Problem, took: Duration) -> HttpResponse {
        self.flow(problem.code, took);
        self.state.metrics.intake(self.source.name(), problem.code, took);
        // Some providers want other statuses for the same thing; the code stays ours.
        let reply = self.source.reply();
        let wanted = match problem.status {
            400 => reply.malformed,
            401 => reply.unauthorized,
            503 => reply.overload,
            _ => None,
        };
        problem.status = wanted.unwrap_or(problem.status);
        problem.empty = reply.empty_refusals;
        problem.holding((!self.whole).then_some(self.payload))
    }

    /// One line of what flows through the house: dev mode shows them.
    fn flow(&self, status: &'static str, took: Duration) {
        debug!(
            target: "hookonce::flow",
            {
                flow.kind = "in",
                source = self.source.name().as_str(),
                r#type = self.kind,
                event_id = self.event_id,
                bytes = self.bytes,
                events = self.events,
                status,
                ms = took.as_secs_f64() * 1e3,
            },
            "a request came in",
        );
    }
}

/// How a request ends whose body was not read to its end.
fn unread(fault: BodyFault, limit: usize, received: Received) -> Ending {
    let problem = Problem::body(fault, limit);
    match fault {
        BodyFault::TooLarge | BodyFault::Timeout => {
            Ending::Refused(problem, Some(Box::new(received)))
        }
        // The sender went away or broke the framing: there is nothing to diagnose.
        BodyFault::Incomplete => Ending::Refused(problem, None),
        BodyFault::Exhausted => Ending::Failed(problem, None),
    }
}

#[cfg(test)]
mod tests;
