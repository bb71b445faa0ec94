//! The URL as the provider may have it registered, and the query as it may have been sent.

use super::Cause;
use super::search::{Case, Change, Flow, Search, Visit};
use crate::received::Received;

/// A URL in its parts.
struct Parts<'a> {
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (whole, query) = match rest.split_once('?') {
            Some((whole, query)) => (whole, Some(query)),
            None => (rest, None),
        };
        let at = whole.find('/').unwrap_or(whole.len());
        let (authority, path) = whole.split_at(at);
        Some(Self { scheme, authority, path, query })
    }

    fn write(&self, scheme: &str, authority: &str, path: &str) -> String {
        let query = self.query.map_or(String::new(), |query| format!("?{query}"));
        format!("{scheme}://{authority}{path}{query}")
    }
}

/// Each other URL, and each other query.
pub(super) fn variants(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    if !case.scheme.content.has_url() {
        return Flow::Continue(());
    }
    let registered = case.scheme.content.url().or(search.url);
    for (cause, url, said) in others(&case.received, registered) {
        let mut changed = case.clone();
        changed.scheme.content.replace_url(&url);
        let said = format!(
            "the signature fits when the provider calls {said}: write `public_url` exactly as it is registered with the provider"
        );
        visit(search, changed, Change::new(cause, said))?;
    }
    for (cause, target, said) in targets(&case.received) {
        if target == case.received.target {
            continue;
        }
        let mut changed = case.clone();
        changed.received.target = target;
        let said = format!("the signature fits {said}: have it passed on as it was sent");
        visit(search, changed, Change::new(cause, said))?;
    }
    Flow::Continue(())
}

pub(super) type Other = (Cause, String, &'static str);

/// The URLs that may be registered with the provider in place of `registered`.
pub(super) fn others(received: &Received, registered: Option<&str>) -> Vec<Other> {
    let Some(url) = registered else { return Vec::new() };
    let Some(parts) = Parts::of(url) else { return Vec::new() };
    let (scheme, authority, path) = (parts.scheme, parts.authority, parts.path);
    let swapped = if scheme.eq_ignore_ascii_case("https") { "http" } else { "https" };
    let slash = match path.strip_suffix('/') {
        Some(bare) => bare.to_owned(),
        None => format!("{path}/"),
    };
    let mut found: Vec<Other> = vec![
        (
            Cause::UrlScheme,
            parts.write(swapped, authority, path),
            "http where https stands, or the other way",
        ),
        (
            Cause::UrlSlash,
            parts.write(scheme, authority, &slash),
            "it with, or without, the slash at its end",
        ),
        (
            Cause::UrlHostCase,
            parts.write(scheme, &authority.to_lowercase(), path),
            "the host in lower case",
        ),
    ];
    // The colons of an IPv6 address stand inside of brackets.
    let from = authority.rfind(']').unwrap_or(0);
    match authority[from..].rfind(':').map(|at| from + at) {
        Some(at) => {
            let bare = parts.write(scheme, &authority[..at], path);
            found.push((Cause::UrlPort, bare, "it without the port"));
        }
        None => {
            for port in [443, 80] {
                let with = parts.write(scheme, &format!("{authority}:{port}"), path);
                found.push((Cause::UrlPort, with, "it with a port"));
            }
        }
    }
    let www = match authority.strip_prefix("www.") {
        Some(bare) => bare.to_owned(),
        None => format!("www.{authority}"),
    };
    found.push((Cause::UrlHost, parts.write(scheme, &www, path), "it with, or without, `www.`"));
    if parts.query.is_some() {
        let bare = format!("{scheme}://{authority}{path}");
        found.push((Cause::UrlQuery, bare, "it without the query that stands here"));
    }
    let target = received.target.split('?').next().unwrap_or("/");
    found.push((Cause::UrlPath, parts.write(scheme, authority, target), "the path that came here"));
    for (at, _) in path.match_indices('/').skip(1).take(8) {
        let rest = parts.write(scheme, authority, &path[at..]);
        found.push((Cause::UrlPath, rest, "a shorter path: a proxy puts a prefix before it"));
    }
    found.extend(called(received, &parts, target));
    found.retain(|(_, other, _)| other != url);
    found
}

/// The URLs that the request itself names. They are the sender's: good for a hint, and for nothing else.
fn called(received: &Received, parts: &Parts<'_>, target: &str) -> Vec<Other> {
    let mut found = Vec::new();
    for name in ["x-forwarded-host", "x-original-host", "host"] {
        let Ok(Some(host)) = received.headers.one(name) else { continue };
        let Ok(host) = std::str::from_utf8(host) else { continue };
        for scheme in ["https", "http"] {
            for path in [parts.path, target] {
                let url = parts.write(scheme, host, path);
                found.push((Cause::UrlHost, url, "the host that the request names"));
            }
        }
    }
    for name in ["x-original-uri", "x-original-url", "x-forwarded-uri", "x-rewrite-url"] {
        let Ok(Some(path)) = received.headers.one(name) else { continue };
        let Ok(path) = std::str::from_utf8(path) else { continue };
        let path = path.split('?').next().unwrap_or(path);
        let url = parts.write(parts.scheme, parts.authority, path);
        found.push((Cause::UrlPath, url, "the path that a proxy names as the first one"));
    }
    found
}

/// The target with other queries.
pub(super) fn targets(received: &Received) -> Vec<Other> {
    let target = &received.target;
    let cause = Cause::UrlQuery;
    let mut found = Vec::new();
    for name in ["x-original-uri", "x-original-url", "x-forwarded-uri", "x-rewrite-url"] {
        let Ok(Some(original)) = received.headers.one(name) else { continue };
        let Some((_, query)) = std::str::from_utf8(original).ok().and_then(|o| o.split_once('?'))
        else {
            continue;
        };
        let path = target.split('?').next().unwrap_or("/");
        let said = "with the query that a proxy names as the first one";
        found.push((cause, format!("{path}?{query}"), said));
    }
    let Some((path, query)) = target.split_once('?') else {
        found.push((cause, format!("{target}?"), "with an empty query behind it"));
        return found;
    };
    let mut pairs: Vec<&str> = query.split('&').collect();
    found.push((
        cause,
        path.to_owned(),
        "without the query: the provider doesn't sign it, or something adds it",
    ));
    pairs.reverse();
    found.push((cause, format!("{path}?{}", pairs.join("&")), "with the query in another order"));
    pairs.sort_unstable();
    found.push((cause, format!("{path}?{}", pairs.join("&")), "with the query in another order"));
    if pairs.len() == 3 {
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]] {
            let pairs: Vec<&str> =
                order.into_iter().filter_map(|i| pairs.get(i).copied()).collect();
            let other = format!("{path}?{}", pairs.join("&"));
            found.push((cause, other, "with the query in another order"));
        }
    }
    let decoded = percent_encoding::percent_decode_str(query).decode_utf8_lossy();
    found.push((cause, format!("{path}?{decoded}"), "with the query decoded"));
    let again = query.replace('%', "%25");
    found.push((cause, format!("{path}?{again}"), "with the query encoded once more"));
    found.push((
        cause,
        format!("{path}?{}", query.replace("%20", "+")),
        "with blanks of the query as `+`",
    ));
    found.push((
        cause,
        format!("{path}?{}", query.replace('+', "%20")),
        "with blanks of the query as `%20`",
    ));
    found
}
