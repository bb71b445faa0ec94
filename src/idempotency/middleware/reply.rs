//! What the middleware answers by itself.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::idempotency::policy::is_bodiless;
use crate::idempotency::{Answer, AnswerBody, Refusal};
use crate::received::Headers;
use crate::store::idempotency::KeyAnswer;

/// A handler's answer, as it is kept.
pub(super) fn answer(head: &HttpResponse<()>, body: &Bytes, keep_max: usize) -> Answer {
    let mut headers = Headers::new();
    for (name, value) in head.headers() {
        headers.push(name.as_str(), value.as_bytes());
    }
    let body = if body.len() <= keep_max {
        AnswerBody::Whole(body.clone())
    } else {
        let sha256 = hex::encode(Sha256::digest(body));
        AnswerBody::TooLarge { bytes: body.len() as u64, sha256 }
    };
    Answer { status: head.status().as_u16(), headers, body }
}

/// An earlier run's answer.
pub(crate) fn replayed(kept: KeyAnswer) -> HttpResponse {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in kept.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            response.append_header((name, value));
        }
    }
    response.append_header(("idempotent-replayed", "true"));
    if is_bodiless(kept.status) {
        return response.finish();
    }
    response.body(kept.body.unwrap_or_default())
}

/// A refusal as a problem document.
pub(super) fn refused(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, "application/problem+json"));
    if let Some(seconds) = refusal.retry_after() {
        response.insert_header((RETRY_AFTER, seconds));
    }
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": refusal.status(),
        "detail": refusal.detail(),
        "code": refusal.code(),
    });
    response.body(document.to_string())
}
