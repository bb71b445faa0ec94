//! The only place where an error becomes a status: RFC 9457 problem documents with a stable `code`.
//!
//! A refusal says what the sender did wrong, never what the right signature was. A known source is
//! never answered 404, 410, 429, 3xx or 500: some senders drop the event, or the subscription, at
//! once. What is our own fault is 503 with `Retry-After`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use bytes::Bytes;
use serde::Serialize;

use super::body::{BodyFault, Held};
use crate::intake::SubmitError;
use crate::store::StoreError;
use crate::verify::Code;

mod title;

use title::title;

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The HTTP status.
    pub(super) status: u16,
    /// Stable; scripts and dashboards depend on it.
    pub(super) code: &'static str,
    /// What is wrong here, in a sentence.
    pub(super) detail: String,
    /// Seconds after which trying again makes sense.
    pub(super) retry_after: Option<u32>,
    /// The methods that would be allowed, of a 405.
    pub(super) allow: Option<String>,
    /// Whether the response says no more than its status: some providers want no body.
    pub(super) empty: bool,
}

/// How it is written.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

impl Problem {
    /// A problem with this status, code and detail.
    #[must_use]
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, code, detail, retry_after: None, allow: None, empty: false }
    }

    /// Our fault, or nobody's: try again after so many seconds.
    #[must_use]
    pub(super) fn later(code: &'static str, seconds: u32, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(503, code, detail) }
    }

    /// No source or route is at this path.
    #[must_use]
    pub(super) fn unknown_source() -> Self {
        Self::new(404, "unknown_source", "no source listens at this path")
    }

    /// The path is known and the method is not allowed there.
    #[must_use]
    pub(super) fn method(allowed: String) -> Self {
        let detail = format!("use {allowed} here");
        Self { allow: Some(allowed), ..Self::new(405, "method_not_allowed", detail) }
    }

    /// The head is too large.
    #[must_use]
    pub(super) fn head_too_large() -> Self {
        Self::new(431, "headers_too_large", "the header block is over 64 KiB")
    }

    /// The sender's address is not one of the source's.
    #[must_use]
    pub(super) fn ip_denied() -> Self {
        Self::new(403, "ip_denied", "this address may not send to this source")
    }

    /// The media type is not one that the source takes.
    #[must_use]
    pub(super) fn content_type() -> Self {
        Self::new(415, "content_type", "this source does not take this content type")
    }

    /// The source refuses faster than its limit, so this failing request was not looked into.
    #[must_use]
    pub(super) fn rate_limited() -> Self {
        Self::later("rate_limited", 1, "too many requests to this source fail verification")
    }

    /// Signed bytes came again under another id, and the source refuses that.
    #[must_use]
    pub(super) fn replay_suspected() -> Self {
        let detail =
            "the same signed bytes were recorded before under another id, and the id isn't signed";
        Self::new(409, "replay_suspected", detail)
    }

    /// An id came again with another body, and the source refuses that.
    #[must_use]
    pub(super) fn id_conflict() -> Self {
        Self::new(409, "id_conflict", "this event id was recorded before with another body")
    }

    /// Fresh by the database's clock and not by ours.
    #[must_use]
    pub(super) fn clock_skew() -> Self {
        Self::later("clock_skew", 30, "our clock is wrong; the request was not judged by it")
    }

    /// A fault of ours that we did not foresee, towards a sender of events.
    #[must_use]
    pub(super) fn unforeseen() -> Self {
        Self::later("internal", 5, "we failed; the event was not recorded")
    }

    /// A body that was not read to its end.
    #[must_use]
    pub(super) fn body(fault: BodyFault, limit: usize) -> Self {
        match fault {
            BodyFault::TooLarge => {
                Self::new(413, "body_too_large", format!("the body is over {limit} bytes"))
            }
            BodyFault::Timeout => Self::new(408, "body_timeout", "the body did not arrive in time"),
            BodyFault::Exhausted => {
                Self::later("overloaded", 1, "too many bytes of bodies are held at once")
            }
            BodyFault::Incomplete => {
                Self::new(400, "body_malformed", "the request ended before its body did")
            }
        }
    }

    /// The usual answer to a request that a source refused. A preset may want another status.
    #[must_use]
    pub(super) fn refused(code: Code, detail: String) -> Self {
        Self::new(usual_status(code), code.as_str(), detail)
    }

    /// An event that is not known to be durable. Never a 4xx: the sender did nothing wrong, and many
    /// senders give up on a 4xx.
    #[must_use]
    pub(super) fn submit(error: &SubmitError) -> Self {
        match error {
            SubmitError::Overloaded => {
                Self::later("overloaded", 1, "too much is waiting for the database")
            }
            SubmitError::Unavailable => {
                Self::later("store_unavailable", 5, "the database did not confirm in time")
            }
            SubmitError::Refused(_) => {
                Self::later("store_unavailable", 30, "the event could not be recorded")
            }
        }
    }

    /// An error of the store, towards an operator. The cause is in the log: its text may hold
    /// addresses and names of the database.
    #[must_use]
    pub(super) fn store(error: &StoreError) -> Self {
        match error {
            StoreError::Transient(_) => {
                Self::later("store_unavailable", 5, "the database is away or too slow")
            }
            StoreError::Invalid(what) => Self::new(400, "bad_request", what.clone()),
            StoreError::Broken(_)
            | StoreError::Unreadable(_)
            | StoreError::Invariant(_)
            | StoreError::Apart => {
                Self::new(500, "internal", "the database refused this; the log says why")
            }
        }
    }

    /// What was asked for is not there.
    #[must_use]
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("there is no such {what}"))
    }

    /// A parameter, or the body, of an admin request is wrong.
    #[must_use]
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request", detail)
    }

    /// The response, ready to be sent.
    #[must_use]
    pub(super) fn response(&self) -> HttpResponse {
        self.holding(None)
    }

    /// The response; closes the connection when the rest of the request's body is given.
    pub(super) fn holding(&self, payload: Option<actix_web::web::Payload>) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let document = Document {
            r#type: format!("urn:hookonce:problem:{}", self.code),
            title: title(self.code),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let mut response = HttpResponse::build(status);
        let mut body = Bytes::new();
        if !self.empty {
            // Strings and a number always serialise; an empty body would still carry the status.
            body = serde_json::to_vec(&document).map(Bytes::from).unwrap_or_default();
            response.insert_header((CONTENT_TYPE, "application/problem+json"));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if let Some(challenge) = challenge(self.code) {
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        if payload.is_some() {
            response.force_close();
        }
        response.body(Held::new(body, payload))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

/// Lets a handler of a request return a problem as its error.
impl actix_web::ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

/// For the admin listener: logs what its client is not told.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Invalid(_) => {}
            StoreError::Transient(_)
            | StoreError::Broken(_)
            | StoreError::Unreadable(_)
            | StoreError::Invariant(_)
            | StoreError::Apart => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an admin request failed"
                );
            }
        }
        Self::store(&error)
    }
}

