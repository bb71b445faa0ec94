//! Whose key it is: a hash of the gateway's name and the principal, so that two gateways, and two
//! principals, share no keys.

use actix_web::HttpRequest;
use chrono::Utc;
use entity::Name;
use sha2::{Digest, Sha256};

use super::{CREDENTIAL_HEADERS, headers};
use crate::fetch::Fetcher;
use crate::http::public::PublicState;
use crate::idempotency::Refusal;
use crate::keys::{Asker, Keys};
use crate::metric::Metrics;
use crate::verify::{Bearer, BearerFault, BearerSettings, Roots};

/// What says whose key it is.
#[derive(Debug, Clone)]
pub enum ScopeSettings {
    /// The value of a header, in lower case. A credential speaks for itself; any other is believed from
    /// trusted proxies only.
    Header(String),
    /// A claim of a bearer token, which is verified first.
    Claim(Box<BearerSettings>),
}

/// Tells whose key it is, for one gateway.
#[derive(Debug)]
pub(super) struct Scope {
    gateway: Name,
    by: By,
}

#[derive(Debug)]
enum By {
    Header(String),
    Claim(Box<Claim>),
}

/// A claim, and what verifying it takes.
#[derive(Debug)]
struct Claim {
    /// As the config has it: a part of the scope.
    written: String,
    bearer: Bearer,
    /// Of its own: another gateway's slow issuer takes nothing from this one's.
    keys: Keys,
}

impl Scope {
    /// Must be called on the runtime that fetches an issuer's keys.
    pub(super) fn new(gateway: &Name, settings: &ScopeSettings, metrics: &Metrics) -> Self {
        let by = match settings {
            ScopeSettings::Header(header) => By::Header(header.clone()),
            ScopeSettings::Claim(settings) => {
                let fetcher = Fetcher::of_operator(&settings.jwks);
                By::Claim(Box::new(Claim {
                    written: format!("claim:{}", settings.claim),
                    keys: Keys::new(fetcher, Roots::mozilla(), metrics.clone()),
                    bearer: Bearer::new((**settings).clone()),
                }))
            }
        };
        Self { gateway: gateway.clone(), by }
    }

    /// The header that says it.
    pub(super) fn header(&self) -> &str {
        match &self.by {
            By::Header(header) => header,
            By::Claim(_) => "authorization",
        }
    }

    /// Whose key a request's is. Waits for an issuer's key, shortly, when it isn't here.
    pub(super) async fn of(
        &self,
        request: &HttpRequest,
        state: &PublicState,
    ) -> Result<String, Refusal> {
        match &self.by {
            By::Header(header) => self.by_header(header, request, state),
            By::Claim(claim) => self.by_claim(claim, request).await,
        }
    }

    fn by_header(
        &self,
        header: &str,
        request: &HttpRequest,
        state: &PublicState,
    ) -> Result<String, Refusal> {
        if !CREDENTIAL_HEADERS.contains(&header)
            && !headers::is_from_trusted(request, &state.trusted_proxies)
        {
            let why = format!("`{header}` is believed only from trusted proxies");
            return Err(Refusal::NoScope(why));
        }
        match lines(request, header) {
            Lines::One(value) => Ok(self.hashed(&[header.as_bytes()], value)),
            Lines::None => Err(Refusal::NoScope(format!("send the header `{header}`"))),
            Lines::Several => {
                Err(Refusal::NoScope(format!("the header `{header}` stands more than once")))
            }
        }
    }

    async fn by_claim(&self, claim: &Claim, request: &HttpRequest) -> Result<String, Refusal> {
        let value = match lines(request, "authorization") {
            Lines::One(value) => value,
            Lines::None => return Err(Refusal::NoToken),
            Lines::Several => {
                let why = "the header `authorization` stands more than once";
                return Err(Refusal::BadToken(why.to_owned()));
            }
        };
        let now = Utc::now();
        if let Some(wanted) = claim.bearer.wanted(value, now) {
            claim.keys.see_to_key(Asker::Gateway(self.gateway.clone()), wanted, now).await;
        }
        let who = claim.bearer.principal(value, now).map_err(refusal)?;
        let issuer = who.issuer();
        let parts: [&[u8]; 3] = [
            claim.written.as_bytes(),
            // A token without an issuer is not one of an issuer without a name.
            if issuer.is_some() { b"iss" } else { b"" },
            issuer.unwrap_or_default().as_bytes(),
        ];
        Ok(self.hashed(&parts, who.subject().as_bytes()))
    }

    /// The gateway's name, and a hash in which no part can run into the next one.
    fn hashed(&self, parts: &[&[u8]], last: &[u8]) -> String {
        let mut hash = Sha256::new();
        for part in [&b"hookonce-scope-1"[..], self.gateway.as_str().as_bytes()].iter().chain(parts)
        {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(last);
        format!("{}:{}", self.gateway, hex::encode(hash.finalize()))
    }
}

/// The lines of a header that must stand once.
enum Lines<'a> {
    /// None, or an empty one.
    None,
    One(&'a [u8]),
    Several,
}

fn lines<'a>(request: &'a HttpRequest, header: &str) -> Lines<'a> {
    let mut lines = request.headers().get_all(header);
    match (lines.next(), lines.next()) {
        (_, Some(_)) => Lines::Several,
        (Some(value), None) if !value.as_bytes().trim_ascii().is_empty() => {
            Lines::One(value.as_bytes().trim_ascii())
        }
        (None | Some(_), None) => Lines::None,
    }
}

fn refusal(fault: BearerFault) -> Refusal {
    match fault {
        BearerFault::Missing => Refusal::NoToken,
        BearerFault::Invalid(why) => Refusal::BadToken(why),
        BearerFault::Expired(why) => Refusal::ExpiredToken(why),
        BearerFault::NoClaim(why) => Refusal::NoScope(why),
        BearerFault::KeyAway => Refusal::NoIssuerKey,
    }
}
