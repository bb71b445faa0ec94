//! Recording on PostgreSQL: arrays through UNNEST, one autocommit statement, never a transaction.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::{
    CONFLICTS_MAX, Known, Suspects, births, compare, is_guarded, is_laned, leaders, signed_digest,
    suspect,
};
use crate::store::connect::Postgres;
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};
use crate::store::{NewDelivery, NewEvent, Recorded};

mod statement;

use statement::Births;

const EARLIER: &str = include_str!("../sql/earlier.postgres.sql");

const COUNT_COPIES: &str = include_str!("../sql/count_copies.postgres.sql");
const KEEP_CONFLICT: &str = include_str!("../sql/keep_conflict.postgres.sql");

/// Answers per input; `None` where the row that was in the way is gone and the event must come again.
pub(super) async fn record(
    postgres: &Postgres,
    batch: &[&NewEvent],
    suspects: &mut Suspects,
) -> Result<Vec<Option<Recorded>>, StoreError> {
    let mut hot = postgres.recording().await?;
    let patience = hot.patience();
    let work = on_connection(hot.connection(), batch, suspects);
    let answer = tokio::time::timeout(patience, work).await;
    hot.finish(answer)
}

async fn on_connection(
    connection: &mut sqlx::PgConnection,
    batch: &[&NewEvent],
    suspects: &mut Suspects,
) -> Result<Vec<Option<Recorded>>, StoreError> {
    let fresh = insert(connection, &leaders(batch), suspects).await?;
    let mut answers: Vec<Option<Recorded>> = batch
        .iter()
        .map(|event| {
            let received_at = *fresh.get(&event.id)?;
            let replay_of = suspects.get(&event.id).copied();
            Some(Recorded::Fresh { event: event.id, received_at, replay_of })
        })
        .collect();
    if fresh.len() == batch.len() {
        return Ok(answers);
    }
    let copies: Vec<&NewEvent> = batch
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_none())
        .map(|(event, _)| *event)
        .collect();
    let known = count_copies(connection, &copies).await?;
    for (event, answer) in
        batch.iter().zip(answers.iter_mut()).filter(|(_, answer)| answer.is_none())
    {
        let Some(known) = known.get(&event.verified.identity().dedupe_key) else {
            if let Some(earlier) = earlier(connection, event, suspects).await? {
                *answer = suspect(event, earlier, suspects);
            }
            continue;
        };
        let recorded = compare(event, known, suspects)?;
        if let Recorded::Duplicate { event: first, conflict: true } = recorded {
            keep_conflict(connection, first, event).await?;
        }
        *answer = Some(recorded);
    }
    Ok(answers)
}

