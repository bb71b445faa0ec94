//! The connection to Redis: no request ever waits for one to be made, and what fails is left alone for a second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, cmd};
use tokio::time::Instant;

use super::RedisAddress;
use crate::redis_address::kind_of;

/// How long a request waits for Redis before it asks the database.
const ANSWER: Duration = Duration::from_millis(50);
/// The same where nobody waits.
const FILL: Duration = Duration::from_millis(250);
/// For a connection, its handshakes included.
const CONNECT: Duration = Duration::from_secs(1);
/// How long Redis isn't asked after it failed.
const REST: Duration = Duration::from_secs(1);

/// Why there is no word from Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silent {
    /// It wasn't asked: it failed a moment ago, or there is no connection yet.
    Rests,
    /// It failed just now.
    Failed,
}

/// One connection, shared by all who ask.
pub(super) struct Wire {
    client: Option<Client>,
    shown: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    connecting: bool,
    rests_until: Option<Instant>,
    /// Said once, until it works again.
    complained: bool,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("to", &self.shown).finish_non_exhaustive()
    }
}

impl Wire {
    /// Begins to connect. Must be called on a runtime.
    pub(super) fn new(address: &RedisAddress) -> Self {
        // An address was parsed by the same reader, so there is a client.
        let client = Client::open(address.url()).ok();
        let wire = Self { client, shown: address.to_string(), state: Arc::default() };
        wire.connect(&mut lock(&wire.state));
        wire
    }

    /// A value of at most `most` bytes, and at most one byte more of a larger one; `None` when there is none.
    pub(super) async fn get(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, Silent> {
        let mut get = cmd("GETRANGE");
        get.arg(name).arg(0).arg(most);
        let bytes: Vec<u8> = self.ask(&get, ANSWER).await?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Sets a value that goes by itself.
    pub(super) async fn set(&self, name: &str, value: &[u8], goes: Duration) -> Result<(), Silent> {
        let mut set = cmd("SET");
        set.arg(name).arg(value).arg("PX").arg(u64::try_from(goes.as_millis()).unwrap_or(u64::MAX));
        self.ask(&set, FILL).await
    }

    async fn ask<T: FromRedisValue>(&self, asked: &Cmd, patience: Duration) -> Result<T, Silent> {
        let mut connection = self.connection().ok_or(Silent::Rests)?;
        let why = match tokio::time::timeout(patience, asked.query_async(&mut connection)).await {
            Ok(Ok(value)) => {
                return Ok(value);
            }
            Ok(Err(error)) => kind_of(&error),
            Err(_) => format!("no answer in {patience:?}"),
        };
        self.failed(&why);
        Err(Silent::Failed)
    }

    /// The connection, unless it rests. Whoever comes first after a rest begins to make a new one.
    fn connection(&self) -> Option<MultiplexedConnection> {
        let mut state = lock(&self.state);
        if state.rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        if state.connection.is_none() {
            self.connect(&mut state);
        }
        state.connection.clone()
    }

    fn failed(&self, why: &str) {
        failed(&mut lock(&self.state), &self.shown, why);
    }

    fn connect(&self, state: &mut State) {
        let Some(client) = self.client.clone().filter(|_| !state.connecting) else { return };
        state.connecting = true;
        let (shared, shown) = (Arc::clone(&self.state), self.shown.clone());
        tokio::spawn(async move {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(Some(FILL));
            let made = client.get_multiplexed_async_connection_with_config(&config);
            let made = tokio::time::timeout(CONNECT, made).await;
            let mut state = lock(&shared);
            state.connecting = false;
            match made {
                Ok(Ok(connection)) => {
                    if state.complained {
                        tracing::info!(cache = shown, "the cache of answers is back");
                    }
                    *state = State { connection: Some(connection), ..State::default() };
                }
                Ok(Err(error)) => {
                    failed(&mut state, &shown, &format!("can't connect: {}", kind_of(&error)));
                }
                Err(_) => failed(&mut state, &shown, "can't connect in time"),
            }
        });
    }
}

fn failed(state: &mut State, shown: &str, why: &str) {
    // Answers that are still under way belong to what was given up: the next connection begins clean.
    state.connection = None;
    state.rests_until = Some(Instant::now() + REST);
    if !std::mem::replace(&mut state.complained, true) {
        tracing::warn!(
            cache = shown,
            why,
            "the cache of answers fails: the database answers meanwhile"
        );
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
