//! Header lines on their way through: what belongs to one connection stays behind.

use std::collections::HashSet;

use actix_web::HttpRequest;
use actix_web::http::header::HOST;
use ipnet::IpNet;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::CREDENTIAL_HEADERS;
use crate::http::peer::is_trusted;
use crate::http::problem::Problem;

/// Headers of one connection (RFC 9110, 7.6.1), and those that are made anew for the next one.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
];

/// What proxies say about who came to them.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-real-ip",
];

/// The head of a request to the upstream.
pub(super) struct Outward {
    pub(super) method: reqwest::Method,
    pub(super) headers: HeaderMap,
}

/// Whether the connection itself comes from a trusted proxy.
pub(super) fn is_from_trusted(request: &HttpRequest, trusted: &[IpNet]) -> bool {
    request.peer_addr().is_some_and(|peer| is_trusted(peer.ip().to_canonical(), trusted))
}

/// The head for the upstream: all header lines but those of this connection, with X-Forwarded-For,
/// -Proto and -Host. What is there of those is kept only from a trusted proxy.
///
/// The header `scope`, which says whose key it is, passes whatever `Connection` says.
pub(super) fn outward(
    request: &HttpRequest,
    trusted: &[IpNet],
    scope: &str,
) -> Result<Outward, Problem> {
    let unfit = || Problem::bad_request("a header line, or the method, can't be passed on");
    let method =
        reqwest::Method::from_bytes(request.method().as_str().as_bytes()).map_err(|_| unfit())?;
    let believed = is_from_trusted(request, trusted);
    let lines = || request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let named = named_by_connection(lines());
    let mut headers = HeaderMap::with_capacity(request.headers().len() + 3);
    for (name, value) in lines() {
        let ours = FORWARDED.contains(&name) && !believed;
        let passes = name == scope && !HOP_BY_HOP.contains(&name);
        if ours || (stays(name, &named) && !passes) || matches!(name, "host" | "content-length") {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| unfit())?);
    }
    if let Some(peer) = request.peer_addr() {
        // All lines are one list, whoever added which.
        let mut hops = Vec::new();
        for line in headers.get_all("x-forwarded-for") {
            hops.extend_from_slice(line.as_bytes());
            hops.extend_from_slice(b", ");
        }
        hops.extend_from_slice(peer.ip().to_canonical().to_string().as_bytes());
        headers.insert("x-forwarded-for", HeaderValue::from_bytes(&hops).map_err(|_| unfit())?);
    }
    if !headers.contains_key("x-forwarded-proto") {
        headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    }
    if !headers.contains_key("x-forwarded-host")
        && let Some(host) = request.headers().get(HOST)
    {
        let host = HeaderValue::from_bytes(host.as_bytes()).map_err(|_| unfit())?;
        headers.insert("x-forwarded-host", host);
    }
    Ok(Outward { method, headers })
}

/// The lines of an answer that go on to the client.
pub(super) fn homeward(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let lines = || headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let named = named_by_connection(lines());
    lines()
        .filter(|(name, _)| !stays(name, &named) && *name != "content-length")
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect()
}

fn stays(name: &str, named: &HashSet<String>) -> bool {
    HOP_BY_HOP.contains(&name) || named.contains(name)
}

/// What the lines of `Connection` name: it belongs to this connection, too.
///
/// A client can't have the key, a credential or what a proxy says of it dropped on the way like this.
fn named_by_connection<'a>(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> HashSet<String> {
    lines
        .filter(|(name, _)| *name == "connection")
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
        .filter(|token| {
            let token = token.as_str();
            !matches!(token, "idempotency-key" | "content-type")
                && !CREDENTIAL_HEADERS.contains(&token)
                && !FORWARDED.contains(&token)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
        let lines = headers.get_all(name).iter();
        lines.map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_stays_behind() {
        let request = TestRequest::post()
            .insert_header(("connection", "close, X-Hop, Cookie, X-Forwarded-For"))
            .insert_header(("cookie", "session=1"))
            .insert_header(("x-hop", "1"))
            .insert_header(("te", "trailers"))
            .insert_header(("host", "api.example.com"))
            .insert_header(("idempotency-key", "k"))
            .append_header(("x-two", "a"))
            .append_header(("x-two", "b"))
            .insert_header(("x-forwarded-for", "198.51.100.1"))
            .insert_header(("x-forwarded-host", "evil.example"))
            .peer_addr("203.0.113.9:1".parse().expect("an address"))
            .to_http_request();
        let headers = outward(&request, &[], "authorization").expect("it fits").headers;
        for gone in ["connection", "x-hop", "te", "host"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(texts(&headers, "x-two"), ["a", "b"]);
        assert_eq!(texts(&headers, "idempotency-key"), ["k"]);
        assert_eq!(texts(&headers, "cookie"), ["session=1"]);
        assert_eq!(texts(&headers, "x-forwarded-for"), ["203.0.113.9"]);
        assert_eq!(texts(&headers, "x-forwarded-host"), ["api.example.com"]);
        assert_eq!(texts(&headers, "x-forwarded-proto"), ["http"]);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to() {
        let request = TestRequest::post()
            .insert_header(("connection", "x-tenant, x-forwarded-for"))
            .insert_header(("x-tenant", "t1"))
            // What the client wrote, and what the proxy added in a line of its own.
            .append_header(("x-forwarded-for", "1.2.3.4"))
            .append_header(("x-forwarded-for", "198.51.100.1"))
            .insert_header(("x-forwarded-proto", "https"))
            .insert_header(("x-forwarded-host", "api.example.com"))
            .peer_addr("10.0.0.1:1".parse().expect("an address"))
            .to_http_request();
        let trusted = ["10.0.0.0/8".parse().expect("a net")];
        let headers = outward(&request, &trusted, "x-tenant").expect("it fits").headers;
        assert_eq!(texts(&headers, "x-forwarded-for"), ["1.2.3.4, 198.51.100.1, 10.0.0.1"]);
        assert_eq!(texts(&headers, "x-tenant"), ["t1"]);
        assert_eq!(texts(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(texts(&headers, "x-forwarded-host"), ["api.example.com"]);
    }
}
