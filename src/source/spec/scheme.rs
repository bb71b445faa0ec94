//! The vocabulary of `verify`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::text::{DurationText, Unbuilt};

/// A scheme: exactly one of `hmac`, `token`, `basic`, `none`, `any`, `all`, with what it needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemeSpec {
    /// A MAC over `content`, keyed by a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hash>,
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
    /// How a secret becomes a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySpec>,
    /// Where the signature is, and how it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureSpec>,
    /// What is signed: a template over `{body}`, `{ts}`, `{id}`, `{url}`, `{method}`, `{header:X}`,
    /// `{query:X}`, `{form:X}` and `{body:/pointer}`. `{body}` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where the id that `{id}` stands for is, such as `header:webhook-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When the request was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampSpec>,
    /// A plain hash with the secret in its content. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub digest: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub ed25519: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub ecdsa: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub rsa: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub jwt: Option<Unbuilt>,
    /// A named canonical form of the content. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub canonical: Option<Unbuilt>,
    /// When every part of a batch is signed by itself. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub each: Option<Unbuilt>,
    /// A hash of the body elsewhere in the request. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub body_digest: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub preconditions: Option<Unbuilt>,
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

/// How a secret becomes a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySpec {
    /// `utf8` when absent: the text's own bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<KeyDecode>,
    /// Prefixes of which the first that fits is taken off before decoding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip_prefix: Vec<String>,
    /// Which of the source's secrets, by position from 0; all when absent. For `all`, where a token
    /// and a key are two different secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<usize>>,
    /// Several readings of one secret. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub candidates: Option<Unbuilt>,
    /// A key that the request names. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub by_id: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub jwks: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub x509: Option<Unbuilt>,
    /// Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub pem_url: Option<Unbuilt>,
}

/// How the text of a secret is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyDecode {
    /// The text's own bytes.
    Utf8,
    /// Hex.
    Hex,
    /// Base64, padded or not.
    Base64,
    /// The URL-safe alphabet, padded or not.
    Base64url,
    /// Base64 after an optional `whsec_`.
    Whsec,
    /// Not built yet.
    #[schemars(skip)]
    Spki,
    /// Not built yet.
    #[schemars(skip)]
    Pem,
    /// Not built yet.
    #[schemars(skip)]
    Sha1Of,
    /// Not built yet.
    #[schemars(skip)]
    HtmlUnescape,
}

/// Where the signature is, and how it is written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureSpec {
    /// `header:NAME`, `query:NAME` or `form:NAME`.
    pub from: String,
    /// Whether its header may stand more than once. `one` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
    /// `hex` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// `plain` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<GrammarSpec>,
}

/// How often a signature header may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    /// Exactly once.
    One,
    /// Several lines, each read by itself; any may match.
    All,
}

/// How a signature's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Either case, no white space.
    Hex,
    /// Padded.
    Base64,
    /// The URL-safe alphabet, without padding.
    Base64url,
    /// Not built yet.
    #[schemars(skip)]
    Der,
}

/// What stands around the signature's bytes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrammarSpec {
    /// One signature after an optional prefix: `sha256=…`.
    Plain(PlainSpec),
    /// Several, of which those with the tag count: `v1,… v1,…`.
    List(ListSpec),
    /// Named values: `t=…,v1=…`.
    Kv(KvSpec),
    /// Not built yet.
    #[schemars(skip)]
    Positional(Unbuilt),
}

/// One signature after an optional prefix.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlainSpec {
    /// Such as `sha256=`; must be there.
    pub prefix: String,
}

/// Several signatures, of which those with the tag count.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSpec {
    /// Between two of them.
    pub sep: String,
    /// What one begins with, separator included, such as `v1,`. Others are passed over.
    #[serde(default)]
    pub tag: String,
}

/// Named values.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvSpec {
    /// Between two of them.
    pub sep: String,
    /// The names that hold a signature; others are passed over.
    pub sig: Vec<String>,
    /// The name that holds the timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

/// When the request was signed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimestampSpec {
    /// `header:NAME`, `query:NAME`, `form:NAME` or `body:/pointer`. When absent: the signature's own
    /// `ts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `s` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// How old it may be. `"5m"` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<DurationText>,
    /// How far ahead of our clock it may be. `"60s"` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub future: Option<DurationText>,
    /// Whether it is in the signed content. Derived; to be written only to say that it isn't, which
    /// switches the check off, because an unsigned time proves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// RFC 3339.
    Rfc3339,
}

/// For the schema only: `"none"`, or a table.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum WordOrTable {
    /// `"none"` or `"basic"`.
    Word(String),
    /// A scheme.
    Table(Box<SchemeSpec>),
}

/// For the schema only: a place, or a table.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum PlaceOrTable {
    /// `"header:NAME"`.
    Place(String),
    /// With a prefix.
    Table(TokenSpec),
}

/// Reads a scheme, or the word `none` or `basic`. Not an untagged enum, whose errors would only say
/// that nothing fits.
pub(super) fn word_or_table<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SchemeSpec>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<SchemeSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a scheme such as { hmac = \"sha256\", … }, or \"none\"")
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
            match word {
                "none" => Ok(Some(SchemeSpec { none: Some(true), ..SchemeSpec::default() })),
                "basic" => Ok(Some(SchemeSpec { basic: Some(true), ..SchemeSpec::default() })),
                _ => Err(E::custom(format!(
                    "`{word}` is not a scheme by itself: write \"none\", \"basic\", or a table such as {{ hmac = \"sha256\", … }}"
                ))),
            }
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            SchemeSpec::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// Reads a place, or a table with a place and a prefix.
fn place_or_table<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TokenSpec>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<TokenSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a place such as \"header:x-token\", or { from = …, prefix = … }")
        }

        fn visit_str<E: de::Error>(self, place: &str) -> Result<Self::Value, E> {
            Ok(Some(TokenSpec { from: place.to_owned(), prefix: String::new() }))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            TokenSpec::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Visitor)
}
