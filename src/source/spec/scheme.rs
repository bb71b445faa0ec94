//! The vocabulary of `verify`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::jwt::JwtSpec;
use super::key::KeySpec;
use super::signature::{SignatureSpec, TimestampSpec};
use super::text::Texts;
use super::word::{PlaceOrTable, place_or_table};

/// A scheme: exactly one of `hmac`, `digest`, `ed25519`, `ecdsa`, `rsa`, `jwt`, `token`, `basic`,
/// `none`, `any`, `all`, with what it needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemeSpec {
    /// A MAC over `content`, keyed by a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hash>,
    /// A plain hash of `content`, in which `{secret}` must stand. Weaker than an HMAC: only where a
    /// provider has nothing better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestHash>,
    /// An Ed25519 signature over `content`; the secrets are public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ed25519: Option<bool>,
    /// An ECDSA signature (ASN.1) over SHA-256 of `content`; the secrets are public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecdsa: Option<Curve>,
    /// An RSA signature (PKCS #1 v1.5) over `content`, by this hash; the secrets are public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsa: Option<RsaHash>,
    /// A JSON Web Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSpec>,
    /// The secret itself, shown by the sender.
    #[serde(deserialize_with = "place_or_table", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PlaceOrTable>")]
    pub token: Option<TokenSpec>,
    /// HTTP Basic: the secret is `user:password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<bool>,
    /// Everything is accepted. Written `verify = "none"` for short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<bool>,
    /// The first of these that accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<SchemeSpec>>,
    /// All of these must accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<SchemeSpec>>,
    /// How a secret becomes a key, or where keys come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySpec>,
    /// Where the signature is, and how it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureSpec>,
    /// What is signed: a template, `{body}` when absent. Its parts:
    ///
    /// * `{body}` the exact bytes; `{crc32:body}` their CRC-32 as a decimal number
    /// * `{ts}`, `{id}` as the scheme found them; `{secret}` the secret's own text
    /// * `{method}`; `{url}` the registered URL with the request's query; `{url:with_port}`,
    ///   `{url:without_port}`, `{url:unescaped}` spellings of it; `{target:contentful}`
    /// * `{header:X}`, `{query:X}`, `{form:X}`, `{body:/pointer}` a value; with `|` at its end
    ///   (`{body:/pointer|}`) nothing when it isn't there
    /// * `{raw:/pointer}` a JSON value as it stands; `{sorted_form}` a form's decoded pairs in order
    /// * `{sig:X}` a named value of the signature; `{signed_headers:X}` the values, joined by `.`, of
    ///   the headers that it names; `{header_lines:X}` the `name:value` lines, joined by `;`, of the
    ///   headers that the header X names
    /// * `{param:X}` one of the source's `params`
    /// * `{?…?}` left out when a value in it is missing; `{{` and `}}` braces
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where the id that `{id}` stands for is, such as `header:webhook-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When the request was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampSpec>,
    /// A pointer with `*` to the parts of a batch that are each signed by themselves, such as
    /// `/items/*`; every one of them must be accepted. `body:` places are inside of the part then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// A hash of the body that stands in what is signed, and must be the body's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_digest: Option<BodyDigestSpec>,
    /// Places and the values that must stand there for this scheme to be used, such as
    /// `"header:x-version" = "2"`. Values may hold `{param:X}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<BTreeMap<String, Texts>>,
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// Only where a provider has nothing better.
    Sha1,
    /// The usual one.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

/// The hash of a plain digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DigestHash {
    /// Only where a provider has nothing better.
    Sha1,
    /// 32 bytes.
    Sha256,
}

/// The curve of an ECDSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// NIST P-256.
    P256,
}

/// The hash of an RSA signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RsaHash {
    /// Only where a provider has nothing better.
    Sha1,
    /// The usual one.
    Sha256,
}

/// Where a token is shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// `header:NAME`, `query:NAME`, `form:NAME` or `body:/pointer`.
    pub from: String,
    /// What stands before it, such as `"Bearer "`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A hash of the body that stands in what is signed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyDigestSpec {
    /// `header:NAME`, `query:NAME`, or `claim:NAME` of a JSON Web Token.
    pub from: String,
    /// `sha256` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<DigestHash>,
    /// `hex` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<super::signature::Encoding>,
    /// Whether it may be missing with an empty body, and only then. False when absent.
    #[serde(default)]
    pub absent_when_empty: bool,
}
