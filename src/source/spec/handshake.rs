//! The vocabulary of `handshake`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request that is answered and not recorded. Of several that a request could be, it is the first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// Which requests it is for; everything must hold.
    #[serde(rename = "match")]
    pub when: MatchSpec,
    /// Whether it must pass the source's scheme first. True unless written out.
    #[serde(default = "yes")]
    pub signed: bool,
    /// It is signed by this secret in place of the source's own: one that the provider publishes, to
    /// try an address before the real secret exists. Proves nothing, so nothing is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Places and the values that must stand there, compared in constant time, such as
    /// `"query:hub.verify_token" = "{param:verify_token}"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub check: BTreeMap<String, String>,
    /// The status when `check` fails, or when `callout` names a URL that may not be called. 403 when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse: Option<u16>,
    /// Where the secret stands that the source will verify with from now on. Kept in the database, and
    /// checked as a configured one is. Only with `only_while = "pending"` and `signed = false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_secret: Option<String>,
    /// The state of the source in which it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_while: Option<SourceState>,
    /// A URL that the request names, and that must be fetched for the address to be confirmed. Only of
    /// a signed request. What can't be fetched is answered 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callout: Option<CalloutSpec>,
    /// The answer.
    pub reply: HandshakeReplySpec,
}

fn yes() -> bool {
    true
}

/// The state of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// It has no secret yet.
    Pending,
}

/// A URL that a request names. Fetched once by GET over https, from these hosts only, without
/// redirects, and its answer is not looked at beyond its status.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalloutSpec {
    /// Where it stands.
    pub url_from: String,
    /// Hosts that it may be fetched from. A leading `*.` stands for one or more labels; elsewhere a `*`
    /// stands for some characters of one label: `sns.us-*.amazonaws.com`.
    pub hosts: Vec<String>,
}

/// What a handshake looks like. A value of `"*"` means "is there, whatever it says", and one of
/// `"*hex{20,32}"` "is there, and is so many hex digits in lower case".
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSpec {
    /// The method; any allowed one when absent. One that isn't among the source's `methods` is taken
    /// for this handshake only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A path of its own, outside of the source's: only this handshake is taken there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Query parameters and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Fields of a form body and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub form: BTreeMap<String, String>,
    /// JSON pointers into the body and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, String>,
    /// Places in which nothing may stand, such as `header:x-signature`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
}

/// The answer to a handshake.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandshakeReplySpec {
    /// 200 when absent.
    #[serde(default = "ok")]
    pub status: u16,
    /// `text/plain` when absent, or nothing where there is no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Further headers; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A template; `{{` and `}}` stand for braces. Its values are `{body}` (whole), `{query.x}`,
    /// `{header.x}`, `{form.x}`, `{body./x}`, `{param.x}` and `{key_id}` (of the first secret that is
    /// written `id:key`). Behind `json:` it is a JSON text, in quotes, and in a JSON answer nothing
    /// else but `{body}` alone may stand; behind `hmac:sha256:hex:` (or `sha1`, `sha384`, `sha512`;
    /// `base64`, `base64url`) its MAC by the source's first secret, and behind `sha256:hex:` its hash.
    /// An unsigned handshake has only what looks like a challenge signed: up to 64 letters, digits
    /// and `-_=+/.`.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}
