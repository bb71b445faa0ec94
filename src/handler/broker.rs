//! Events as messages of a broker: the body as it is, the facts beside it.

use crate::event::Event;
use crate::handler::Context;

pub mod nats;
pub mod redis;

pub use nats::{NatsServers, NatsSettings};
pub use redis::RedisStreamSettings;

/// What a consumer needs to know of an event and its delivery, by the names of an HTTP call's headers.
fn facts(event: &Event, context: &Context) -> Vec<(&'static str, String)> {
    let delivery = context.delivery.to_string();
    vec![
        ("webhook-id", delivery.clone()),
        ("idempotency-key", delivery),
        ("hookonce-source", event.source.to_string()),
        ("hookonce-event", event.id.to_string()),
        ("hookonce-event-id", event.event_id.clone()),
        ("hookonce-event-type", event.kind.clone()),
        ("hookonce-attempt", context.attempt.to_string()),
        ("hookonce-epoch", context.epoch.to_string()),
        ("content-type", event.content_type().to_owned()),
    ]
}
