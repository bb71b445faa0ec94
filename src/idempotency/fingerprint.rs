//! What a key stands for: a hash of the request, so that a key which comes with another one is found out.

use sha2::{Digest, Sha256};

use super::canonical;

/// Raised when the same request would get another hash: keys of before then don't match.
const VERSION: &[u8] = b"hookonce-idempotency-1";

/// What of a body is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Compare {
    /// Its exact bytes.
    #[default]
    Bytes,
    /// What it means as JSON: for clients that write it anew for each retry. What is not one JSON value
    /// without doubled keys and inexact numbers is compared by its bytes.
    Json,
    /// The values at these JSON pointers, and nothing else of the body.
    Pointers(Vec<String>),
}

/// What is hashed of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Without the query, as sent.
    pub path: &'a str,
    /// Behind the question mark, as sent.
    pub query: Option<&'a str>,
    /// The line as sent; its parameters don't count.
    pub content_type: Option<&'a [u8]>,
    /// The exact bytes.
    pub body: &'a [u8],
}

/// SHA-256 over version, method, path, query (sorted by names), media type and body. Each part is
/// preceded by its length, so that none can pass for another.
#[must_use]
pub fn fingerprint(request: &Request<'_>, compare: &Compare) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(VERSION);
    part(request.method.as_bytes());
    part(request.path.as_bytes());
    let mut pairs: Vec<&str> =
        request.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    // Stable: values of one name keep their order, which may mean something.
    pairs.sort_by_key(|pair| pair.split('=').next());
    part(&(pairs.len() as u64).to_be_bytes());
    for pair in pairs {
        part(pair.as_bytes());
    }
    let kind = request.content_type.unwrap_or_default();
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    part(&kind.to_ascii_lowercase());
    let canonical = match compare {
        Compare::Bytes => None,
        Compare::Json => canonical::whole(request.body),
        Compare::Pointers(pointers) => canonical::at(request.body, pointers),
    };
    match canonical {
        Some(text) => {
            part(b"json");
            part(text.as_bytes());
        }
        None => {
            part(b"bytes");
            part(request.body);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Request<'static> = Request {
        method: "POST",
        path: "/payments",
        query: Some("b=2&a=1&a=0"),
        content_type: Some(b"application/json"),
        body: br#"{"amount": 1, "to": "x"}"#,
    };

    #[test]
    fn each_part_counts_and_the_order_of_the_query_does_not() {
        let whole = fingerprint(&PLAIN, &Compare::Bytes);
        for (other, same) in [
            (Request { query: Some("a=1&b=2&a=0"), ..PLAIN }, true),
            (Request { content_type: Some(b"Application/JSON; charset=utf-8"), ..PLAIN }, true),
            (Request { query: Some("a=0&a=1&b=2"), ..PLAIN }, false),
            (Request { query: Some("a=1&b=2"), ..PLAIN }, false),
            (Request { query: None, ..PLAIN }, false),
            (Request { method: "PATCH", ..PLAIN }, false),
            (Request { path: "/payments/", ..PLAIN }, false),
            (Request { content_type: None, ..PLAIN }, false),
            (Request { body: br#"{"to": "x", "amount": 1}"#, ..PLAIN }, false),
            (Request { body: b"", ..PLAIN }, false),
        ] {
            assert_eq!(fingerprint(&other, &Compare::Bytes) == whole, same, "{other:?}");
        }
    }

    #[test]
    fn written_anew_is_the_same_json_and_another_value_is_not() {
        let whole = fingerprint(&PLAIN, &Compare::Json);
        let of = |body: &'static [u8]| fingerprint(&Request { body, ..PLAIN }, &Compare::Json);
        assert_eq!(of(br#"{"to":"\u0078","amount":1.0}"#), whole);
        assert_ne!(of(br#"{"to":"x","amount":2}"#), whole);
        assert_ne!(of(br#"{"to":"x","amount":"1"}"#), whole);
        // What parsers read in two ways is compared by its bytes.
        assert_ne!(of(br#"{"to":"x","amount":2,"amount":1}"#), whole);
        assert_ne!(of(b"9007199254740993"), of(b"9007199254740992.0"));
        assert_ne!(of(b"not json"), of(b"not  json"));
    }

    #[test]
    fn only_the_values_at_the_pointers_count() {
        let compare = Compare::Pointers(vec!["/amount".to_owned(), "/to".to_owned()]);
        let of = |body: &'static [u8]| fingerprint(&Request { body, ..PLAIN }, &compare);
        assert_eq!(of(br#"{"amount":1,"to":"x","sent_at":7}"#), of(PLAIN.body));
        assert_ne!(of(br#"{"amount":1,"to":"y"}"#), of(PLAIN.body));
        assert_ne!(of(br#"{"amount":1}"#), of(br#"{"amount":1,"to":null}"#));
    }
}
