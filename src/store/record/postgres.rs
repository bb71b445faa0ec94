//! Recording on PostgreSQL: arrays through UNNEST, one autocommit statement, never a transaction.

use std::collections::HashMap;

use uuid::Uuid;

use super::{CONFLICTS_MAX, Known, compare, leaders};
use crate::store::connect::{Postgres, no_answer};
use crate::store::error::{StoreError, read_only};
use crate::store::row::{get, seconds};
use crate::store::{NewEvent, Recorded};

const RECORD: &str = include_str!("../sql/record.postgres.sql");
const COUNT_COPIES: &str = include_str!("../sql/count_copies.postgres.sql");
const KEEP_CONFLICT: &str = include_str!("../sql/keep_conflict.postgres.sql");

/// Answers per input; `None` where the row that was in the way is gone and the event must come again.
pub(super) async fn record(
    postgres: &Postgres,
    batch: &[&NewEvent],
) -> Result<Vec<Option<Recorded>>, StoreError> {
    let mut connection = postgres.intake.acquire().await?;
    let answer = on_connection(&mut connection, batch);
    let Ok(result) = tokio::time::timeout(postgres.intake_patience, answer).await else {
        // Dropped, not handed back: nobody may use a connection with a statement under way, and the
        // one task that records must not wait for a machine that has died.
        drop(connection.detach());
        return Err(StoreError::Transient(no_answer()));
    };
    if let Err(error) = &result
        && is_read_only(error)
    {
        // A demoted primary: this connection must not serve again.
        connection.close_on_drop();
    }
    result
}

fn is_read_only(error: &StoreError) -> bool {
    match error {
        StoreError::Transient(inner) => read_only(inner),
        StoreError::Broken(_)
        | StoreError::Unreadable(_)
        | StoreError::Invariant(_)
        | StoreError::Invalid(_) => false,
    }
}

async fn on_connection(
    connection: &mut sqlx::PgConnection,
    batch: &[&NewEvent],
) -> Result<Vec<Option<Recorded>>, StoreError> {
    let leaders = leaders(batch);
    let fresh = insert(connection, batch, &leaders).await?;
    let mut answers: Vec<Option<Recorded>> = batch
        .iter()
        .map(|event| fresh.contains(&event.id).then_some(Recorded::Fresh { event: event.id }))
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
        let Some(known) = known.get(&event.verified.identity().dedupe_key) else { continue };
        let recorded = compare(event, known)?;
        if let Recorded::Duplicate { event: first, conflict: true } = recorded {
            keep_conflict(connection, first, event).await?;
        }
        *answer = Some(recorded);
    }
    Ok(answers)
}

async fn insert(
    connection: &mut sqlx::PgConnection,
    batch: &[&NewEvent],
    leaders: &[usize],
) -> Result<Vec<Uuid>, StoreError> {
    let first: Vec<&NewEvent> = batch
        .iter()
        .enumerate()
        .filter(|(at, _)| leaders.get(*at) == Some(at))
        .map(|(_, event)| *event)
        .collect();
    let column =
        |read: fn(&NewEvent) -> &str| first.iter().map(|event| read(event)).collect::<Vec<_>>();
    let ids: Vec<Uuid> = first.iter().map(|event| event.id).collect();
    let keys: Vec<Uuid> = first.iter().map(|event| event.verified.identity().dedupe_key).collect();
    let digests: Vec<&[u8]> =
        first.iter().map(|event| &event.verified.identity().digest[..]).collect();
    let held: Vec<Option<&str>> =
        first.iter().map(|event| event.verified.identity().held).collect();
    let key_secs: Vec<f64> = first.iter().map(|event| seconds(event.keys)).collect();
    let body_secs: Vec<f64> = first.iter().map(|event| seconds(event.bodies)).collect();
    let headers: Vec<Vec<u8>> =
        first.iter().map(|event| event.verified.received().headers.to_bytes()).collect();
    let bodies: Vec<&[u8]> = first.iter().map(|event| &event.verified.body()[..]).collect();

    let mut delivery_ids: Vec<Uuid> = Vec::new();
    let mut delivery_events: Vec<Uuid> = Vec::new();
    let mut delivery_handlers: Vec<&str> = Vec::new();
    for event in &first {
        for handler in &event.handlers {
            delivery_ids.push(Uuid::now_v7());
            delivery_events.push(event.id);
            delivery_handlers.push(handler.as_str());
        }
    }
    Ok(sqlx::query_scalar(RECORD)
        .bind(&ids)
        .bind(column(|event| event.verified.source().as_str()))
        .bind(column(|event| &event.verified.identity().event_id))
        .bind(&keys)
        .bind(column(|event| &event.verified.identity().kind))
        .bind(&digests)
        .bind(&held)
        .bind(&key_secs)
        .bind(&body_secs)
        .bind(&headers)
        .bind(&bodies)
        .bind(&delivery_ids)
        .bind(&delivery_events)
        .bind(&delivery_handlers)
        .fetch_all(connection)
        .await?)
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
        .bind(event.verified.received().headers.to_bytes())
        .bind(&event.verified.body()[..])
        .bind(CONFLICTS_MAX)
        .execute(connection)
        .await?;
    Ok(())
}
