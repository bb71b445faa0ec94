//! Whose keys a gateway's are: `scope`, and what a claim needs to be believed.

use url::Url;

use crate::config::desk::Desk;
use crate::config::file::gateway::FileGateway;
use crate::config::value::{Names, Text};
use crate::http::ServerSettings;
use crate::http::gateway::{CREDENTIAL_HEADERS, ScopeSettings};
use crate::verify::{BearerAlgorithm, BearerSettings, ClaimPlace};

/// Reads `scope` and the keys that belong to it. `None` when it can't be used, which was reported.
pub(super) fn settings(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileGateway,
    server: &ServerSettings,
) -> Option<ScopeSettings> {
    let written = file.scope.as_deref().unwrap_or("header:authorization");
    if let Some(claim) = written.strip_prefix("claim:") {
        return self::claim(desk, text, claim, file);
    }
    for key in ["jwks", "issuer", "audience", "algorithms"] {
        let at = ["gateways", text, key];
        if desk.is_written(&at) {
            desk.fault(
                &at,
                format!(
                    "`{key}` is for a scope that is a token's claim: write `scope = \"claim:sub\"`"
                ),
            );
        }
    }
    header(desk, text, written, server).map(ScopeSettings::Header)
}

fn header(
    desk: &mut Desk<'_>,
    text: &str,
    written: &str,
    server: &ServerSettings,
) -> Option<String> {
    let at = ["gateways", text, "scope"];
    let header = written.strip_prefix("header:").map(str::to_ascii_lowercase);
    let token = |header: &String| {
        !header.is_empty()
            && header.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let Some(header) = header.filter(token) else {
        desk.fault(
            &at,
            "`scope` is `header:` and a header's name, such as \"header:authorization\", or `claim:` and a token's claim, such as \"claim:sub\"",
        );
        return None;
    };
    if !CREDENTIAL_HEADERS.contains(&header.as_str()) && server.trusted_proxies.is_empty() {
        desk.fault(
            &at,
            format!(
                "anybody can send `{header}` and read another's answers: it is believed from server.trusted_proxies only, and there are none; or use a credential: {}",
                CREDENTIAL_HEADERS.join(", ")
            ),
        );
    }
    Some(header)
}

fn claim(
    desk: &mut Desk<'_>,
    text: &str,
    written: &str,
    file: &FileGateway,
) -> Option<ScopeSettings> {
    let at = |key: &'static str| ["gateways", text, key];
    let claim = written.parse::<ClaimPlace>();
    if let Err(why) = &claim {
        desk.fault(&at("scope"), format!("`scope` {why}"));
    }
    let jwks = jwks(desk, text, file.jwks.as_ref());
    let issuers = accepted(desk, text, "issuer", file.issuer.as_ref());
    let audiences = accepted(desk, text, "audience", file.audience.as_ref());
    if file.audience.is_none() {
        desk.warn(
            &at("scope"),
            "without `audience` a token that the issuer made for another service counts here, and whoever runs that service could read its user's answers",
        );
    }
    let algorithms = algorithms(desk, text, file.algorithms.as_ref());
    Some(ScopeSettings::Claim(Box::new(BearerSettings {
        jwks: jwks?,
        claim: claim.ok()?,
        issuers,
        audiences,
        algorithms,
    })))
}

fn jwks(desk: &mut Desk<'_>, text: &str, written: Option<&Text<Url>>) -> Option<Url> {
    let at = ["gateways", text, "jwks"];
    let Some(Text(url)) = written else {
        if !desk.has_faults_under(&at) {
            desk.fault(
                &["gateways", text, "scope"],
                "a claim is believed only of a token that was verified, or a forged one could read another's answers: say in `jwks` where its issuer publishes its keys, such as \"https://issuer.example.com/.well-known/jwks.json\"",
            );
        }
        return None;
    };
    if url.scheme() == "http" && !is_loopback(url) {
        desk.fault(
            &at,
            "over plain HTTP anybody on the way could give keys of their own: use https (http is for loopback only)",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        desk.fault(&at, "`jwks` holds a user name or a password, but these keys are public");
    }
    Some(url.clone())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The issuers, or audiences, that are accepted.
fn accepted(
    desk: &mut Desk<'_>,
    text: &str,
    key: &'static str,
    written: Option<&Names>,
) -> Vec<String> {
    let Some(Names(names)) = written else { return Vec::new() };
    if names.is_empty() || names.iter().any(String::is_empty) {
        desk.fault(
            &["gateways", text, key],
            format!("`{key}` is empty: leave it out, or name what is accepted"),
        );
    }
    names.clone()
}

fn algorithms(desk: &mut Desk<'_>, text: &str, written: Option<&Names>) -> Vec<BearerAlgorithm> {
    let Some(Names(names)) = written else { return BearerAlgorithm::ALL.to_vec() };
    let all = BearerAlgorithm::ALL.map(BearerAlgorithm::name).join(", ");
    if names.is_empty() {
        desk.fault(
            &["gateways", text, "algorithms"],
            format!("`algorithms` is empty: leave it out for all of {all}"),
        );
    }
    let mut algorithms = Vec::with_capacity(names.len());
    for (n, name) in names.iter().enumerate() {
        if let Some(known) = BearerAlgorithm::ALL.into_iter().find(|it| it.name() == name) {
            algorithms.push(known);
            continue;
        }
        let fault = match name.get(..2).unwrap_or_default().to_ascii_uppercase().as_str() {
            "HS" => format!(
                "`{name}` is signed by a shared secret, and a published key is none: anybody could sign by it; take of {all}"
            ),
            "NO" => format!("a token that nobody signed is anybody's; take of {all}"),
            _ => format!("`{name}` is not one of {all}"),
        };
        desk.fault(&["gateways", text, "algorithms", &n.to_string()], fault);
    }
    algorithms
}
