//! Cleanup on SQLite: short `BEGIN IMMEDIATE` transactions, because each holds the only writer.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{Batch, Cursor, DeadFor, count};
use crate::store::clock::sqlite_text;
use crate::store::connect::Sqlite;
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};
use crate::store::{Retention, Swept};

/// Rows of one transaction. It holds the only writer, and recording waits for it; the pool is fair, so
/// what waits has its turn before the next step.
const STEP_ROWS: u32 = 50;

/// The ids of a step, in a table of this connection that never touches the disk. Public for the plan tests.
pub const DOOMED_SQLITE: &str = "CREATE TEMP TABLE IF NOT EXISTS doomed (id BLOB NOT NULL PRIMARY KEY, expires_at TEXT NOT NULL)";

const CANDIDATES: &str = "INSERT INTO temp.doomed (id, expires_at)
    SELECT id, expires_at FROM event
     WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (expires_at, id) > (?1, ?2)
     ORDER BY expires_at, id LIMIT ?3";

const SPARE_EVENTS: &str = "DELETE FROM temp.doomed WHERE EXISTS (
    SELECT 1 FROM delivery d WHERE d.event_id = doomed.id
       AND (d.state IN ('pending', 'leased')
            OR (d.state = 'dead' AND d.settled_at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?1 || ' seconds'))))";

/// Deletes what a step names. Public for the plan tests. CROSS JOIN keeps SQLite from reading every
/// delivery to find those of fifty events.
pub const DELETE_EVENTS_SQLITE: [&str; 5] = [
    "DELETE FROM attempt WHERE delivery_id IN (SELECT d.id FROM temp.doomed t CROSS JOIN delivery d ON d.event_id = t.id)",
    "DELETE FROM delivery WHERE event_id IN (SELECT id FROM temp.doomed)",
    "DELETE FROM event_body WHERE event_id IN (SELECT id FROM temp.doomed)",
    "DELETE FROM event_conflict WHERE event_id IN (SELECT id FROM temp.doomed)",
    "DELETE FROM event WHERE id IN (SELECT id FROM temp.doomed)",
];

const BODY_CANDIDATES: &str = "INSERT INTO temp.doomed (id, expires_at)
    SELECT event_id, expires_at FROM event_body
     WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (expires_at, event_id) > (?1, ?2)
     ORDER BY expires_at, event_id LIMIT ?3";

const SPARE_BODIES: &str = "DELETE FROM temp.doomed WHERE EXISTS (
    SELECT 1 FROM delivery d WHERE d.event_id = doomed.id AND d.state IN ('pending', 'leased', 'dead'))";

const DELETE_BODIES: &str = "DELETE FROM event_body WHERE event_id IN (SELECT id FROM temp.doomed)";

const SWEEP_REJECTIONS: &str = "DELETE FROM rejection WHERE id IN (
    SELECT id FROM rejection WHERE received_at <= strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?1 || ' seconds')
     ORDER BY received_at, id LIMIT ?2)";

const FIRST_EXPIRED: &str = "SELECT expires_at, id FROM event
     WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (expires_at, id) > (?1, ?2)
     ORDER BY expires_at, id LIMIT 1";

