//! `[gateways.*]`: Idempotency-Key in front of any API.

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::config::secrets::TextOrSecret;
use crate::config::value::{Bytes, Names, Span, Text};

/// Idempotency-Key in front of any API: the same request under the same key runs once.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileGateway {
    /// What it serves on the public listener: this path and all below it. Required.
    pub(crate) path: Option<String>,
    /// Scheme, host and port of the service. Path and query pass unchanged. Required.
    pub(crate) upstream: Option<Text<Url>>,
    /// The methods that are protected. Default POST and PATCH.
    pub(crate) methods: Option<Names>,
    /// Whether a protected request without a key is refused. Default required.
    pub(crate) key: Option<FileKey>,
    /// Whose key it is: `header:` and a name, or `claim:` and a claim of the bearer token (a name, or a
    /// JSON pointer), which is verified first. Default header:authorization.
    pub(crate) scope: Option<String>,
    /// Where the issuer of the tokens publishes its keys, over https. Required with `claim:`.
    pub(crate) jwks: Option<Text<Url>>,
    /// The issuers (`iss`), one of which a token must name. Default any that signs by these keys.
    pub(crate) issuer: Option<Names>,
    /// The audiences (`aud`), one of which a token must name. Default any.
    pub(crate) audience: Option<Names>,
    /// The algorithms that a token may be signed by. Default RS256, PS256, ES256 and EdDSA, which are all.
    pub(crate) algorithms: Option<Names>,
    /// From the first request with a key until it means nothing again. Default 24h.
    pub(crate) ttl: Option<Span>,
    /// How long a run is held for alive without a sign of life. Default 60s.
    pub(crate) lease: Option<Span>,
    /// After a 5xx, or no answer, once the request was sent. Default keep.
    pub(crate) on_unknown: Option<FileOnUnknown>,
    /// For the whole answer of the service. Default 30s.
    pub(crate) timeout: Option<Span>,
    /// How long a retry waits for the run before it gets a 409. Default 0s.
    pub(crate) wait: Option<Span>,
    /// Run requests unguarded while the database is away. Default false: 503.
    pub(crate) fail_open: bool,
    /// What of a body is compared: bytes, json, or a list of JSON pointers. Default bytes.
    pub(crate) compare: Option<Names>,
    /// The largest body of a protected request. Default the server's.
    pub(crate) max_body: Option<Text<Bytes>>,
    /// The largest answer that is kept for retries. Default 1 MiB.
    pub(crate) max_answer: Option<Text<Bytes>>,
    /// Headers of an answer that are kept beside the usual ones.
    pub(crate) keep_headers: Option<Names>,
    /// A Redis that is asked for completed answers before the database: redis:// or rediss://. Default none.
    pub(crate) cache: Option<TextOrSecret>,
}

/// Whether a protected request without a key is refused.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileKey {
    /// 400.
    Required,
    /// It is passed on unguarded.
    Optional,
}

/// What to do when nobody knows whether a request was run.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileOnUnknown {
    /// The answer that came is the answer; with none, as conflict.
    Keep,
    /// Retries get a 409 until an operator releases the key.
    Conflict,
    /// The next request runs again: only where running twice does no harm.
    Rerun,
}
