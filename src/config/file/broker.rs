//! What the file may say of brokers: where events go as messages.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::secrets::TextOrSecret;
use crate::config::value::Span;

/// An exchange of a RabbitMQ of the operator's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { server = \"amqp://…\", routing_key = \"events\" }"
)]
pub(crate) struct FileAmqp {
    /// `amqp://user:password@host:5672/vhost` or `amqps://…`, or where to read it. Required.
    pub(crate) server: Option<TextOrSecret>,
    /// The exchange. Default the one without a name, where the routing key is the queue's name.
    pub(crate) exchange: Option<String>,
    /// By which the exchange finds queues. Required without `exchange`, else empty by default.
    pub(crate) routing_key: Option<String>,
}

/// A Kafka topic of the operator's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { server = \"kafka:9092\", topic = \"events\" }"
)]
pub(crate) struct FileKafka {
    /// `host:port`, several with commas between, or where to read them. Required.
    pub(crate) server: Option<TextOrSecret>,
    /// The topic's name. Required.
    pub(crate) topic: Option<String>,
    /// What a record's key is. Default none.
    pub(crate) key: Option<FileKafkaKey>,
}

/// What a record's key is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileKafkaKey {
    /// The delivery's lane: of one lane all records are in one partition, in their order.
    Lane,
}

/// A NATS subject of the operator's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { server = \"nats://…\", subject = \"events\" }"
)]
pub(crate) struct FileNats {
    /// `nats://…` or `tls://…`, several with commas between, or where to read them. Required.
    pub(crate) server: Option<TextOrSecret>,
    /// The subject; a stream must take it. Required.
    pub(crate) subject: Option<String>,
}

/// A Redis stream of the operator's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { server = \"redis://…\", stream = \"events\" }"
)]
pub(crate) struct FileRedis {
    /// `redis://…` or `rediss://…`, or where to read it. Required.
    pub(crate) server: Option<TextOrSecret>,
    /// The stream's name. Required.
    pub(crate) stream: Option<String>,
    /// About how many entries it keeps. Default 1000000.
    pub(crate) max_len: Option<u64>,
    /// How long a delivery's repeat adds nothing. Default 7d.
    pub(crate) remember: Option<Span>,
}
