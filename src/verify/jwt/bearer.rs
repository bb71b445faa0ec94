//! A bearer token (RFC 6750) that is a JSON Web Token: verified by its issuer's published keys before
//! anybody believes whose it says it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use url::Url;

use super::compact::{Object, Token};
use super::expected::Expected;
use super::{LEEWAY, UrlDigests};
use crate::verify::keyring::{Fetched, KeyPlace, KeyWanted};
use crate::verify::public::PublicAlgorithm;
use crate::verify::rejection::{Code, Rejection};

/// How long the issuer's keys are good, unless it says less.
const KEEP: Duration = Duration::from_secs(3600);

/// Whose tokens are believed, and which claim of theirs says who somebody is.
#[derive(Debug, Clone)]
pub struct BearerSettings {
    /// Where the issuer publishes its keys, a JSON Web Key Set. Nothing of a token says where.
    pub jwks: Url,
    /// The claim.
    pub claim: ClaimPlace,
    /// The issuers (`iss`), one of which the token must name; any that signs by these keys when empty.
    pub issuers: Vec<String>,
    /// The audiences (`aud`), one of which the token must name; any when empty.
    pub audiences: Vec<String>,
    /// The algorithms that a token may be signed by.
    pub algorithms: Vec<BearerAlgorithm>,
}

/// An algorithm of a token whose key is published: never a shared secret, never `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerAlgorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl BearerAlgorithm {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// As a token's header spells it; another case is another name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn public(self) -> PublicAlgorithm {
        match self {
            Self::Rs256 => PublicAlgorithm::RsaSha256,
            Self::Ps256 => PublicAlgorithm::RsaPssSha256,
            Self::Es256 => PublicAlgorithm::EcdsaP256Fixed,
            Self::EdDsa => PublicAlgorithm::Ed25519,
        }
    }
}

/// Where a claim stands: a name, such as `sub`, or a JSON pointer, such as `/org/id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPlace {
    written: String,
    name: String,
    /// From there on; empty when the claim itself is meant.
    pointer: String,
}

impl FromStr for ClaimPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, pointer) = match text.strip_prefix('/') {
            None => (text.to_owned(), ""),
            Some(rest) => {
                let (name, pointer) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (name.replace("~1", "/").replace("~0", "~"), pointer)
            }
        };
        if name.is_empty() {
            return Err("names no claim: write it like `sub`, or as a pointer like `/org/id`");
        }
        Ok(Self { written: text.to_owned(), name, pointer: pointer.to_owned() })
    }
}

impl fmt::Display for ClaimPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl ClaimPlace {
    fn of<'a>(&self, claims: &'a Object) -> Option<&'a Value> {
        claims.0.get(&self.name)?.pointer(&self.pointer)
    }
}

/// Who showed a token, as its issuer says. Only a verified token makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    issuer: Option<String>,
    subject: String,
}

impl Principal {
    /// Who says so (`iss`). Two issuers' subjects of one name are two principals.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The claim as JSON: a text in quotes, or a whole number, so that `"7"` and `7` are two.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// Why a token makes nobody of who shows it; in a sentence for the client, who is told nothing of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BearerFault {
    /// There is none.
    Missing,
    /// It can't be read, isn't signed by a key of the issuer, or isn't meant for here.
    Invalid(String),
    /// It is authentic, and over.
    Expired(String),
    /// It is good, and doesn't say who somebody is.
    NoClaim(String),
    /// The issuer's key isn't here and could not be fetched: nothing is known of the token.
    KeyAway,
}

impl From<Rejection> for BearerFault {
    fn from(rejection: Rejection) -> Self {
        match rejection.code {
            Code::TimestampStale => Self::Expired(rejection.detail),
            Code::KeyUnavailable => Self::KeyAway,
            _ => Self::Invalid(rejection.detail),
        }
    }
}

/// Judges tokens. Its keys come in by [`Bearer::wanted`].
#[derive(Debug, Clone)]
pub struct Bearer {
    claim: ClaimPlace,
    algorithms: Vec<BearerAlgorithm>,
    expected: Expected,
    fetched: Fetched,
}

