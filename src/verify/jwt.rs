//! JSON Web Tokens in JWS compact form (RFC 7515, 7519). The algorithm is pinned by the config, and
//! nothing that a token's header says of keys is ever followed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::digest::{BodyDigest, DigestPlace};
use super::field::Field;
use super::key::Material;
use super::keyring::{Fetched, KeyWanted};
use super::mac::Hash;
use super::precondition::Precondition;
use super::public::{PublicAlgorithm, is_written_as_published};
use super::rejection::{Code, Rejection};
use super::template::{Content, malformed};
use super::{Claims, Integrity, Proof};
use crate::received::Received;
use crate::secret::Secret;

mod bearer;
mod compact;
mod expected;
mod sign;
mod url;

pub use bearer::{Bearer, BearerAlgorithm, BearerFault, BearerSettings, ClaimPlace, Principal};
use compact::{Object, Token};
pub(crate) use expected::{Expected, UrlDigests};

/// A JSON Web Token.
#[derive(Debug, Clone)]
pub(crate) struct JwtScheme {
    /// The algorithms that are accepted; never mixed of secret and public ones.
    pub(crate) algs: Vec<Alg>,
    /// Where the token stands.
    pub(crate) from: Field,
    /// What stands before it, in any case.
    pub(crate) prefix: String,
    /// The keys of the source's secrets.
    pub(crate) keys: Vec<JwtKey>,
    /// Where its key comes from when the source has no secrets.
    pub(crate) fetched: Option<Fetched>,
    /// The claim, not verified yet, that names the key.
    pub(crate) by_id: Option<String>,
    /// What the token must claim.
    pub(crate) expected: Expected,
    /// A claim that is the hash of the body.
    pub(crate) body_digest: Option<BodyDigest>,
    /// What must hold for this scheme to be the one.
    pub(crate) preconditions: Vec<Precondition>,
}

/// An algorithm of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alg {
    /// HMAC-SHA256.
    Hs256,
    /// HMAC-SHA384.
    Hs384,
    /// HMAC-SHA512.
    Hs512,
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// ECDSA, P-256, SHA-256.
    Es256,
}

/// A key, for one algorithm.
#[derive(Debug, Clone)]
pub(crate) struct JwtKey {
    /// The position of its secret among the source's.
    pub(crate) position: usize,
    /// Its id, where the token names its key.
    pub(crate) id: Option<String>,
    /// The algorithm that it is for.
    pub(crate) alg: Alg,
    /// What signs.
    pub(crate) material: Material,
    /// The text of which `material` was made: a diagnosis reads it in other ways.
    pub(crate) secret: Secret,
}

impl Alg {
    /// As the header spells it; another case is another name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    /// The hash of its HMAC, when it is one.
    pub(crate) const fn hmac(self) -> Option<Hash> {
        match self {
            Self::Hs256 => Some(Hash::Sha256),
            Self::Hs384 => Some(Hash::Sha384),
            Self::Hs512 => Some(Hash::Sha512),
            Self::Rs256 | Self::Es256 => None,
        }
    }

    /// How its public key verifies, when it has one.
    pub(crate) const fn public(self) -> Option<PublicAlgorithm> {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => None,
            Self::Rs256 => Some(PublicAlgorithm::RsaSha256),
            Self::Es256 => Some(PublicAlgorithm::EcdsaP256Fixed),
        }
    }
}

impl JwtScheme {
    /// The SHA-256 of the token of an accepted request.
    pub(crate) fn covered(&self, received: &Received) -> Option<[u8; 32]> {
        self.text(received).ok().map(|text| Sha256::digest(text.as_bytes()).into())
    }

    /// Accepts or refuses a request as of `now`.
    ///
    /// The signature comes first, then what the token claims, then its times: "stale" always means an
    /// authentic token.
    pub(crate) fn verify(
        &self,
        received: &Received,
        now: DateTime<Utc>,
    ) -> Result<Proof, Rejection> {
        for precondition in &self.preconditions {
            precondition.check(received)?;
        }
        let text = self.text(received)?;
        let token = Token::read(&text).map_err(|why| self.malformed(why))?;
        let alg = self.alg(&token)?;
        let secret = self.matching_secret(received, &token, alg, now)?;
        let claims = token.claims().map_err(|why| self.malformed(why))?;
        self.expected.check(&claims, received)?;
        if let Some(digest) = &self.body_digest
            && let DigestPlace::Claim(name) = &digest.from
        {
            digest.compare(received, claims.text(name).map(str::as_bytes))?;
        }
        self.expected.check_times(&claims, now)?;
        Ok(Proof::mint(secret, None).claiming(Some(Arc::new(texts(&claims)))))
    }

    /// The token's text, without its prefix.
    fn text(&self, received: &Received) -> Result<String, Rejection> {
        let missing = || {
            let detail = format!("the token in {} is missing or empty", self.from);
            Rejection::new(Code::SignatureMissing, detail)
        };
        let shown = self.from.read(received).map_err(|why| malformed(&self.from, &why))?;
        let shown = shown.filter(|shown| !shown.is_empty()).ok_or_else(missing)?;
        let shown = std::str::from_utf8(&shown).map_err(|_| self.malformed("is not text"))?;
        let (_, token) = shown
            .split_at_checked(self.prefix.len())
            .filter(|(prefix, _)| prefix.eq_ignore_ascii_case(&self.prefix))
            .ok_or_else(|| self.malformed(&format!("does not begin with `{}`", self.prefix)))?;
        if token.is_empty() { Err(missing()) } else { Ok(token.to_owned()) }
    }

