//! Claiming on PostgreSQL: one statement for all handlers.

use std::time::Instant;

use bytes::Bytes;
use entity::Name;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::front::Fronts;
use super::{Counts, Room};
use crate::event::Event;
use crate::received::Headers;
use crate::store::Claimed;
use crate::store::connect::Postgres;
use crate::store::error::StoreError;
use crate::store::row::{get, name, seconds};

const CLAIM: &str = include_str!("../sql/claim.postgres.sql");
const NEXT_DUE: &str = include_str!("../sql/next_due.postgres.sql");

const UNCLAIM: &str = "WITH held AS MATERIALIZED (
        SELECT d.id, t.epoch
          FROM delivery d JOIN UNNEST($1::uuid[], $2::int8[]) AS t (id, epoch) ON d.id = t.id
         WHERE d.state = 'leased' AND d.lease_epoch = t.epoch
         ORDER BY d.id
           FOR NO KEY UPDATE OF d)
    UPDATE delivery d
       SET state = 'pending', attempts = attempts - 1, lease_until = NULL, leased_by = NULL
      FROM held
     WHERE d.id = held.id AND d.state = 'leased' AND d.lease_epoch = held.epoch";

pub(super) async fn claim(
    postgres: &Postgres,
    fronts: &Fronts,
    worker: &str,
    rooms: &[Room],
) -> Result<Vec<Claimed>, StoreError> {
    let answer = ask(postgres, fronts, worker, rooms).await;
    if answer.is_err() {
        // What it may have claimed all the same was passed over by others.
        fronts.forget();
    }
    answer
}

async fn ask(
    postgres: &Postgres,
    fronts: &Fronts,
    worker: &str,
    rooms: &[Room],
) -> Result<Vec<Claimed>, StoreError> {
    let handlers: Vec<&str> = rooms.iter().map(|room| room.handler.as_str()).collect();
    let free: Vec<i64> = rooms.iter().map(|room| i64::from(room.free)).collect();
    let leases: Vec<f64> = rooms.iter().map(|room| seconds(room.lease)).collect();
    let mut hot = postgres.working().await?;
    let asked = Instant::now();
    let known = fronts.known(rooms.iter().map(|room| (&room.handler, room.free)), asked);
    let claim = sqlx::query(CLAIM)
        .bind(&handlers)
        .bind(&free)
        .bind(&leases)
        .bind(worker)
        .bind(known.handlers.iter().map(String::as_str).collect::<Vec<_>>())
        .bind(known.column(|it| it.handler.as_str()))
        .bind(known.column(|it| it.source.as_str()))
        .bind(known.column(|it| i64::from(it.free)))
        .bind(known.column(|it| it.due_from));
    let patience = hot.patience();
    let answer = tokio::time::timeout(patience, claim.fetch_all(hot.connection())).await;
    let rows = hot.finish(answer.map(|rows| rows.map_err(StoreError::from)))?;

    let (mut claims, mut told) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        let handler = name(get(row, "handler")?)?;
        match get(row, "id")? {
            Some(delivery) => claims.push(claimed(row, delivery, handler)?),
            None => told.push((handler, get(row, "place")?, get(row, "due_at")?)),
        }
    }
    fronts.told(rooms.iter().map(|room| &room.handler), &known, told, asked);
    fronts.claimed(claims.iter().map(|claim| (&claim.handler, claim.lane.is_some())));
    Ok(claims)
}

fn claimed(row: &PgRow, delivery: Uuid, handler: Name) -> Result<Claimed, StoreError> {
    let counts =
        Counts::new(get(row, "attempts")?, get(row, "attempts_before")?, get(row, "open_for")?);
    let event = match event(row) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(error = %error, "a claimed event can't be read");
            None
        }
    };
    Ok(counts.claimed(delivery, handler, get(row, "lease_epoch")?, get(row, "lane")?, event))
}

fn event(row: &PgRow) -> Result<Option<Event>, StoreError> {
    let (headers, body): (Option<Vec<u8>>, Option<Vec<u8>>) =
        (get(row, "headers")?, get(row, "body")?);
    let (Some(headers), Some(body)) = (headers, body) else { return Ok(None) };
    Ok(Some(Event {
        id: get(row, "event")?,
        source: name(get(row, "source")?)?,
        event_id: get(row, "event_id")?,
        kind: get(row, "type")?,
        received_at: get(row, "received_at")?,
        headers: Headers::from_bytes(&headers),
        body: Bytes::from(body),
    }))
}

/// Seconds until something is due, negative when it is already; or until everything is to be looked at again.
pub(super) async fn next_due(
    postgres: &Postgres,
    fronts: &Fronts,
    handlers: &[Name],
) -> Result<Option<f64>, StoreError> {
    let now = Instant::now();
    let known = fronts.known(handlers.iter().map(|handler| (handler, 0)), now);
    let others = handlers.iter().map(Name::as_str).filter(|it| !known.handlers.contains(*it));
    let until: Option<f64> = sqlx::query_scalar(NEXT_DUE)
        .bind(others.collect::<Vec<_>>())
        .bind(known.column(|it| it.handler.as_str()))
        .bind(known.column(|it| it.source.as_str()))
        .bind(known.column(|it| it.due_from))
        .fetch_one(&postgres.shared)
        .await?;
    let look = known.look_in.map(seconds);
    Ok(until.into_iter().chain(look).reduce(f64::min))
}

pub(super) async fn unclaim(
    postgres: &Postgres,
    fronts: &Fronts,
    claims: Vec<(Uuid, i64)>,
) -> Result<(), StoreError> {
    let (ids, epochs): (Vec<Uuid>, Vec<i64>) = claims.into_iter().unzip();
    let given = sqlx::query(UNCLAIM).bind(&ids).bind(&epochs).execute(&postgres.shared).await;
    // They are due as before, and others that lie behind them were claimed. Whether they were given back may be unknown.
    fronts.forget();
    given?;
    Ok(())
}
