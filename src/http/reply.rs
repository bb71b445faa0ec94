//! The answer to a request that was not refused.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use uuid::Uuid;

use super::problem::Problem;
use crate::idempotency::policy::is_bodiless;
use crate::source::{Answer, OkReply};

/// The ack of a durable event: the provider's own when its preset has one, else ours.
pub(super) fn ack(reply: &OkReply, duplicate: bool, event: Uuid) -> HttpResponse {
    let word = word(duplicate);
    answer(reply, || format!(r#"{{"status":"{word}","event":"{event}"}}"#))
}

/// The ack of the events of one request, all of which are durable.
pub(super) fn ack_all(reply: &OkReply, duplicate: bool, events: &[Uuid]) -> HttpResponse {
    let word = word(duplicate);
    let first = events.first().copied().unwrap_or_default();
    let ids: Vec<String> = events.iter().map(|event| format!("\"{event}\"")).collect();
    answer(reply, || {
        format!(r#"{{"status":"{word}","event":"{first}","events":[{}]}}"#, ids.join(","))
    })
}

/// The ack of a batch without any event.
pub(super) fn ack_empty(reply: &OkReply) -> HttpResponse {
    answer(reply, || r#"{"status":"empty","events":[]}"#.to_owned())
}

fn word(duplicate: bool) -> &'static str {
    if duplicate { "duplicate" } else { "accepted" }
}

/// The provider's answer, or ours, whose values are of closed alphabets, so that nothing needs
/// escaping.
fn answer(reply: &OkReply, ours: impl FnOnce() -> String) -> HttpResponse {
    let mut response = HttpResponse::build(reply.status.map_or(StatusCode::OK, success));
    if reply.status.is_some_and(is_bodiless) {
        return response.finish();
    }
    if let Some(body) = reply.body.clone() {
        // A preset's type that can't stand in a header is left out: the ack matters more.
        let kind = reply.content_type.as_deref();
        if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(kind).ok()) {
            response.insert_header((CONTENT_TYPE, kind));
        }
        return response.body(body);
    }
    response.insert_header((CONTENT_TYPE, "application/json")).body(ours())
}

/// Only a 2xx says that an event is recorded; a preset that says anything else is corrected.
fn success(status: u16) -> StatusCode {
    StatusCode::from_u16(status).ok().filter(StatusCode::is_success).unwrap_or(StatusCode::OK)
}

/// The answer to a handshake, as the preset describes it.
///
/// Its values may come from the request. One that can't stand in a header is the sender's fault: the
/// framework would make a 500 of it.
pub(super) fn handshake(answer: Answer) -> Result<HttpResponse, Problem> {
    let unfit =
        || Problem::new(400, "body_malformed", "the handshake's answer can't be sent as a header");
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if let Some(kind) = answer.content_type {
        let kind = HeaderValue::try_from(kind).map_err(|_| unfit())?;
        response.insert_header((CONTENT_TYPE, kind));
    }
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|_| unfit())?;
        let value = HeaderValue::try_from(value).map_err(|_| unfit())?;
        response.append_header((name, value));
    }
    if is_bodiless(answer.status) {
        return Ok(response.finish());
    }
    Ok(response.body(answer.body))
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    async fn text(response: HttpResponse) -> String {
        let body = to_bytes(response.into_body()).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[actix_web::test]
    async fn the_ack_names_the_event_and_whether_it_was_known() {
        let event = Uuid::from_u128(7);
        let response = ack(&OkReply::default(), false, event);
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, format!(r#"{{"status":"accepted","event":"{event}"}}"#));
        let response = ack(&OkReply::default(), true, event);
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, format!(r#"{{"status":"duplicate","event":"{event}"}}"#));
    }

    #[actix_web::test]
    async fn the_ack_of_a_batch_names_every_event() {
        let events = [Uuid::from_u128(7), Uuid::from_u128(8)];
        let [one, two] = events;
        let response = ack_all(&OkReply::default(), false, &events);
        assert_eq!(
            text(response).await,
            format!(r#"{{"status":"accepted","event":"{one}","events":["{one}","{two}"]}}"#)
        );
        let reply = |status| OkReply { status: Some(status), ..OkReply::default() };
        assert_eq!(text(ack_all(&reply(204), false, &events)).await, "");
        let response = ack_empty(&reply(202));
        assert_eq!(response.status(), 202);
        assert_eq!(text(response).await, r#"{"status":"empty","events":[]}"#);
    }

    #[actix_web::test]
    async fn a_preset_may_set_the_ack_but_never_to_a_failure() {
        let reply = |status, body: Option<&str>| OkReply {
            status,
            content_type: Some("text/plain".to_owned()),
            body: body.map(str::to_owned),
        };
        let response = ack(&reply(Some(202), Some("[accepted]")), false, Uuid::nil());
        assert_eq!(response.status(), 202);
        assert_eq!(response.headers().get("content-type").expect("a type"), "text/plain");
        assert_eq!(text(response).await, "[accepted]");
        let response = ack(&reply(Some(500), None), false, Uuid::nil());
        assert_eq!(response.status(), 200);
    }

    #[actix_web::test]
    async fn an_echo_that_can_not_stand_in_a_header_is_refused() {
        let answer = Answer {
            status: 200,
            content_type: Some("text/plain".to_owned()),
            headers: vec![("x-echo".to_owned(), "a\r\nb: c".to_owned())],
            body: bytes::Bytes::from_static(b"challenge"),
            first: None,
        };
        let problem = handshake(answer).expect_err("an unfit header");
        assert_eq!((problem.status, problem.code), (400, "body_malformed"));
    }
}
