//! Hashes of the URL in a token, in hex.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::received::Received;
use crate::verify::url::called;

/// SHA-256 of the registered URL with the request's query.
pub(super) fn whole(registered: &str, received: &Received) -> String {
    hex::encode(Sha256::digest(called(registered, &received.target).as_bytes()))
}

/// SHA-256 of method, path and sorted query, as Atlassian writes them.
///
/// Source: "Understanding JWT for Connect apps", "Creating a query string hash", November 2026.
pub(super) fn query(registered: Option<&str>, received: &Received) -> String {
    hex::encode(Sha256::digest(canonical(registered, received).as_bytes()))
}

fn canonical(registered: Option<&str>, received: &Received) -> String {
    let (target, query) = received.target.split_once('?').unwrap_or((&received.target, ""));
    // Behind a proxy the path that the provider calls may be another one than the one that comes here.
    let registered = registered.and_then(path_of);
    let path = registered.unwrap_or(target).trim_end_matches('/').replace('&', "%26");
    let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "jwt" {
            pairs.entry(escaped(&name)).or_default().push(escaped(&value));
        }
    }
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, mut values)| {
            values.sort_unstable();
            format!("{name}={}", values.join(","))
        })
        .collect();
    let path = if path.is_empty() { "/" } else { &path };
    format!("{}&{path}&{}", received.method.to_ascii_uppercase(), pairs.join("&"))
}

/// The path of a URL; nothing when it is no URL.
fn path_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let from = rest.find('/').map_or("", |at| &rest[at..]);
    Some(from.split(['?', '#']).next().unwrap_or(from))
}

/// RFC 3986: only unreserved characters stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str) -> Received {
        Received {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: crate::received::Headers::new(),
            body: bytes::Bytes::new(),
            peer: None,
            arrived_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_query_is_sorted_joined_and_escaped() {
        let request =
            request("post", "/in/jira/?zee_last=param&repeated=p2&first=a+b&repeated=p1&jwt=x&e=");
        assert_eq!(
            canonical(None, &request),
            "POST&/in/jira&e=&first=a%20b&repeated=p1,p2&zee_last=param"
        );
        let registered = Some("https://hooks.example.com/pub/jira");
        assert!(canonical(registered, &request).starts_with("POST&/pub/jira&"));
    }

    #[test]
    fn an_empty_path_is_a_slash() {
        assert_eq!(canonical(Some("https://x"), &request("GET", "/in")), "GET&/&");
        assert_eq!(canonical(None, &request("GET", "/a&b")), "GET&/a%26b&");
    }
}
