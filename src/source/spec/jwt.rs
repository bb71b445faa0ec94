//! The vocabulary of `jwt`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{DurationText, Texts};

/// A JSON Web Token: its algorithm is pinned here, and what its header says of keys is never followed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtSpec {
    /// The algorithms that are accepted.
    pub algs: Vec<JwtAlg>,
    /// Where the token stands. `header:authorization` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What stands before it, in any case, such as `"Bearer "`; nothing when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The issuers that are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<Texts>,
    /// The audience, one of which the token must name; may hold `{url}` and `{param:X}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Texts>,
    /// Claims that must be there with these values; may hold `{param:X}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// The times that must be there. Each that is there is judged, whether it must be or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<TimeClaim>,
    /// How old `iat` may be; not judged by age when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationText>,
    /// By how much clocks may differ. `"5s"` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leeway: Option<DurationText>,
    /// The claim that holds the SHA-256 of the registered URL with the request's query, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_digest: Option<String>,
    /// The claim that holds Atlassian's hash of method, path and sorted query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_digest: Option<String>,
}

/// An algorithm of a JSON Web Token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlg {
    /// HMAC-SHA256.
    HS256,
    /// HMAC-SHA384.
    HS384,
    /// HMAC-SHA512.
    HS512,
    /// RSA, PKCS #1 v1.5, SHA-256.
    RS256,
    /// ECDSA, P-256, SHA-256.
    ES256,
}

/// A time in a JSON Web Token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeClaim {
    /// Good until.
    Exp,
    /// Good from.
    Nbf,
    /// Issued at.
    Iat,
}
