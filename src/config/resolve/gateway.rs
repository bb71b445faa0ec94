//! A gateway of the file.

use std::time::Duration;

use url::Url;

use crate::config::desk::Desk;
use crate::config::file::gateway::{FileGateway, FileKey, FileOnUnknown};
use crate::config::secrets::TextOrSecret;
use crate::config::value::{Bytes, Names, Text};
use crate::http::ServerSettings;
use crate::http::gateway::{GatewaySettings, is_below};
use crate::idempotency::policy::NEVER_KEPT;
use crate::idempotency::{Compare, OnUnknown, RedisAddress, Rules};

mod scope;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A lease is renewed every third of it, and a renewal needs a round trip to the database.
const LEASE_MIN: Duration = Duration::from_secs(3);
const MAX_ANSWER: usize = 16 << 20;
/// Paths of the public listener that are somebody else's.
const TAKEN: [&str; 3] = ["/in", "/livez", "/readyz"];

/// Reads a gateway. `None` when it can't be used, which was reported.
pub(crate) fn settings(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileGateway,
    server: &ServerSettings,
    max_body: usize,
) -> Option<GatewaySettings> {
    let at = |key: &'static str| ["gateways", text, key];
    let name = desk.name(&["gateways", text], text);
    let path = path(desk, text, file.path.as_deref());
    let upstream = upstream(desk, text, file, server);
    let methods = methods(desk, text, file.methods.as_ref());
    let scope = scope::settings(desk, text, file, server);
    let span = |span: Option<Text<Duration>>, usual| span.map_or(usual, |Text(span)| span);
    let lease = desk.at_least(&at("lease"), span(file.lease, Duration::from_secs(60)), LEASE_MIN);
    let ttl = span(file.ttl, Duration::from_secs(24 * 3600));
    if ttl < lease {
        desk.fault(&at("ttl"), "`ttl` must be at least `lease`: a key must outlive its run");
    }
    let timeout =
        desk.at_least(&at("timeout"), span(file.timeout, TIMEOUT), Duration::from_millis(1));
    let wait = span(file.wait, Duration::ZERO);
    if wait > Duration::from_secs(60) {
        desk.fault(&at("wait"), "`wait` must be at most 60s: a waiting client holds a connection");
    }
    let bytes = |it: Option<Text<Bytes>>, usual| it.map_or(usual, |Text(Bytes(bytes))| bytes);
    let max_body = bytes(file.max_body, max_body.min(server.max_inflight));
    if max_body == 0 || max_body > server.max_inflight {
        desk.fault(&at("max_body"), "`max_body` must be over 0, and at most server.max_inflight");
    }
    let answer_max = bytes(file.max_answer, 1 << 20);
    if answer_max > MAX_ANSWER {
        desk.fault(
            &at("max_answer"),
            "`max_answer` must be at most 16 MiB: answers lie in the database",
        );
    }
    if file.fail_open {
        desk.warn(
            &at("fail_open"),
            "while the database is away, requests will run unguarded: a retry then runs twice",
        );
    }
    let compare = compare(desk, text, file.compare.as_ref());
    let kept_headers = kept(desk, text, file.keep_headers.as_ref());
    let cache = cache(desk, text, file.cache.as_ref());
    let name = name?;
    let rules = Rules {
        ttl,
        lease,
        on_unknown: match file.on_unknown.unwrap_or(FileOnUnknown::Keep) {
            FileOnUnknown::Keep => OnUnknown::Keep,
            FileOnUnknown::Conflict => OnUnknown::Conflict,
            FileOnUnknown::Rerun => OnUnknown::Rerun,
        },
        wait,
        fail_open: file.fail_open,
        answer_max,
        kept_headers,
        ..Rules::new(name.clone())
    };
    Some(GatewaySettings {
        name,
        path: path?,
        upstream: upstream?,
        methods,
        key_required: matches!(file.key.unwrap_or(FileKey::Required), FileKey::Required),
        scope: scope?,
        max_body,
        timeout,
        compare,
        rules,
        cache,
    })
}

