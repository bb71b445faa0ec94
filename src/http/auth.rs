//! Who may use the admin listener.
//!
//! Three checks, each against its own attack. The token keeps out whoever doesn't know it. The Host
//! allow-list keeps out a page whose own host name was re-pointed at us (DNS rebinding): such a page
//! is "same origin" to the browser, but can't help naming its own host. And what changes something is
//! refused when a browser says that another site caused it. Probes need none of them: they tell
//! nothing but that we run.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AdminSettings;
use super::problem::Problem;

/// Sent with every answer of the admin listener. What it serves is data, never a page that runs.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What a request must bring.
pub(super) struct Door {
    /// SHA-256 of the token: both sides are hashed, so that a comparison tells no length either.
    token: Option<[u8; 32]>,
    /// Host names, in lower case, without a port.
    hosts: Vec<String>,
}

impl Door {
    pub(super) fn new(settings: &AdminSettings) -> Self {
        let mut hosts = vec!["localhost".to_owned()];
        hosts.extend(settings.hosts.iter().map(|host| host_name(host).to_ascii_lowercase()));
        let token = settings.token.as_ref().map(|token| hash(token.expose().as_bytes()));
        Self { token, hosts }
    }

    /// Whether a token is asked for.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Lets a request in, or says why not.
    fn check(
        &self,
        method: &Method,
        host: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        self.check_host(host)?;
        if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            check_site(host, headers)?;
        }
        self.check_token(headers)
    }

    fn check_host(&self, host: Option<&str>) -> Result<(), Problem> {
        let name = host_name(host.unwrap_or_default());
        let known = self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
        // An address can't be re-pointed, so a page can't rebind it.
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        if known || bare.parse::<std::net::IpAddr>().is_ok() {
            return Ok(());
        }
        Err(Problem::new(
            421,
            "host_not_allowed",
            "this host name is not served here: add it to admin.hosts",
        ))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(want) = &self.token else { return Ok(()) };
        let mut lines = headers.get_all(header::AUTHORIZATION);
        let given = match (lines.next(), lines.next()) {
            (Some(line), None) => bearer(line.as_bytes()),
            _ => None,
        };
        let matches = given.is_some_and(|given| bool::from(hash(given).ct_eq(want)));
        if matches {
            return Ok(());
        }
        Err(Problem::new(401, "token", "send the admin token as `Authorization: Bearer …`"))
    }
}

/// The token of `Bearer <token>`; the word in any case, as HTTP has it.
fn bearer(line: &[u8]) -> Option<&[u8]> {
    let (word, rest) = line.split_at_checked(b"Bearer ".len())?;
    word.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The name of `name:port`; an IPv6 address keeps its brackets.
fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        // What follows must be a port: `127.0.0.1:1@evil.example.com` is no name of ours.
        Some(colon)
            if host[colon + 1..].bytes().all(|b| b.is_ascii_digit()) && !is_bare_ipv6(host) =>
        {
            &host[..colon]
        }
        _ => host,
    }
}

fn is_bare_ipv6(host: &str) -> bool {
    host.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Refuses what a browser sends on behalf of another site. Programs send neither header.
fn check_site(host: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let refused =
        || Err(Problem::new(403, "cross_site", "another site may not change anything here"));
    let mut sites = headers.get_all("sec-fetch-site");
    if !sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return refused();
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let origin_host = origin.split_once("://").map(|(_, rest)| rest);
        let same =
            origin_host.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
        if !same {
            return refused();
        }
    }
    Ok(())
}

