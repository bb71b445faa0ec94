//! What the store's tests are made of: verified events, and short words for common steps.

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use entity::{Name, TryOutcome};
use hookonce::received::{Headers, Received};
use hookonce::source::spec::SourceSpec;
use hookonce::source::{Admitted, Source, SourceSettings};
use hookonce::store::claim::Room;
use hookonce::store::{
    AttemptRecord, Claimed, NewDelivery, NewEvent, Recorded, Settlement, Store, StoreError, Verdict,
};
use hookonce::verify::Verified;
use uuid::Uuid;

pub const DAY: Duration = Duration::from_secs(86_400);
pub const LEASE: Duration = Duration::from_secs(30);

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A source that accepts everything: what is recorded is the subject here, not who signed it.
pub fn source(name_text: &str) -> Source {
    let spec: SourceSpec = toml::from_str(
        "verify = \"none\"\nevent = { id = \"header:x-id\", type = \"header:x-type\" }\n",
    )
    .unwrap();
    Source::compile(SourceSettings {
        secrets: Vec::new(),
        max_body: 16 * 1024 * 1024,
        ..SourceSettings::new(name(name_text), spec)
    })
    .unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A request as it came.
pub fn received(headers: &[(&str, &[u8])], body: &[u8]) -> Received {
    let mut lines = Headers::new();
    for (name, value) in headers {
        lines.push(name, Bytes::copy_from_slice(value));
    }
    Received {
        method: "POST".to_owned(),
        target: "/in/shop".to_owned(),
        headers: lines,
        body: Bytes::copy_from_slice(body),
        peer: None,
        arrived_at: Utc::now(),
    }
}

pub fn verified(source: &Source, received: Received) -> Verified {
    match source.admit(received, Utc::now()) {
        Ok(Admitted::Event(verified)) => verified,
        other => panic!("not admitted: {other:?}"),
    }
}

/// An event of the source `shop`.
pub fn event(id: &str, body: &[u8], handlers: &[&str]) -> NewEvent {
    event_of("shop", id, body, handlers)
}

pub fn event_of(from: &str, id: &str, body: &[u8], handlers: &[&str]) -> NewEvent {
    let request = received(&[("x-id", id.as_bytes()), ("x-type", b"order.paid")], body);
    NewEvent {
        id: Uuid::now_v7(),
        verified: verified(&source(from), request),
        deliveries: handlers.iter().map(|handler| NewDelivery::pending(name(handler))).collect(),
        keys: 35 * DAY,
        bodies: 30 * DAY,
    }
}

pub async fn record(store: &Store, event: NewEvent) -> Recorded {
    try_record(store, event).await.unwrap()
}

pub async fn try_record(store: &Store, event: NewEvent) -> Result<Recorded, StoreError> {
    store.record_batch(vec![event]).await.pop().unwrap()
}

/// Records an event that is new and returns our id.
pub async fn fresh(store: &Store, event: NewEvent) -> Uuid {
    match record(store, event).await {
        Recorded::Fresh { event, .. } => event,
        other => panic!("not fresh: {other:?}"),
    }
}

pub fn room(handler: &str, free: u32) -> Room {
    Room { handler: name(handler), free, lease: LEASE }
}

pub async fn claim(store: &Store, handler: &str, free: u32) -> Vec<Claimed> {
    store.claim("worker-1", vec![room(handler, free)]).await.unwrap()
}

pub async fn claim_one(store: &Store, handler: &str) -> Claimed {
    let mut claims = claim(store, handler, 1).await;
    assert_eq!(claims.len(), 1, "one delivery is due");
    claims.pop().unwrap()
}

pub fn settlement(claim: &Claimed, verdict: Verdict, outcome: TryOutcome) -> Settlement {
    Settlement {
        delivery: claim.delivery,
        epoch: claim.epoch,
        verdict,
        attempt: AttemptRecord {
            n: claim.attempt,
            duration: Duration::from_millis(12),
            outcome,
            status: Some(200),
            error: None,
            response: Some(Bytes::from_static(b"ok")),
            content_type: None,
        },
    }
}

/// A dead delivery, and its event.
pub async fn dead(store: &Store, id: &str, handler: &str) -> (Uuid, Uuid) {
    let event = fresh(store, event(id, b"{}", &[handler])).await;
    let claim = claim_one(store, handler).await;
    let verdict = Verdict::Dead { cause: "no".to_owned() };
    settle(store, settlement(&claim, verdict, TryOutcome::Reject)).await;
    (event, claim.delivery)
}

/// A delivered delivery, and its event.
pub async fn delivered(store: &Store, id: &str, handler: &str) -> (Uuid, Uuid) {
    let event = fresh(store, event(id, b"{}", &[handler])).await;
    let claim = claim_one(store, handler).await;
    settle(store, settlement(&claim, Verdict::Delivered, TryOutcome::Delivered)).await;
    (event, claim.delivery)
}

pub async fn settle(store: &Store, settlement: Settlement) {
    let settled = store.settle_batch(vec![settlement]).await.pop().unwrap().unwrap();
    assert_eq!(settled, hookonce::store::Settled::Done);
}
