//! Cleanup on PostgreSQL: data-modifying CTEs, one autocommit statement a batch.

use sqlx::postgres::PgRow;

use super::{Batch, Cursor, DeadFor, count};
use crate::store::connect::Postgres;
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};
use crate::store::{Retention, Swept};

/// Deletes a batch of expired events.
pub(in crate::store) const SWEEP_EVENTS_POSTGRES: &str =
    include_str!("../sql/sweep_events.postgres.sql");
/// Deletes a batch of expired bodies.
pub(in crate::store) const SWEEP_BODIES_POSTGRES: &str =
    include_str!("../sql/sweep_bodies.postgres.sql");

pub(in crate::store) const SWEEP_REJECTIONS: &str = "WITH doomed AS MATERIALIZED (
        SELECT id FROM rejection WHERE received_at <= (SELECT clock_timestamp()) - make_interval(secs => $1)
         ORDER BY received_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)
    DELETE FROM rejection USING doomed WHERE rejection.id = doomed.id";

pub(in crate::store) const FIRST_EXPIRED: &str = "SELECT expires_at, id FROM event
     WHERE expires_at <= (SELECT clock_timestamp() - hookonce_grace()) AND (expires_at, id) > ($1, $2)
     ORDER BY expires_at, id LIMIT 1";

const EXPIRED: &str = "SELECT
    (SELECT count(*) FROM event e WHERE e.expires_at <= (SELECT now() - hookonce_grace()) AND NOT EXISTS (
        SELECT 1 FROM delivery d WHERE d.event_id = e.id AND (d.state IN ('pending', 'leased')
            OR (d.state = 'dead' AND d.settled_at > now() - make_interval(secs => $1))))) AS events,
    (SELECT count(*) FROM event_body b JOIN event e ON e.id = b.event_id
      WHERE b.expires_at <= (SELECT now() - hookonce_grace()) AND e.expires_at > (SELECT now() - hookonce_grace()) AND NOT EXISTS (
        SELECT 1 FROM delivery d WHERE d.event_id = b.event_id AND d.state IN ('pending', 'leased', 'dead'))) AS bodies,
    (SELECT count(*) FROM rejection WHERE received_at <= now() - make_interval(secs => $2)) AS rejections,
    (SELECT count(*) FROM idempotency_key WHERE expires_at <= now()
        AND NOT (status = 'processing' AND lease_until > now())) AS keys";

pub(super) async fn sweep_events(
    postgres: &Postgres,
    limit: u32,
    dead: DeadFor,
    after: Cursor,
) -> Result<Batch, StoreError> {
    let row = sqlx::query(SWEEP_EVENTS_POSTGRES)
        .bind(after.expires_at)
        .bind(after.id)
        .bind(i64::from(limit))
        .bind(dead.0)
        .fetch_optional(&postgres.cleaning)
        .await?;
    batch(row.as_ref(), after)
}

pub(super) async fn sweep_bodies(
    postgres: &Postgres,
    limit: u32,
    after: Cursor,
) -> Result<Batch, StoreError> {
    let row = sqlx::query(SWEEP_BODIES_POSTGRES)
        .bind(after.expires_at)
        .bind(after.id)
        .bind(i64::from(limit))
        .fetch_optional(&postgres.cleaning)
        .await?;
    batch(row.as_ref(), after)
}

/// No row means that there was no candidate.
fn batch(row: Option<&PgRow>, after: Cursor) -> Result<Batch, StoreError> {
    let Some(row) = row else { return Ok(Batch { scanned: 0, deleted: 0, next: after }) };
    Ok(Batch {
        scanned: count(get(row, "scanned")?),
        deleted: count(get(row, "deleted")?),
        next: Cursor { expires_at: get(row, "expires_at")?, id: get(row, "id")? },
    })
}

pub(super) async fn sweep_rejections(
    postgres: &Postgres,
    limit: u32,
    age: f64,
) -> Result<u64, StoreError> {
    let done = sqlx::query(SWEEP_REJECTIONS)
        .bind(age)
        .bind(i64::from(limit))
        .execute(&postgres.cleaning)
        .await?;
    Ok(done.rows_affected())
}

pub(super) async fn first_expired(
    postgres: &Postgres,
    after: Cursor,
) -> Result<Option<Cursor>, StoreError> {
    let row = sqlx::query(FIRST_EXPIRED)
        .bind(after.expires_at)
        .bind(after.id)
        .fetch_optional(&postgres.shared)
        .await?;
    row.map(|row| Ok(Cursor { expires_at: get(&row, "expires_at")?, id: get(&row, "id")? }))
        .transpose()
}

pub(super) async fn expired(
    postgres: &Postgres,
    retention: Retention,
) -> Result<Swept, StoreError> {
    let row = sqlx::query(EXPIRED)
        .bind(seconds(retention.dead))
        .bind(seconds(retention.rejections))
        .fetch_one(&postgres.shared)
        .await?;
    Ok(Swept {
        events: count(get(&row, "events")?),
        bodies: count(get(&row, "bodies")?),
        rejections: count(get(&row, "rejections")?),
        idempotency_keys: count(get(&row, "keys")?),
    })
}
