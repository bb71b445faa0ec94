//! Claiming: a delivery is leased to one worker under an epoch; renewing keeps the lease.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entity::Name;
use rand::seq::SliceRandom;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::connect::{Database, Sqlite};
use super::error::StoreError;
use super::row::{get, name, seconds};
use super::{Claimed, Store};
use crate::event::Event;
use crate::received::Headers;

mod front;
mod postgres;
mod renew;

pub(super) use front::Fronts;
pub use renew::{Held, RENEW_POSTGRES, Renewed};

/// Claims on SQLite, of one handler and one source at a time.
const CLAIM_SQLITE: &str = include_str!("sql/claim.sqlite.sql");
const SOURCES_DUE_SQLITE: &str = include_str!("sql/sources_due.sqlite.sql");

const NEXT_DUE_SQLITE: &str =
    "SELECT round((julianday(due_at) - julianday('now')) * 86400.0, 3) FROM delivery
     WHERE state = 'pending' AND lane_waits = 0 AND handler = ?1 ORDER BY due_at LIMIT 1";

const EVENT_SQLITE: &str =
    "SELECT e.id AS event, e.source, e.event_id, e.type, e.received_at, b.headers, b.body
       FROM event e LEFT JOIN event_body b ON b.event_id = e.id WHERE e.id = ?1";

const UNCLAIM_SQLITE: &str = "UPDATE delivery SET state = 'pending', attempts = attempts - 1, lease_until = NULL, leased_by = NULL
     WHERE id = ?1 AND state = 'leased' AND lease_epoch = ?2";

/// How much a handler may take now.
#[derive(Debug, Clone)]
pub struct Room {
    /// The handler.
    pub handler: Name,
    /// At most this many deliveries.
    pub free: u32,
    /// How long the claim holds without renewal.
    pub lease: Duration,
}

impl Store {
    /// Leases what is due to `worker`, for each handler at most its room: an equal share for each source that has
    /// something due, of each the oldest first. What a source leaves of its share is for the next claim.
    ///
    /// On PostgreSQL, once a thousand of a handler were claimed, something may be found a second late that did not come through
    /// this store: when it has been due for longer than ten seconds, or when nothing else of its source did.
    ///
    /// Each claim raises the delivery's epoch and counts as a begun try. Deliveries of handlers that
    /// aren't named are left alone. Cancel-safe in the sense of this room: a claim whose answer is
    /// dropped lapses and is rescued.
    pub async fn claim(&self, worker: &str, rooms: Vec<Room>) -> Result<Vec<Claimed>, StoreError> {
        let worker = worker.to_owned();
        let fronts = Arc::clone(&self.fronts);
        self.detached(|database| async move {
            match &*database {
                Database::Postgres(it) => postgres::claim(it, &fronts, &worker, &rooms).await,
                Database::Sqlite(sqlite) => claim_sqlite(sqlite, &worker, &rooms).await,
            }
        })
        .await
    }

    /// How long until something is due for these handlers, or may be found that is due already; zero when something is, `None`
    /// when nothing is pending.
    pub async fn next_due(&self, handlers: Vec<Name>) -> Result<Option<Duration>, StoreError> {
        let fronts = Arc::clone(&self.fronts);
        let until = self.detached(|database| next_due(database, fronts, handlers)).await?;
        Ok(until.map(|secs| Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or(Duration::MAX)))
    }

    /// Gives back claims whose try has not begun: pending again, not counted.
    pub async fn unclaim(&self, claims: Vec<(Uuid, i64)>) -> Result<(), StoreError> {
        let fronts = Arc::clone(&self.fronts);
        self.detached(|database| async move {
            match &*database {
                Database::Postgres(it) => postgres::unclaim(it, &fronts, claims).await?,
                Database::Sqlite(sqlite) => unclaim_sqlite(sqlite, &claims).await?,
            }
            Ok(())
        })
        .await
    }
}

async fn claim_sqlite(
    sqlite: &Sqlite,
    worker: &str,
    rooms: &[Room],
) -> Result<Vec<Claimed>, StoreError> {
    let mut leased = Vec::new();
    match claim_each(sqlite, worker, rooms, &mut leased).await {
        Ok(claims) => Ok(claims),
        Err(error) => {
            // None of them begins: a try that a failed read used up could be the last one.
            give_back(sqlite, &leased).await?;
            Err(error)
        }
    }
}

