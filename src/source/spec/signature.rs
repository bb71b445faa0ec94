//! The vocabulary of `signature` and `timestamp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{DurationText, OneOrMore};

/// Where the signature is, and how it is written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureSpec {
    /// `header:NAME`, `query:NAME`, `form:NAME` or `body:/pointer`. A header's name may end with `*`:
    /// every header that begins so holds a signature.
    pub from: String,
    /// Whether its header may stand more than once. `one` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
    /// `hex` when absent. Of several, the first that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<OneOrMore<Encoding>>,
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
}

/// What stands around the signature's bytes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrammarSpec {
    /// One signature after an optional prefix: `sha256=…`.
    Plain(PlainSpec),
    /// Several, of which those with the tag count: `v1,… v1,…`.
    List(ListSpec),
    /// Named values: `t=…,v1=…`. White space around a part is passed over.
    Kv(KvSpec),
    /// The timestamp first, then signatures: `1700000000000,…,…`.
    Positional(PositionalSpec),
    /// Several, each beside the id of its key: `id|…&id|…`. Needs `key.by_id = "sig"`.
    Keyed(KeyedSpec),
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

/// The timestamp first, then signatures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionalSpec {
    /// Between two of them.
    pub sep: String,
}

/// Several signatures, each beside the id of its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyedSpec {
    /// Between two of them.
    pub sep: String,
    /// Between an id and its signature.
    pub by: String,
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
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Seconds or milliseconds since 1970, told apart by their size.
    SOrMs,
    /// RFC 3339.
    Rfc3339,
}