const EXPIRED: &str = "SELECT
    (SELECT count(*) FROM event e WHERE e.expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND NOT EXISTS (
        SELECT 1 FROM delivery d WHERE d.event_id = e.id AND (d.state IN ('pending', 'leased')
            OR (d.state = 'dead' AND d.settled_at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?1 || ' seconds'))))) AS events,
    (SELECT count(*) FROM event_body b JOIN event e ON e.id = b.event_id
      WHERE b.expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND e.expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')
        AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_id = b.event_id
                           AND d.state IN ('pending', 'leased', 'dead'))) AS bodies,
    (SELECT count(*) FROM rejection
      WHERE received_at <= strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?2 || ' seconds')) AS rejections,
    (SELECT count(*) FROM idempotency_key WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
        AND NOT (status = 'processing' AND lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now'))) AS keys";

/// Deletes a batch in steps of [`STEP_ROWS`], each a transaction of its own.
pub(super) async fn sweep_events(
    sqlite: &Sqlite,
    limit: u32,
    dead: DeadFor,
    after: Cursor,
) -> Result<Batch, StoreError> {
    let mut total = Batch { scanned: 0, deleted: 0, next: after };
    while let Some(step) = next_step(&total, limit) {
        let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut batch = candidates(&mut transaction, CANDIDATES, step, total.next).await?;
        sqlx::query(SPARE_EVENTS).bind(dead.0).execute(&mut *transaction).await?;
        for sql in DELETE_EVENTS_SQLITE {
            batch.deleted = sqlx::query(sql).execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        if add(&mut total, batch, step) {
            break;
        }
    }
    Ok(total)
}

/// Deletes a batch of bodies as [`sweep_events`] does events.
pub(super) async fn sweep_bodies(
    sqlite: &Sqlite,
    limit: u32,
    after: Cursor,
) -> Result<Batch, StoreError> {
    let mut total = Batch { scanned: 0, deleted: 0, next: after };
    while let Some(step) = next_step(&total, limit) {
        let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut batch = candidates(&mut transaction, BODY_CANDIDATES, step, total.next).await?;
        sqlx::query(SPARE_BODIES).execute(&mut *transaction).await?;
        batch.deleted =
            sqlx::query(DELETE_BODIES).execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        if add(&mut total, batch, step) {
            break;
        }
    }
    Ok(total)
}

/// How many rows the next step takes; `None` when the batch is full.
fn next_step(total: &Batch, limit: u32) -> Option<u32> {
    let left = u64::from(limit).saturating_sub(total.scanned);
    u32::try_from(left).ok().filter(|left| *left > 0).map(|left| left.min(STEP_ROWS))
}

/// Adds a step to its batch; true when nothing is left behind it.
fn add(total: &mut Batch, step: Batch, asked: u32) -> bool {
    total.scanned += step.scanned;
    total.deleted += step.deleted;
    total.next = step.next;
    step.scanned < u64::from(asked)
}

/// Fills `doomed` with the next candidates and says how far they reach.
async fn candidates(
    connection: &mut SqliteConnection,
    sql: &'static str,
    limit: u32,
    after: Cursor,
) -> Result<Batch, StoreError> {
    sqlx::query(DOOMED_SQLITE).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM temp.doomed").execute(&mut *connection).await?;
    let found = sqlx::query(sql)
        .bind(sqlite_text(after.expires_at))
        .bind(after.id)
        .bind(i64::from(limit))
        .execute(&mut *connection)
        .await?;
    let last = sqlx::query(
        "SELECT expires_at, id FROM temp.doomed ORDER BY expires_at DESC, id DESC LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    let next = match last {
        Some(row) => Cursor { expires_at: get(&row, "expires_at")?, id: get(&row, "id")? },
        None => after,
    };
    Ok(Batch { scanned: found.rows_affected(), deleted: 0, next })
}

pub(super) async fn sweep_rejections(
    sqlite: &Sqlite,
    limit: u32,
    age: f64,
) -> Result<u64, StoreError> {
    let done = sqlx::query(SWEEP_REJECTIONS)
        .bind(age)
        .bind(i64::from(limit))
        .execute(&sqlite.writer)
        .await?;
    Ok(done.rows_affected())
}

pub(super) async fn first_expired(
    sqlite: &Sqlite,
    after: Cursor,
) -> Result<Option<Cursor>, StoreError> {
    let row = sqlx::query(FIRST_EXPIRED)
        .bind(sqlite_text(after.expires_at))
        .bind(after.id)
        .fetch_optional(&sqlite.readers)
        .await?;
    row.map(|row| Ok(Cursor { expires_at: get(&row, "expires_at")?, id: get(&row, "id")? }))
        .transpose()
}

pub(super) async fn expired(sqlite: &Sqlite, retention: Retention) -> Result<Swept, StoreError> {
    let row = sqlx::query(EXPIRED)
        .bind(seconds(retention.dead))
        .bind(seconds(retention.rejections))
        .fetch_one(&sqlite.readers)
        .await?;
    let read = |column: &str| row.try_get::<i64, _>(column).map(count).map_err(StoreError::from);
    Ok(Swept {
        events: read("events")?,
        bodies: read("bodies")?,
        rejections: read("rejections")?,
        idempotency_keys: read("keys")?,
    })
}