/// Inserts events with all that belongs to them. Gives the ids of those that are new, and when they
/// were recorded.
async fn insert(
    connection: &mut sqlx::PgConnection,
    first: &[&NewEvent],
    suspects: &Suspects,
) -> Result<HashMap<Uuid, DateTime<Utc>>, StoreError> {
    let arguments = arguments(first, suspects)
        .map_err(|error| StoreError::Broken(sqlx::Error::Encode(error)))?;
    let rows: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as_with(statement_for(first), arguments).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// The statement's parameters, encoded.
pub(super) fn arguments(
    first: &[&NewEvent],
    suspects: &Suspects,
) -> Result<PgArguments, BoxDynError> {
    let births = births(first);
    let mut all = PgArguments::default();
    all.add(column(first, |event| event.id))?;
    all.add(column(first, |event| event.verified.source().as_str()))?;
    all.add(column(first, |event| event.verified.identity().event_id.as_str()))?;
    all.add(column(first, |event| event.verified.identity().dedupe_key))?;
    all.add(column(first, |event| event.verified.identity().kind.as_str()))?;
    all.add(column(first, |event| &event.verified.identity().digest[..]))?;
    all.add(column(first, |event| i64::try_from(event.verified.body().len()).unwrap_or(i64::MAX)))?;
    all.add(column(first, |event| event.verified.identity().held))?;
    all.add(column(first, |event| seconds(event.keys)))?;
    all.add(column(first, |event| seconds(event.bodies)))?;
    all.add(column(first, |event| event.verified.received().headers.as_bytes()))?;
    all.add(column(first, |event| &event.verified.body()[..]))?;
    if !births.is_empty() {
        add_births(&mut all, &births)?;
    }
    if is_guarded(first) {
        all.add(column(first, |event| signed_digest(event, suspects)))?;
        all.add(column(first, |event| suspects.get(&event.id).copied()))?;
    }
    if is_laned(first) {
        let lane = |delivery: &NewDelivery| delivery.lane.as_ref().map(|it| it.lane.clone());
        let skips = |delivery: &NewDelivery| delivery.lane.as_ref().is_some_and(|it| it.skip_dead);
        all.add(column(&births, |(_, delivery)| lane(delivery)))?;
        all.add(column(&births, |(_, delivery)| skips(delivery)))?;
    }
    Ok(all)
}

fn add_births(
    all: &mut PgArguments,
    births: &[(&NewEvent, &NewDelivery)],
) -> Result<(), BoxDynError> {
    all.add(column(births, |(_, delivery)| delivery.id))?;
    all.add(column(births, |(event, _)| event.id))?;
    all.add(column(births, |(_, delivery)| delivery.handler.as_str()))?;
    all.add(column(births, |(_, delivery)| delivery.epoch()))?;
    all.add(column(births, |(_, delivery)| delivery.lease.as_ref().map(|it| &*it.worker)))?;
    all.add(column(births, |(_, delivery)| delivery.lease.as_ref().map(|it| seconds(it.length))))?;
    all.add(column(births, |(event, _)| event.verified.source().as_str()))
}

/// The statement that records these events.
pub(super) fn statement_for(first: &[&NewEvent]) -> &'static str {
    let births = if is_laned(first) {
        Births::Laned
    } else if first.iter().any(|event| !event.deliveries.is_empty()) {
        Births::Plain
    } else {
        Births::None
    };
    statement::record(first.len(), is_guarded(first), births)
}

/// The event that has this one's signed bytes, under another id.
async fn earlier(
    connection: &mut sqlx::PgConnection,
    event: &NewEvent,
    suspects: &Suspects,
) -> Result<Option<Uuid>, StoreError> {
    let Some(digest) = signed_digest(event, suspects) else { return Ok(None) };
    let source = event.verified.source().as_str();
    Ok(sqlx::query_scalar(EARLIER).bind(source).bind(digest).fetch_optional(connection).await?)
}

/// One array parameter: a value of each row.
fn column<'a, R, T>(rows: &'a [R], read: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(read).collect()
}

async fn count_copies(
    connection: &mut sqlx::PgConnection,
    copies: &[&NewEvent],
) -> Result<HashMap<Uuid, Known>, StoreError> {
    let keys: Vec<Uuid> = copies.iter().map(|event| event.verified.identity().dedupe_key).collect();
    let ids: Vec<Uuid> = copies.iter().map(|event| event.id).collect();
    let digests: Vec<&[u8]> =
        copies.iter().map(|event| &event.verified.identity().digest[..]).collect();
    let rows = sqlx::query(COUNT_COPIES)
        .bind(&keys)
        .bind(&ids)
        .bind(&digests)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let known = Known {
                id: get(row, "id")?,
                event_id: get(row, "event_id")?,
                digest: get(row, "digest")?,
                received_at: get(row, "received_at")?,
            };
            Ok((get(row, "dedupe_key")?, known))
        })
        .collect()
}

async fn keep_conflict(
    connection: &mut sqlx::PgConnection,
    first: Uuid,
    event: &NewEvent,
) -> Result<(), StoreError> {
    sqlx::query(KEEP_CONFLICT)
        .bind(first)
        .bind(&event.verified.identity().digest[..])
        .bind(event.verified.received().headers.as_bytes())
        .bind(&event.verified.body()[..])
        .bind(CONFLICTS_MAX)
        .execute(connection)
        .await?;
    Ok(())
}
