//! Bodies of admin requests: small JSON objects, strictly; an empty body is an empty object.

use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, web};
use serde::de::DeserializeOwned;

use crate::http::body::{self, Limits};
use crate::http::budget::Budget;
use crate::http::problem::Problem;

/// Enough for tens of thousands of ids.
const LIMITS: Limits = Limits { bytes: 1024 * 1024, timeout: Duration::from_secs(10) };

/// Reads the body as a `T`. Unknown keys are the `T`'s own refusal.
pub(super) async fn json<T: DeserializeOwned + Default>(
    request: &HttpRequest,
    payload: &mut web::Payload,
    budget: &Budget,
) -> Result<T, Problem> {
    let mut share = budget.share();
    let body = body::read(request.headers(), payload, LIMITS, &mut share)
        .await
        .map_err(|fault| Problem::body(fault, LIMITS.bytes))?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // A form on another site can't send this type without asking us first.
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_json = kind
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Problem::new(415, "content_type", "send the body as application/json"));
    }
    // A list would be read as the fields in their order, and `[]` as "nothing said": what is meant as
    // a dry run by one character too few must not delete.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::bad_request("body: it is not a JSON object"));
    }
    serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("body: {error}")))
}
