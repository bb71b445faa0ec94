//! What a handler is given.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use entity::Name;
use uuid::Uuid;

use crate::received::Headers;

/// One authentic thing from a provider, as it was stored.
#[derive(Clone, Debug)]
pub struct Event {
    /// Ours, UUIDv7.
    pub id: Uuid,
    /// The configured source.
    pub source: Name,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type.
    pub kind: String,
    /// Database time of recording.
    pub received_at: DateTime<Utc>,
    /// As received.
    pub headers: Headers,
    /// The exact bytes that were verified.
    pub body: Bytes,
}

impl Event {
    /// The body's content type as sent, or `application/octet-stream`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.headers
            .all("content-type")
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or("application/octet-stream")
    }
}
