//! Events and contexts for the tests of this room.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use entity::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Context;
use crate::event::Event;
use crate::received::Headers;

/// A Stripe event with this body.
pub(super) fn event(body: &'static [u8]) -> Event {
    let mut headers = Headers::new();
    headers.push("content-type", "application/json; charset=utf-8");
    Event {
        id: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        source: Name::new("stripe").expect("a name"),
        event_id: "evt_1".to_owned(),
        kind: "invoice.paid".to_owned(),
        received_at: DateTime::from_timestamp(1_764_000_000, 0).expect("a time"),
        headers,
        body: Bytes::from_static(body),
    }
}

/// The first try of a delivery, with a long deadline.
pub(super) fn context() -> Context {
    Context {
        delivery: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002),
        handler: Name::new("billing").expect("a name"),
        lane: None,
        attempt: 1,
        epoch: 1,
        stale: false,
        keep: super::RESPONSE_BYTES_MAX,
        timeout: Duration::from_secs(20),
        cancelled: CancellationToken::new(),
    }
}
