//! The handler itself, by librdkafka's idempotent producer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::time::timeout;

use super::KafkaSettings;
use crate::event::Event;
use crate::handler::broker::fields;
use crate::handler::trial::Draft;
use crate::handler::{Context, Handler, Outcome, Reply};

#[cfg(test)]
mod tests;

/// The part of a call's time for which an acknowledgement is waited.
const PART: f32 = 0.9;

/// How often the client looks for records whose time is over.
const SCAN: Duration = Duration::from_secs(1);

/// The most records that wait in the client; there is one a call.
const WAITING_MAX: u16 = 4096;

/// The most characters of what the client says that go into a cause.
const SAID_MAX: usize = 200;

type Producer = FutureProducer<Told>;

/// Publishes events to a topic.
pub struct KafkaHandler {
    settings: KafkaSettings,
    timeout: Duration,
    told: Told,
    /// Made by the first call; it connects again by itself.
    producer: Mutex<Option<Producer>>,
}

impl KafkaHandler {
    /// Connects to nothing yet. `timeout` is what one call may take.
    #[must_use]
    pub fn new(settings: &KafkaSettings, timeout: Duration) -> Self {
        Self {
            settings: settings.clone(),
            timeout,
            told: Told::default(),
            producer: Mutex::new(None),
        }
    }

    fn producer(&self) -> Result<Producer, KafkaError> {
        let mut shared = self.shared();
        if let Some(producer) = &*shared {
            return Ok(producer.clone());
        }
        // Not after its call has ended: what was called failed must not be sent later.
        let in_time = self.timeout.mul_f32(PART).saturating_sub(SCAN).max(self.timeout / 2);
        let producer: Producer = ClientConfig::new()
            .set("bootstrap.servers", self.settings.servers.as_str())
            .set("client.id", "hookonce")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", in_time.as_millis().max(1).to_string())
            // Calls wait for their record: nothing is gained by gathering them.
            .set("queue.buffering.max.ms", "0")
            .set("queue.buffering.max.messages", WAITING_MAX.to_string())
            // A topic that isn't there is to be told, not waited for.
            .set("topic.metadata.propagation.max.ms", "1000")
            .set("reconnect.backoff.max.ms", "1000")
            // As Kafka's own clients do, so that one key is in one partition whoever writes it.
            .set("partitioner", "murmur2_random")
            .create_with_context(self.told.clone())?;
        *shared = Some(producer.clone());
        Ok(producer)
    }

    fn shared(&self) -> MutexGuard<'_, Option<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn publish(&self, event: &Event, context: &Context) -> Result<Reply, Outcome> {
        let producer = self.producer().map_err(|error| self.failed(&error))?;
        let mut record = FutureRecord::<str, [u8]>::to(&self.settings.topic)
            .payload(&event.body[..])
            .headers(headers(event, context));
        if let Some(key) = self.key(context) {
            record = record.key(key);
        }
        let acknowledged = match producer.send_result(record) {
            Ok(acknowledged) => acknowledged,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                let why = "the record is larger than a million bytes, which Kafka takes by default";
                return Err(Outcome::reject(format!("{}: {why}", self.place())));
            }
            Err((error, _)) => return Err(self.failed(&error)),
        };
        match timeout(context.timeout.mul_f32(PART), acknowledged).await {
            Ok(Ok(Ok(delivery))) => {
                self.told.forget();
                let body = format!("partition {}, offset {}", delivery.partition, delivery.offset);
                Ok(Reply { body: Bytes::from(body), ..Reply::default() })
            }
            Ok(Ok(Err((error, _)))) => Err(self.failed(&error)),
            Ok(Err(_)) => Err(self.again("the client ended before it was acknowledged")),
            Err(_) => Err(self.unacknowledged()),
        }
    }

    fn key<'a>(&self, context: &'a Context) -> Option<&'a str> {
        context.lane.as_deref().filter(|_| self.settings.keyed)
    }

    fn failed(&self, error: &KafkaError) -> Outcome {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut) => self.unacknowledged(),
            Some(RDKafkaErrorCode::Fatal) => {
                // It can't number its records any more; the next call begins anew.
                *self.shared() = None;
                self.again("the client gave up: it begins anew")
            }
            Some(code) => self.again(&code.to_string()),
            None => self.again(&error.to_string()),
        }
    }

    fn unacknowledged(&self) -> Outcome {
        match self.told.last() {
            Some(last) => self.again(&format!("no acknowledgement in time ({last})")),
            None => self.again("no acknowledgement in time"),
        }
    }

    fn again(&self, why: &str) -> Outcome {
        Outcome::retry(format!("{}: {why}", self.place()))
    }

    /// Where records go, for causes.
    fn place(&self) -> String {
        format!("topic `{}` at {}", self.settings.topic, self.settings.servers.as_str())
    }
}

/// The facts, as they are.
fn headers(event: &Event, context: &Context) -> OwnedHeaders {
    fields(event, context).fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(&value) })
    })
}

#[async_trait::async_trait]
impl Handler for KafkaHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        match self.publish(event, context).await {
            Ok(reply) => Outcome::Delivered(reply),
            Err(outcome) => outcome,
        }
    }

    fn draft(&self, event: &Event, context: &Context) -> Option<Result<Draft, String>> {
        let key = self.key(context).map_or(String::new(), |key| format!(" key {key}"));
        let lines = fields(event, context);
        Some(Ok(Draft {
            method: Some("PRODUCE".to_owned()),
            url: Some(format!("{} {}{key}", self.settings.servers.as_str(), self.settings.topic)),
            headers: lines.map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.body.clone(),
            ..Draft::default()
        }))
    }
}

/// What the client says by itself: the last of it is why records aren't acknowledged.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<String>>>);

impl Told {
    fn held(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> Option<String> {
        self.held().clone()
    }

    fn forget(&self) {
        *self.held() = None;
    }
}

impl ClientContext for Told {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(kafka.facility = facility, kafka.log = text, "the client of Kafka");
    }

    fn error(&self, _: KafkaError, reason: &str) {
        *self.held() = Some(reason.chars().take(SAID_MAX).collect());
    }
}
