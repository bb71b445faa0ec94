//! Entries of a Redis stream: added once for each delivery, as long as Redis remembers.
//!
//! A stream has no memory of what was added. A key beside it has, for a while: the two are written by one
//! script, which Redis runs whole or not at all. So a repeat after a lost answer finds the first entry.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, RedisError, cmd};
use bytes::Bytes;
use tokio::sync::Mutex;

use super::fields;
use crate::event::Event;
use crate::handler::trial::Draft;
use crate::handler::{Context, Handler, Outcome, Reply};
use crate::redis_address::{RedisAddress, kind_of};

/// For a connection, its handshakes included, unless the call has less time.
const CONNECT: Duration = Duration::from_secs(5);

/// The part of a call's time for which an answer is waited.
const PART: f32 = 0.9;

/// KEYS: the stream, the memory of this delivery. ARGV: the stream's bound, how long the memory lasts in
/// ms, then fields and values. Answers the entry's id, and 1 when it was there before.
const ADD: &str = "local id = redis.call('GET', KEYS[2])
if id then return {id, 1} end
id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], id, 'PX', ARGV[2])
return {id, 0}";

/// A stream of the operator's.
#[derive(Debug, Clone)]
pub struct RedisStreamSettings {
    /// Where Redis is.
    pub server: RedisAddress,
    /// The stream's name.
    pub stream: String,
    /// About how many entries it keeps; older ones go.
    pub max_len: u64,
    /// How long a delivery's repeat adds nothing.
    pub remember: Duration,
}

/// Adds events to a stream.
pub struct RedisStreamHandler {
    settings: RedisStreamSettings,
    client: Client,
    /// Made by the first call, shared by all, made anew after it failed.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStreamHandler {
    /// Connects to nothing yet. Fails when the address is none.
    pub fn new(settings: &RedisStreamSettings) -> Result<Self, String> {
        let client = Client::open(settings.server.url())
            .map_err(|error| format!("`redis.server`: {:?}", error.kind()))?;
        Ok(Self { settings: settings.clone(), client, connection: Mutex::new(None) })
    }

    async fn connection(&self, patience: Duration) -> Result<MultiplexedConnection, String> {
        let mut shared = self.connection.lock().await;
        if let Some(connection) = &*shared {
            return Ok(connection.clone());
        }
        let patience = patience.min(CONNECT);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            // Each call has a deadline of its own.
            .set_response_timeout(None);
        let made = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = match tokio::time::timeout(patience, made).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(said(&error)),
            Err(_) => return Err("no connection in time".to_owned()),
        };
        *shared = Some(connection.clone());
        Ok(connection)
    }

    async fn add(&self, event: &Event, context: &Context) -> Result<(String, bool), String> {
        let RedisStreamSettings { stream, max_len, remember, .. } = &self.settings;
        let mut connection = self.connection(context.timeout).await?;
        // In braces: where keys are spread over servers, both go to the same one.
        let memory = format!("hookonce:{{{stream}}}:{}", context.delivery);
        let remember = u64::try_from(remember.as_millis()).unwrap_or(u64::MAX);
        let mut add = cmd("EVAL");
        add.arg(ADD).arg(2).arg(stream).arg(memory).arg(*max_len).arg(remember);
        for (name, value) in fields(event, context) {
            add.arg(name).arg(value);
        }
        add.arg("body").arg(&event.body[..]);
        let adding = add.query_async::<(String, i64)>(&mut connection);
        // Before the call is cut off at its own deadline: a connection that has fallen silent must not be kept.
        match tokio::time::timeout(context.timeout.mul_f32(PART), adding).await {
            Ok(Ok((id, repeated))) => Ok((id, repeated == 1)),
            Err(_) => {
                *self.connection.lock().await = None;
                Err("no answer in time".to_owned())
            }
            Ok(Err(error)) => {
                if error.is_io_error() || error.is_unrecoverable_error() {
                    *self.connection.lock().await = None;
                }
                Err(said(&error))
            }
        }
    }
}

/// What Redis says, which never holds the password; a body it does not repeat.
fn said(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => {
            format!("{:?}: {}", error.kind(), detail.chars().take(200).collect::<String>())
        }
        None => kind_of(error),
    }
}

#[async_trait::async_trait]
impl Handler for RedisStreamHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        match self.add(event, context).await {
            Ok((id, repeated)) => Outcome::Delivered(Reply {
                body: Bytes::from(if repeated { format!("{id}, added before") } else { id }),
                ..Reply::default()
            }),
            Err(why) => Outcome::retry(format!(
                "stream `{}` at {}: {why}",
                self.settings.stream, self.settings.server
            )),
        }
    }

    fn draft(&self, event: &Event, context: &Context) -> Option<Result<Draft, String>> {
        let fields = fields(event, context);
        Some(Ok(Draft {
            method: Some("XADD".to_owned()),
            url: Some(format!("{} {}", self.settings.server, self.settings.stream)),
            headers: fields.map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.body.clone(),
            ..Draft::default()
        }))
    }
}

/// Makes one as a shared handler.
pub(crate) fn shared(settings: &RedisStreamSettings) -> Result<Arc<dyn Handler>, String> {
    Ok(Arc::new(RedisStreamHandler::new(settings)?))
}
