//! The headers of a call: the contract's, then the operator's own.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::event::Event;
use crate::handler::trial::HIDDEN;
use crate::handler::{Context, facts};
use crate::secret::Secret;

/// Headers that describe the connection or the framing: setting them would break or smuggle.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The facts about an event and its delivery, as the contract names them.
pub(super) fn facts(event: &Event, context: &Context) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in facts::facts(event, context) {
        put(&mut headers, name, &value)?;
    }
    put(&mut headers, "traceparent", &traceparent(event, context))?;
    headers.insert(CONTENT_TYPE, content_type(event));
    // The bytes are passed on as they came; when they came encoded, only this tells how to read them.
    if let Ok(Some(encoding)) = event.headers.one("content-encoding")
        && let Ok(value) = HeaderValue::from_bytes(encoding)
    {
        headers.insert(reqwest::header::CONTENT_ENCODING, value);
    }
    Ok(headers)
}

/// The provider's content type byte for byte, when HTTP lets it through again.
fn content_type(event: &Event) -> HeaderValue {
    let fallback = HeaderValue::from_static("application/octet-stream");
    match event.headers.all("content-type").next() {
        Some(value) => HeaderValue::from_bytes(value).unwrap_or(fallback),
        None => fallback,
    }
}

/// One trace for an event, one span for each try: the same call always gives the same text.
fn traceparent(event: &Event, context: &Context) -> String {
    let mut hash = Sha256::new();
    hash.update(context.delivery.as_bytes());
    hash.update(context.attempt.to_be_bytes());
    let digest = hash.finalize();
    format!("00-{}-{}-01", event.id.simple(), hex::encode(&digest[..8]))
}

/// Sets `name` to `value`, percent-encoding what a header can't hold.
pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), String> {
    let value = HeaderValue::from_str(&facts::header_value(value))
        .map_err(|error| format!("the header {name}: {error}"))?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// Checks the operator's headers. Their values are secret: they are never logged.
pub(super) fn configured(given: &[(String, Secret)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let checked = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_invalid| format!("`http.headers`: {name:?} is not the name of a header"))?;
        let lower = checked.as_str();
        if FRAMING.contains(&lower) {
            return Err(format!(
                "`http.headers`: {lower} belongs to the connection and can't be set"
            ));
        }
        if lower.starts_with("webhook-")
            || lower.starts_with("hookonce-")
            || matches!(lower, "idempotency-key" | "traceparent")
        {
            return Err(format!("`http.headers`: {lower} is set by hookonce itself"));
        }
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_invalid| {
            format!("`http.headers`: the value of {lower} has characters that a header can't hold")
        })?;
        value.set_sensitive(true);
        headers.append(checked, value);
    }
    Ok(headers)
}

/// Puts the operator's headers in place of ours of the same name.
pub(super) fn overlay(headers: &mut HeaderMap, configured: &HeaderMap) {
    for name in configured.keys() {
        headers.remove(name);
    }
    for (name, value) in configured {
        headers.append(name, value.clone());
    }
}

/// The headers as they may be shown: the operator's are secret, and a signature is worth one call.
pub(super) fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| {
            let secret = value.is_sensitive() || name == "webhook-signature";
            (name.to_string(), if secret { HIDDEN.to_owned() } else { text(value) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::sample;

    #[test]
    fn a_trace_is_the_events_and_a_span_is_the_trys() {
        let (event, mut context) = (sample::event(b""), sample::context());
        let first = traceparent(&event, &context);
        assert_eq!(first.len(), 55);
        assert!(first.starts_with("00-01920000000070008000000000000001-"), "{first}");
        assert_eq!(first, traceparent(&event, &context));
        context.attempt = 2;
        let second = traceparent(&event, &context);
        assert_eq!(first[..36], second[..36]);
        assert_ne!(first, second);
    }

    #[test]
    fn headers_of_the_connection_and_of_the_contract_cannot_be_configured() {
        for (name, reason) in [
            ("Content-Length", "belongs to the connection"),
            ("transfer-encoding", "belongs to the connection"),
            ("Webhook-Id", "by hookonce itself"),
            ("hookonce-source", "by hookonce itself"),
            ("bad name", "not the name"),
            ("", "not the name"),
        ] {
            let fault = configured(&[(name.to_owned(), Secret::new("v".to_owned()))]);
            assert!(fault.expect_err(name).contains(reason), "{name}");
        }
        let fault = configured(&[("x-key".to_owned(), Secret::new("s3cret\n".to_owned()))])
            .expect_err("a newline");
        assert!(!fault.contains("s3cret"), "{fault}");
    }
}