/// Claims room by room; `leased` is what was taken, also when a later step fails.
async fn claim_each(
    sqlite: &Sqlite,
    worker: &str,
    rooms: &[Room],
    leased: &mut Vec<SqliteRow>,
) -> Result<Vec<Claimed>, StoreError> {
    for room in rooms.iter().filter(|room| room.free > 0) {
        // A read first: it doesn't wait for the writer, and most polls find nothing.
        let mut sources: Vec<String> = sqlx::query_scalar(SOURCES_DUE_SQLITE)
            .bind(room.handler.as_str())
            .fetch_all(&sqlite.readers)
            .await?;
        // Where there are more of them than room, chance says whose turn it is.
        sources.shuffle(&mut rand::rng());
        for (source, free) in sources.iter().zip(shares(room.free, sources.len())) {
            let rows = sqlx::query(CLAIM_SQLITE)
                .bind(room.handler.as_str())
                .bind(i64::from(free))
                .bind(seconds(room.lease))
                .bind(worker)
                .bind(source)
                .fetch_all(&sqlite.writer)
                .await?;
            leased.extend(rows);
        }
    }
    let mut claims = Vec::with_capacity(leased.len());
    for row in leased.iter() {
        claims.push(claimed_sqlite(sqlite, row).await?);
    }
    Ok(claims)
}

/// Room in equal parts, the first ones larger by one where it doesn't come out even; nothing for who would get none.
fn shares(free: u32, among: usize) -> impl Iterator<Item = u32> {
    let among = u32::try_from(among).unwrap_or(u32::MAX).max(1);
    let (each, over) = (free / among, free % among);
    (0..among.min(free)).map(move |at| each + u32::from(at < over))
}

/// Undoes claims that were leased in this call and whose events can't be read now.
async fn give_back(sqlite: &Sqlite, leased: &[SqliteRow]) -> Result<(), StoreError> {
    let claims: Vec<(Uuid, i64)> = leased
        .iter()
        .filter_map(|row| Some((get(row, "id").ok()?, get(row, "lease_epoch").ok()?)))
        .collect();
    unclaim_sqlite(sqlite, &claims).await
}

async fn unclaim_sqlite(sqlite: &Sqlite, claims: &[(Uuid, i64)]) -> Result<(), StoreError> {
    for (id, epoch) in claims {
        sqlx::query(UNCLAIM_SQLITE).bind(id).bind(epoch).execute(&sqlite.writer).await?;
    }
    Ok(())
}

async fn claimed_sqlite(sqlite: &Sqlite, row: &SqliteRow) -> Result<Claimed, StoreError> {
    let counts =
        Counts::new(get(row, "attempts")?, get(row, "attempts_before")?, get(row, "open_for")?);
    let event: Uuid = get(row, "event_id")?;
    let event = match event_sqlite(sqlite, event).await {
        Ok(event) => event,
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            tracing::error!(error = %error, event.id = %event, "a claimed event can't be read");
            None
        }
    };
    Ok(counts.claimed(
        get(row, "id")?,
        name(get(row, "handler")?)?,
        get(row, "lease_epoch")?,
        get(row, "lane")?,
        event,
    ))
}

async fn event_sqlite(sqlite: &Sqlite, event: Uuid) -> Result<Option<Event>, StoreError> {
    let Some(row) = sqlx::query(EVENT_SQLITE).bind(event).fetch_optional(&sqlite.readers).await?
    else {
        return Ok(None);
    };
    let (headers, body): (Option<Vec<u8>>, Option<Vec<u8>>) =
        (get(&row, "headers")?, get(&row, "body")?);
    let (Some(headers), Some(body)) = (headers, body) else { return Ok(None) };
    Ok(Some(Event {
        id: get(&row, "event")?,
        source: name(get(&row, "source")?)?,
        event_id: get(&row, "event_id")?,
        kind: get(&row, "type")?,
        received_at: get(&row, "received_at")?,
        headers: Headers::from_bytes(&headers),
        body: Bytes::from(body),
    }))
}

/// The counters that a claim and a rescue have in common.
pub(super) struct Counts {
    pub(super) attempt: u32,
    pub(super) tried: u32,
    pub(super) open_for: Duration,
}

impl Counts {
    pub(super) fn new(attempts: i32, before: i32, open_for: f64) -> Self {
        Self {
            attempt: u32::try_from(attempts).unwrap_or(0),
            tried: u32::try_from(attempts.saturating_sub(before)).unwrap_or(0),
            open_for: Duration::try_from_secs_f64(open_for.max(0.0)).unwrap_or(Duration::MAX),
        }
    }

    fn claimed(
        self,
        delivery: Uuid,
        handler: Name,
        epoch: i64,
        lane: Option<String>,
        event: Option<Event>,
    ) -> Claimed {
        Claimed {
            delivery,
            handler,
            epoch,
            attempt: self.attempt,
            tried: self.tried,
            open_for: self.open_for,
            lane,
            event,
        }
    }
}

async fn next_due(
    database: Arc<Database>,
    fronts: Arc<Fronts>,
    handlers: Vec<Name>,
) -> Result<Option<f64>, StoreError> {
    match &*database {
        Database::Postgres(it) => postgres::next_due(it, &fronts, &handlers).await,
        Database::Sqlite(sqlite) => {
            let mut least: Option<f64> = None;
            for handler in &handlers {
                let until: Option<f64> = sqlx::query_scalar(NEXT_DUE_SQLITE)
                    .bind(handler.as_str())
                    .fetch_optional(&sqlite.readers)
                    .await?;
                least = match (least, until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            Ok(least)
        }
    }
}
