//! Events as messages of a broker: the body as it is, the facts beside it.

use super::{Context, facts};
use crate::event::Event;

pub mod amqp;
pub mod kafka;
pub mod nats;
pub mod redis;

pub use amqp::{AMQP_NAME_BYTES_MAX, AmqpServer, AmqpSettings};
pub use kafka::{KafkaServers, KafkaSettings};
pub use nats::{NatsServers, NatsSettings};
pub use redis::RedisStreamSettings;

/// What a consumer needs to know of an event and its delivery, by the names of an HTTP call's headers.
fn fields(event: &Event, context: &Context) -> impl Iterator<Item = (&'static str, String)> {
    let kind = ("content-type", event.content_type().to_owned());
    facts::facts(event, context).chain([kind])
}
