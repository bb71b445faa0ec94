//! Messages of RabbitMQ (AMQP 0-9-1): persistent, routed to a queue, and confirmed by the server.
//!
//! RabbitMQ has no memory of what was published: a repeat after a lost confirm is a second message. Both
//! have the delivery's id, by which a consumer knows the repeat.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::fields;
use crate::event::Event;
use crate::handler::trial::Draft;
use crate::handler::{Context, Handler, Outcome};

mod link;
mod server;

use link::{Failure, Link};
pub use server::AmqpServer;

/// For a connection, its handshakes included, unless the call has less time.
const CONNECT: Duration = Duration::from_secs(5);

/// The part of a call's time for which a connection and the confirm are waited.
const PART: f32 = 0.9;

/// AMQP's own number for a message that is written to disk.
const PERSISTENT: u8 = 2;

/// The most bytes of an exchange's name and of a routing key.
pub const AMQP_NAME_BYTES_MAX: usize = 255;

/// An exchange of the operator's, and a key for its messages.
#[derive(Debug, Clone)]
pub struct AmqpSettings {
    /// Where RabbitMQ is.
    pub server: AmqpServer,
    /// The exchange; empty is the default one, which routes to the queue that the key names.
    pub exchange: String,
    /// By which the exchange finds queues.
    pub routing_key: String,
}

/// Publishes events to an exchange.
pub struct AmqpHandler {
    settings: AmqpSettings,
    exchange: ShortString,
    routing_key: ShortString,
    /// Made by the first call, shared by all, made anew once it is down.
    link: Mutex<Option<Arc<Link>>>,
}

impl AmqpHandler {
    /// Connects to nothing yet. Fails when a name is longer than [`AMQP_NAME_BYTES_MAX`].
    pub fn new(settings: &AmqpSettings) -> Result<Self, String> {
        let short = |key: &str, text: &str| {
            ShortString::try_new(text).map_err(|why| format!("`amqp.{key}`: {why}"))
        };
        Ok(Self {
            exchange: short("exchange", &settings.exchange)?,
            routing_key: short("routing_key", &settings.routing_key)?,
            settings: settings.clone(),
            link: Mutex::new(None),
        })
    }

    async fn link(&self, deadline: Instant) -> Result<Arc<Link>, String> {
        let mut shared = self.link.lock().await;
        if let Some(link) = &*shared
            && link.is_up()
        {
            return Ok(Arc::clone(link));
        }
        *shared = None;
        let patience = deadline.saturating_duration_since(Instant::now()).min(CONNECT);
        let link = Arc::new(Link::open(&self.settings.server, patience).await?);
        *shared = Some(Arc::clone(&link));
        Ok(link)
    }

    async fn publish(&self, event: &Event, context: &Context) -> Result<(), Failure> {
        // Before the call is cut off at its own deadline: a connection that fell silent must not be kept.
        let deadline = Instant::now() + context.timeout.mul_f32(PART);
        let link = match timeout_at(deadline, self.link(deadline)).await {
            Ok(link) => link.map_err(Failure::Again)?,
            Err(_) => return Err(Failure::Again("no connection in time".to_owned())),
        };
        let publishing = link.publish(
            &self.exchange,
            &self.routing_key,
            &event.body,
            properties(event, context),
        );
        match timeout_at(deadline, publishing).await {
            Ok(published) => published,
            Err(_) => {
                // With it goes what waits in it: nothing may be sent after the call was called failed.
                link.cut();
                Err(Failure::Again("no confirm in time".to_owned()))
            }
        }
    }

    /// Where messages go, for causes.
    fn place(&self) -> String {
        let AmqpSettings { server, exchange, routing_key } = &self.settings;
        match exchange.as_str() {
            "" => format!("queue `{routing_key}` at {}", server.shown()),
            _ => format!("exchange `{exchange}`, key `{routing_key}` at {}", server.shown()),
        }
    }
}

/// The delivery's id, by which a consumer knows a repeat; the facts as headers.
fn properties(event: &Event, context: &Context) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in fields(event, context) {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(context.delivery.to_string().into())
        .with_timestamp(u64::try_from(event.received_at.timestamp()).unwrap_or_default())
        .with_headers(headers);
    // One that is longer than a property can be stands in the headers only.
    match ShortString::try_new(event.content_type()) {
        Ok(content_type) => properties.with_content_type(content_type),
        Err(_) => properties,
    }
}

#[async_trait::async_trait]
impl Handler for AmqpHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        match self.publish(event, context).await {
            Ok(()) => Outcome::done(),
            Err(Failure::Again(why)) => Outcome::retry(format!("{}: {why}", self.place())),
            Err(Failure::Never(why)) => Outcome::reject(format!("{}: {why}", self.place())),
        }
    }

    fn draft(&self, event: &Event, context: &Context) -> Option<Result<Draft, String>> {
        let AmqpSettings { server, exchange, routing_key } = &self.settings;
        let lines = fields(event, context);
        Some(Ok(Draft {
            method: Some("PUBLISH".to_owned()),
            url: Some(match exchange.as_str() {
                "" => format!("{} {routing_key}", server.shown()),
                _ => format!("{} {exchange} {routing_key}", server.shown()),
            }),
            headers: lines.map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.body.clone(),
            ..Draft::default()
        }))
    }
}

/// Makes one as a shared handler.
pub(crate) fn shared(settings: &AmqpSettings) -> Result<Arc<dyn Handler>, String> {
    Ok(Arc::new(AmqpHandler::new(settings)?))
}