impl Bearer {
    /// One without any key yet.
    #[must_use]
    pub fn new(settings: BearerSettings) -> Self {
        let place = KeyPlace::Set { url: settings.jwks, pointer: String::new() };
        let algorithms = settings.algorithms.iter().map(|it| it.public()).collect();
        Self {
            claim: settings.claim,
            algorithms: settings.algorithms,
            expected: Expected {
                iss: settings.issuers,
                aud: settings.audiences,
                // Without an end a token that leaked would be good for ever.
                exp: true,
                leeway: LEEWAY,
                claims: Vec::new(),
                nbf: false,
                iat: false,
                max_age: None,
                urls: UrlDigests::default(),
            },
            fetched: Fetched::new(place, algorithms, KEEP),
        }
    }

    /// The key that has to be fetched to judge this value of an Authorization header; `None` when none
    /// is, also because there is no token in it that could be good.
    #[must_use]
    pub fn wanted(&self, authorization: &[u8], now: DateTime<Utc>) -> Option<KeyWanted> {
        let token = read(authorization).ok()?;
        let algorithm = self.algorithm(&token).ok()?;
        self.fetched.wanted_of_published(token.header.text("kid"), algorithm.public(), now)
    }

    /// Who shows this value of an Authorization header, as of `now`.
    ///
    /// The signature comes first, then whom the token is from and for, then its times.
    pub fn principal(
        &self,
        authorization: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Principal, BearerFault> {
        let token = read(authorization)?;
        let algorithm = self.algorithm(&token)?;
        let keys = self.fetched.published(token.header.text("kid"), algorithm.public(), now);
        let keys = keys.map_err(|rejection| match rejection.code {
            Code::KeyUnavailable => BearerFault::KeyAway,
            _ => invalid("is signed by a key that its issuer does not publish"),
        })?;
        let signed = token.signed.as_bytes();
        if !keys.iter().any(|key| key.verifies(signed, &token.signature)) {
            return Err(invalid("is not signed by its issuer's key"));
        }
        let claims = token.claims().map_err(invalid)?;
        self.expected.check_parties(&claims)?;
        self.expected.check_times(&claims, now)?;
        let issuer = match claims.0.get("iss") {
            None => None,
            Some(Value::String(issuer)) => Some(issuer.clone()),
            Some(_) => return Err(invalid("has an issuer (iss) that is no text")),
        };
        Ok(Principal { issuer, subject: self.subject(&claims)? })
    }

    /// The pinned algorithm that the header names. It only chooses among those of the config.
    fn algorithm(&self, token: &Token<'_>) -> Result<BearerAlgorithm, BearerFault> {
        let named = token.header.text("alg");
        self.algorithms.iter().copied().find(|it| Some(it.name()) == named).ok_or_else(|| {
            let pinned: Vec<&str> = self.algorithms.iter().map(|it| it.name()).collect();
            invalid(&format!("is not signed by {}", pinned.join(" or ")))
        })
    }

    fn subject(&self, claims: &Object) -> Result<String, BearerFault> {
        match self.claim.of(claims) {
            Some(Value::String(text)) if !text.is_empty() => {
                Ok(Value::from(text.as_str()).to_string())
            }
            // A number with a fraction, or beyond 64 bits, is rounded as it is read: two could be one.
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Ok(number.to_string())
            }
            _ => Err(BearerFault::NoClaim(format!(
                "the token's claim `{}` must be a text or a whole number",
                self.claim
            ))),
        }
    }
}

/// The token of an Authorization header, taken apart.
fn read(authorization: &[u8]) -> Result<Token<'_>, BearerFault> {
    let text = std::str::from_utf8(authorization.trim_ascii())
        .map_err(|_| invalid("is not plain text"))?;
    if text.is_empty() {
        return Err(BearerFault::Missing);
    }
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        // Another scheme's credential is no token at all.
        return Err(BearerFault::Missing);
    }
    Token::read(token.trim_start_matches(' ')).map_err(invalid)
}

/// `why` goes behind "the token".
fn invalid(why: &str) -> BearerFault {
    BearerFault::Invalid(format!("the token {why}"))
}

#[cfg(test)]
mod tests;