/// What a 401 asks for (RFC 6750).
fn challenge(code: &str) -> Option<&'static str> {
    match code {
        "token" | "token_missing" => Some("Bearer"),
        "token_invalid" | "token_expired" => Some("Bearer error=\"invalid_token\""),
        _ => None,
    }
}

/// The status of a refusal, by the contract's table.
fn usual_status(code: Code) -> u16 {
    match code {
        Code::SignatureMissing
        | Code::SignatureMismatch
        | Code::TimestampMissing
        | Code::TimestampStale
        | Code::TimestampFuture => 401,
        Code::SignatureMalformed | Code::IdMissing | Code::BodyMalformed => 400,
        Code::IpDenied | Code::HandshakeRefused | Code::HandshakeClosed => 403,
        Code::UnknownSource => 404,
        Code::MethodNotAllowed => 405,
        Code::BodyTimeout => 408,
        Code::IdConflict | Code::ReplaySuspected => 409,
        Code::BodyTooLarge => 413,
        Code::ContentType => 415,
        Code::RateLimited
        | Code::Overloaded
        | Code::StoreUnavailable
        | Code::KeyUnavailable
        | Code::HandshakeUnavailable => 503,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    fn transient() -> StoreError {
        StoreError::Transient(sqlx::Error::PoolClosed)
    }

    #[actix_web::test]
    async fn a_problem_is_a_document_with_a_stable_code() {
        let response = Problem::later("overloaded", 7, "too \"much\"").response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after").expect("a header"), "7");
        assert_eq!(
            response.headers().get("content-type").expect("a header"),
            "application/problem+json"
        );
        let body = to_bytes(response.into_body()).await.expect("a body");
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).expect("json"),
            serde_json::json!({
                "type": "urn:hookonce:problem:overloaded",
                "title": "Overloaded",
                "status": 503,
                "detail": "too \"much\"",
                "code": "overloaded",
            })
        );
    }

    #[test]
    fn our_own_faults_are_never_the_senders() {
        for error in [
            SubmitError::Overloaded,
            SubmitError::Unavailable,
            SubmitError::Refused(transient()),
            SubmitError::Refused(StoreError::Unreadable("x".to_owned())),
        ] {
            let problem = Problem::submit(&error);
            assert_eq!(problem.status, 503, "{error}");
            assert!(problem.retry_after.is_some(), "{error}");
        }
        for problem in [Problem::rate_limited(), Problem::clock_skew(), Problem::unforeseen()] {
            assert_eq!((problem.status, problem.retry_after.is_some()), (503, true));
        }
    }

    #[test]
    fn what_the_store_says_stays_in_the_log() {
        let error = StoreError::Unreadable("column \"secret\" at 10.0.0.1".to_owned());
        assert!(!Problem::store(&error).detail.contains("10.0.0.1"));
        assert_eq!(Problem::store(&transient()).status, 503);
    }

    #[test]
    fn every_fault_of_a_body_has_its_row_in_the_contract() {
        for (fault, status, code) in [
            (BodyFault::TooLarge, 413, "body_too_large"),
            (BodyFault::Timeout, 408, "body_timeout"),
            (BodyFault::Exhausted, 503, "overloaded"),
            (BodyFault::Incomplete, 400, "body_malformed"),
        ] {
            let problem = Problem::body(fault, 8);
            assert_eq!((problem.status, problem.code), (status, code));
        }
    }
}