    /// The pinned algorithm that the header names. It only chooses among those of the config.
    fn alg(&self, token: &Token<'_>) -> Result<Alg, Rejection> {
        let named = token.header.text("alg");
        self.algs.iter().copied().find(|alg| Some(alg.name()) == named).ok_or_else(|| {
            let pinned: Vec<&str> = self.algs.iter().map(|alg| alg.name()).collect();
            let detail = format!(
                "the token in {} is not signed by {}, which is all that this source takes",
                self.from,
                pinned.join(" or ")
            );
            Rejection::new(Code::SignatureMismatch, detail)
        })
    }

    /// The position of the first secret that signed the token; `None` for a key that was fetched.
    fn matching_secret(
        &self,
        received: &Received,
        token: &Token<'_>,
        alg: Alg,
        now: DateTime<Utc>,
    ) -> Result<Option<usize>, Rejection> {
        let content: Content<'_> = vec![token.signed.as_bytes().into()];
        let signature = [token.signature.as_slice()];
        if let (Some(fetched), Some(algorithm)) = (&self.fetched, alg.public()) {
            let keys = fetched.keys(received, token.header.text("kid"), algorithm, now)?;
            let good =
                keys.into_iter().any(|key| Material::Public(key).accepts(&content, &signature));
            return if good { Ok(None) } else { Err(self.mismatch()) };
        }
        let named = self.named_key(token)?;
        self.keys
            .iter()
            .filter(|key| key.alg == alg && (self.by_id.is_none() || key.id == named))
            .find(|key| key.material.accepts(&content, &signature))
            .map(|key| Some(key.position))
            .ok_or_else(|| self.mismatch())
    }

    /// The id of the key that the token names; not verified, it only chooses among our own keys.
    fn named_key(&self, token: &Token<'_>) -> Result<Option<String>, Rejection> {
        let Some(claim) = &self.by_id else { return Ok(None) };
        let claims = token.claims().map_err(|why| self.malformed(why))?;
        match claims.text(claim) {
            Some(id) => Ok(Some(id.to_owned())),
            None => Err(self.malformed(&format!("has no claim `{claim}` that names its key"))),
        }
    }

    /// What the token's header says of its algorithm and key, as far as it can be read. Not verified:
    /// good for a hint, and for nothing else.
    pub(crate) fn named(&self, received: &Received) -> Option<(Option<String>, Option<String>)> {
        let text = self.text(received).ok()?;
        let token = Token::read(&text).ok()?;
        let kid = match &self.by_id {
            Some(claim) => token.claims().ok()?.text(claim).map(str::to_owned),
            None => token.header.text("kid").map(str::to_owned),
        };
        Some((token.header.text("alg").map(str::to_owned), kid))
    }

    /// The key that a fetched source needs for this request, when there is a token that could be good.
    pub(crate) fn wanted(&self, received: &Received, now: DateTime<Utc>) -> Option<KeyWanted> {
        let fetched = self.fetched.as_ref()?;
        if self.preconditions.iter().any(|it| it.check(received).is_err()) {
            return None;
        }
        let text = self.text(received).ok()?;
        let token = Token::read(&text).ok()?;
        let alg = self.alg(&token).ok()?;
        fetched.wanted(received, token.header.text("kid"), alg.public()?, now)
    }

    /// How much of the body is covered.
    pub(crate) fn integrity(&self) -> Integrity {
        if self.body_digest.is_some() { Integrity::Full } else { Integrity::None }
    }

    /// Whether `field` is signed.
    pub(crate) fn signs(&self, field: &Field) -> bool {
        match field {
            Field::Query(_) => self.expected.urls.is_any(),
            Field::Header(_) => false,
            Field::Form(..) | Field::FormJson(..) | Field::Body(_) => self.body_digest.is_some(),
        }
    }

    /// Whether some time must be there, so that a token doesn't stay good for ever.
    pub(crate) fn has_clock(&self) -> bool {
        self.expected.max_age.is_some() || self.expected.exp
    }

    fn malformed(&self, why: &str) -> Rejection {
        let detail = format!("the token in {} {why}", self.from);
        Rejection::new(Code::SignatureMalformed, detail)
    }

    fn mismatch(&self) -> Rejection {
        let whose = match (&self.fetched, &self.by_id) {
            (Some(_), _) => "by the provider's key",
            (None, Some(_)) => "by the secret of this source whose id it names",
            (None, None) => "by a secret of this source",
        };
        let detail = format!("the token in {} is not signed {whose}", self.from);
        Rejection::new(Code::SignatureMismatch, detail)
    }
}

/// What the claims say, for the places of ids and types.
fn texts(claims: &Object) -> Claims {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    claims.0.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// The key of a secret, for one algorithm.
pub(crate) fn hmac_material(alg: Alg, key: &Secret, bytes: &[u8]) -> Result<Material, String> {
    if is_written_as_published(key.expose()) {
        // A public key is known to everybody: as the secret of an HMAC it would let anybody sign.
        return Err(format!(
            "is a key in PEM or a JSON Web Key, but {} is signed by a shared secret: name RS256 or ES256 in `algs`",
            alg.name()
        ));
    }
    let mac = alg.hmac().and_then(|hash| super::mac::Mac::new(hash, bytes));
    mac.map(Material::Mac).ok_or_else(|| format!("can't be a key of {}", alg.name()))
}

/// By how much clocks may differ, unless something else is written.
pub(crate) const LEEWAY: Duration = Duration::from_secs(5);
