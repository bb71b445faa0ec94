//! Idempotency keys, as the API and the command line show them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::received::Headers;
use crate::store::idempotency::{KeyItem, key_version};

/// An idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdempotencyKeyItem {
    /// Whose: the gateway's name and a hash of the principal.
    pub scope: String,
    /// The client's key.
    pub key: String,
    /// `processing`, `completed`, `failed` (released: may run again) or `uncertain`.
    pub status: String,
    /// Another word as soon as the key is run, answered or released: to be given back with a release.
    #[serde(default)]
    pub version: String,
    /// How many runs began.
    pub attempts: i32,
    /// SHA-256 of what was asked for, in hex.
    pub request_hash: String,
    /// When the first run began.
    pub created_at: DateTime<Utc>,
    /// When the answer came.
    pub completed_at: Option<DateTime<Utc>>,
    /// From then on the key means nothing.
    pub expires_at: DateTime<Utc>,
    /// Until when a run is held for alive.
    pub lease_until: Option<DateTime<Utc>>,
    /// The phase that a handler reached.
    pub recovery_point: Option<String>,
    /// The answer's HTTP status.
    pub response_status: Option<i32>,
    /// The headers that a replay carries.
    pub response_headers: Vec<(String, String)>,
    /// Why it was released or is uncertain, or what was not kept.
    pub failure: Option<String>,
    /// Only when it was asked for: the answer's body, bytes that aren't UTF-8 replaced.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response_body: Option<String>,
}

/// Body of `POST idempotency-keys/release`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseKey {
    /// Whose.
    pub scope: String,
    /// Which.
    pub key: String,
    /// Only while it is in this version; whatever it is when there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
}

impl From<KeyItem> for IdempotencyKeyItem {
    fn from(it: KeyItem) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = Headers::from_bytes(it.response_headers.as_deref().unwrap_or_default());
        Self {
            version: key_version(&it),
            scope: it.scope,
            key: it.key,
            status: it.status,
            attempts: it.attempts,
            request_hash: hex::encode(it.request_hash),
            created_at: it.created_at,
            completed_at: it.completed_at,
            expires_at: it.expires_at,
            lease_until: it.lease_until,
            recovery_point: it.recovery_point,
            response_status: it.response_status,
            response_headers: headers
                .iter()
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect(),
            failure: it.failure,
            response_body: it.response_body.as_deref().map(text),
        }
    }
}
