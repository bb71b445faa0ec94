//! The vocabulary of `key`: how a secret becomes a key, and where keys come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{DurationText, OneOrMore};

/// How a secret becomes a key, or where keys come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySpec {
    /// `utf8` when absent: the text's own bytes. Of several, each that the text allows is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<OneOrMore<KeyDecode>>,
    /// Prefixes of which the first that fits is taken off before decoding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip_prefix: Vec<String>,
    /// Which of the source's secrets, by position from 0; all when absent. For `all`, where a token
    /// and a key are two different secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<usize>>,
    /// Where the request names its key: `header:NAME`, `claim:NAME` (of a JSON Web Token that isn't
    /// verified yet), or `sig` (beside the signature). Secrets are written `id:key` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_id: Option<String>,
    /// Public keys in a JSON Web Key Set. Only while the source has no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwksSpec>,
    /// The public key of a certificate that the request names. Only while the source has no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509: Option<X509Spec>,
    /// A public key in PEM at a URL. Only while the source has no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem_url: Option<PemUrlSpec>,
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
    /// The 20 bytes of the text's SHA-1.
    Sha1Of,
    /// The text with `&amp;`, `&lt;`, `&gt;`, `&quot;` and `&#039;` unescaped.
    HtmlUnescape,
    /// A public key: `SubjectPublicKeyInfo` in base64, without armour.
    Spki,
    /// A public key in PEM.
    Pem,
}

/// Public keys in a JSON Web Key Set. Fetched over https without redirects, kept, and fetched again
/// for an id that isn't known, at most once a minute.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwksSpec {
    /// `https://…`; may hold `{param:X}`.
    pub url: String,
    /// Where one key is asked for by its id: the JSON to post, in which `{kid}` and `{param:X}` stand
    /// for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<String>,
    /// Where the key or the set lies in the answer; the whole answer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// How long the keys are good. `"1h"` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<DurationText>,
}

/// The public key of a certificate that the request names. The certificate must be valid, be one for
/// a name under the written end of `hosts`, and lead to a root; it is kept until it expires.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct X509Spec {
    /// Where the URL of the certificate stands.
    pub url_from: String,
    /// Hosts that it may be fetched from: `*` stands for one or more labels, such as `*.paypal.com`,
    /// or inside of one label for some of it, such as `sns.us-*.amazonaws.com`.
    pub hosts: Vec<String>,
    /// Names that it may be for, written as hosts are. Those of `hosts` when absent: a provider may sign by
    /// a certificate that isn't the one of the host where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Paths that it may be fetched from: `*` stands for one or more characters of one segment, such as
    /// `/v1/certs/*`. Any plain path when absent: then every file on those hosts is trusted alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Whether a certificate may come without those that lead from it to a root. What makes it the
    /// provider's is then the host that it came from, and its name. False when absent.
    #[serde(default)]
    pub without_chain: bool,
}

/// A public key in PEM at a URL.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PemUrlSpec {
    /// `https://…`; may hold `{param:X}`.
    pub url: String,
    /// Where it lies in a JSON answer; the whole answer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// How long the key is good. `"1h"` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<DurationText>,
}