fn path(desk: &mut Desk<'_>, text: &str, path: Option<&str>) -> Option<String> {
    let at = ["gateways", text, "path"];
    let Some(path) = path else {
        if !desk.has_faults_under(&at) {
            desk.fault(
                &["gateways", text],
                format!("`{text}` says no `path`: write what it serves, such as \"/payments\""),
            );
        }
        return None;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let unclear = path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
    if !path.starts_with('/') || unclear || !path.chars().all(plain) {
        desk.fault(
            &at,
            "`path` begins with / and has no query, no empty part and no slash at its end, such as \"/payments\"",
        );
        return None;
    }
    if let Some(taken) = TAKEN.iter().find(|taken| is_below(path, taken) || is_below(taken, path)) {
        desk.fault(&at, format!("`{taken}` belongs to hookonce itself: choose another path"));
    }
    Some(path.to_owned())
}

fn upstream(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileGateway,
    server: &ServerSettings,
) -> Option<Url> {
    let at = ["gateways", text, "upstream"];
    let Some(Text(url)) = &file.upstream else {
        if !desk.has_faults_under(&at) {
            desk.fault(
                &["gateways", text],
                format!("`{text}` says no `upstream`: write where the service is, such as \"http://127.0.0.1:4000\""),
            );
        }
        return None;
    };
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        desk.fault(
            &at,
            "`upstream` is scheme, host and port only: the request's own path and query are used",
        );
    }
    let ip = match url.host() {
        Some(url::Host::Ipv4(ip)) => Some(ip.into()),
        Some(url::Host::Ipv6(ip)) => Some(ip.into()),
        Some(url::Host::Domain("localhost")) => Some(std::net::Ipv4Addr::LOCALHOST.into()),
        _ => None,
    };
    let (port, listen) = (url.port_or_known_default(), server.listen);
    let us = |ip: std::net::IpAddr| {
        ip == listen.ip() || (ip.is_loopback() && listen.ip().is_unspecified())
    };
    if listen.port() != 0 && port == Some(listen.port()) && ip.is_some_and(us) {
        desk.fault(&at, "this is hookonce's own public listener: requests would go round for ever");
    }
    Some(url.clone())
}

fn methods(desk: &mut Desk<'_>, text: &str, written: Option<&Names>) -> Vec<String> {
    let Some(Names(methods)) = written else { return vec!["POST".into(), "PATCH".into()] };
    if methods.is_empty() {
        desk.fault(
            &["gateways", text, "methods"],
            "`methods` is empty, so nothing would be protected: name at least one, such as \"POST\"",
        );
    }
    for (n, method) in methods.iter().enumerate() {
        let n = n.to_string();
        let at = ["gateways", text, "methods", n.as_str()];
        match method.as_str() {
            "POST" | "PATCH" | "PUT" | "DELETE" => {}
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "CONNECT" => {
                desk.fault(&at, format!("{method} changes nothing, so it needs no key"));
            }
            other => {
                let near = other.to_ascii_uppercase();
                desk.fault(
                    &at,
                    format!(
                        "`{near}` is not one of POST, PATCH, PUT and DELETE, written in capitals"
                    ),
                );
            }
        }
    }
    methods.clone()
}

fn compare(desk: &mut Desk<'_>, text: &str, written: Option<&Names>) -> Compare {
    let Some(Names(words)) = written else { return Compare::Bytes };
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bytes"] => Compare::Bytes,
        ["json"] => Compare::Json,
        [] => {
            desk.fault(
                &["gateways", text, "compare"],
                "`compare` is empty: name at least one pointer",
            );
            Compare::Bytes
        }
        _ => {
            for (n, pointer) in words.iter().enumerate().filter(|(_, it)| !it.starts_with('/')) {
                desk.fault(
                    &["gateways", text, "compare", &n.to_string()],
                    format!("`{pointer}` is not \"bytes\", \"json\" or JSON pointers such as [\"/amount\"]"),
                );
            }
            Compare::Pointers(words.clone())
        }
    }
}

fn cache(desk: &mut Desk<'_>, text: &str, written: Option<&TextOrSecret>) -> Option<RedisAddress> {
    let at = ["gateways", text, "cache"];
    let url = desk.text(&at, written?)?;
    match RedisAddress::new(url) {
        Ok(address) => Some(address),
        Err(why) => {
            desk.fault(&at, format!("`cache` {why}"));
            None
        }
    }
}

fn kept(desk: &mut Desk<'_>, text: &str, written: Option<&Names>) -> Vec<String> {
    let headers: Vec<String> =
        written.iter().flat_map(|Names(names)| names).map(|it| it.to_ascii_lowercase()).collect();
    for (n, header) in headers.iter().enumerate() {
        if NEVER_KEPT.contains(&header.as_str()) {
            desk.fault(
                &["gateways", text, "keep_headers", &n.to_string()],
                format!("`{header}` belongs to one answer or connection, and is never kept"),
            );
        }
    }
    headers
}