/// The middleware around everything on the admin listener but the probes.
pub(super) async fn guard(
    door: web::Data<Door>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let host = host_of(&request);
    let mut response = match door.check(request.method(), host.as_deref(), request.headers()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => {
            // Held until the answer is sent: a stranger's endless body would be read for ever.
            let payload = request.extract::<web::Payload>().await.ok();
            request.into_response(problem.holding(payload))
        }
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// The authority that the request names: its target's, when it has one, else `Host`.
fn host_of(request: &ServiceRequest) -> Option<String> {
    let of_target = request.uri().authority().map(|authority| authority.as_str());
    let of_header = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    of_target.or_else(of_header).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn door(token: Option<&str>) -> Door {
        Door::new(&AdminSettings {
            listen: ([127, 0, 0, 1], 8081).into(),
            token: token.map(|token| Secret::new(token.to_owned())),
            hosts: vec!["Admin.Example.com:8081".to_owned()],
        })
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).expect("a name"),
                    HeaderValue::try_from(*value).expect("a value"),
                )
            })
            .collect()
    }

    fn status(
        door: &Door,
        method: &Method,
        host: Option<&str>,
        lines: &[(&str, &str)],
    ) -> Option<u16> {
        door.check(method, host, &headers(lines)).err().map(|problem| problem.status)
    }

    #[test]
    fn only_the_exact_token_opens() {
        let door = door(Some("correct horse battery"));
        let with = |line: &str| {
            status(&door, &Method::GET, Some("localhost:8081"), &[("authorization", line)])
        };
        assert_eq!(with("Bearer correct horse battery"), None);
        assert_eq!(with("bearer correct horse battery"), None);
        for wrong in [
            "Bearer correct horse batterx",
            "Bearer correct horse batter",
            "Bearer correct horse battery2",
            "Bearer ",
            "Bearer",
            "",
            "Basic correct horse battery",
            "correct horse battery",
        ] {
            assert_eq!(with(wrong), Some(401), "{wrong}");
        }
        assert_eq!(status(&door, &Method::GET, Some("localhost"), &[]), Some(401));
        let twice = [
            ("authorization", "Bearer correct horse battery"),
            ("authorization", "Bearer correct horse battery"),
        ];
        assert_eq!(status(&door, &Method::GET, Some("localhost"), &twice), Some(401));
    }

    #[test]
    fn a_host_name_that_was_rebound_to_us_is_refused() {
        let door = door(None);
        for good in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:8081",
            "[::1]:8081",
            "[::1]",
            "10.1.2.3",
            "admin.example.com",
            "admin.example.com:443",
        ] {
            assert_eq!(status(&door, &Method::GET, Some(good), &[]), None, "{good}");
        }
        for bad in [
            "evil.example.com",
            "localhost.evil.com",
            "",
            "admin.example.com.evil.com:8081",
            "127.0.0.1:8081@evil.example.com",
            "localhost:evil.example.com",
            "[::1]evil.example.com",
        ] {
            assert_eq!(status(&door, &Method::GET, Some(bad), &[]), Some(421), "{bad}");
        }
        assert_eq!(status(&door, &Method::GET, None, &[]), Some(421));
    }

    #[test]
    fn another_site_may_read_nothing_back_and_change_nothing() {
        let door = door(None);
        let host = Some("127.0.0.1:8081");
        for (lines, want) in [
            (vec![], None),
            (vec![("origin", "http://127.0.0.1:8081")], None),
            (vec![("sec-fetch-site", "same-origin")], None),
            (vec![("sec-fetch-site", "none")], None),
            (vec![("sec-fetch-site", "cross-site")], Some(403)),
            (vec![("sec-fetch-site", "same-site")], Some(403)),
            (vec![("origin", "http://evil.example.com")], Some(403)),
            (vec![("origin", "http://127.0.0.1:9999")], Some(403)),
            (vec![("origin", "null")], Some(403)),
            (
                vec![("origin", "http://127.0.0.1:8081"), ("origin", "http://evil.example.com")],
                Some(403),
            ),
            (vec![("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], Some(403)),
        ] {
            assert_eq!(status(&door, &Method::POST, host, &lines), want, "{lines:?}");
        }
        // Reading is not changing; the browser keeps the answer from the other site.
        let lines = [("origin", "http://evil.example.com")];
        assert_eq!(status(&door, &Method::GET, host, &lines), None);
    }
}
