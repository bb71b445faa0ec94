//! What people do to deliveries: retry, replay, cancel, discard.

use entity::{State, event_body};
use sea_orm::EntityTrait;
use uuid::Uuid;

use super::connect::Database;
use super::error::StoreError;
use super::replay_run::{LaneOf, Target};
use super::row::get;
use super::{LanePlace, Removed, Reopened, Store};
use crate::received::Headers;

/// Reopens a dead delivery under its id, or makes a pending one due now.
const REOPEN_POSTGRES: &str = "UPDATE delivery
       SET due_at = clock_timestamp(), opened_at = CASE WHEN state = 'dead' THEN clock_timestamp() ELSE opened_at END,
           attempts_before = CASE WHEN state = 'dead' THEN attempts ELSE attempts_before END,
           cause = CASE WHEN state = 'dead' THEN NULL ELSE cause END,
           settled_at = NULL, state = 'pending'
     WHERE id = $1 AND (state = 'dead' OR ($2 AND state = 'pending'))";

const REOPEN_SQLITE: &str = "UPDATE delivery
       SET due_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
           opened_at = CASE WHEN state = 'dead' THEN strftime('%Y-%m-%d %H:%M:%f', 'now') ELSE opened_at END,
           attempts_before = CASE WHEN state = 'dead' THEN attempts ELSE attempts_before END,
           cause = CASE WHEN state = 'dead' THEN NULL ELSE cause END,
           settled_at = NULL, state = 'pending'
     WHERE id = ?1 AND (state = 'dead' OR (?2 AND state = 'pending'))";

/// A new round for a handler, at the end of the lane that it had, or of the one that is given. None is made while a round is open or dead, nor when the body is gone.
///
/// A cleanup that began before this round can't see it, so the body's own time is moved: the cleanup
/// looks at that again when it locks the row, and passes it over. Rows are locked as the cleanup
/// locks them, the event before its body.
const NEW_ROUND_POSTGRES: &str = "WITH held AS MATERIALIZED (
        SELECT id FROM event WHERE id = $2 FOR KEY SHARE),
    kept AS (
        UPDATE event_body b SET expires_at = greatest(b.expires_at, clock_timestamp() + interval '1 hour')
          FROM held
         WHERE b.event_id = held.id
           AND NOT EXISTS (SELECT 1 FROM delivery WHERE event_id = $2 AND handler = $3
                              AND state IN ('pending', 'leased', 'dead'))
        RETURNING b.event_id)
    INSERT INTO delivery (id, event_id, handler, round, state, opened_at, due_at, lane, lane_skip)
    SELECT $1, kept.event_id, $3, COALESCE(last.round + 1, 0), 'pending', clock_timestamp(), clock_timestamp(),
           COALESCE(last.lane, $4), CASE WHEN last.lane IS NULL THEN $5 ELSE last.lane_skip END
      FROM kept
      LEFT JOIN LATERAL (SELECT round, lane, lane_skip FROM delivery WHERE event_id = $2 AND handler = $3
                          ORDER BY round DESC LIMIT 1) AS last ON true
        ON CONFLICT (event_id, handler, round) DO NOTHING";

/// As above; a cleanup here is one transaction on the one writer, so nothing has to be moved.
const NEW_ROUND_SQLITE: &str =
    "INSERT INTO delivery (id, event_id, handler, round, state, opened_at, due_at, lane, lane_skip)
    SELECT ?1, b.event_id, ?3, COALESCE(last.round + 1, 0),
           'pending', strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'),
           COALESCE(last.lane, ?4), CASE WHEN last.lane IS NULL THEN ?5 ELSE last.lane_skip END
      FROM event_body b
      LEFT JOIN (SELECT round, lane, lane_skip FROM delivery WHERE event_id = ?2 AND handler = ?3
                  ORDER BY round DESC LIMIT 1) AS last ON true
     WHERE b.event_id = ?2
       AND NOT EXISTS (SELECT 1 FROM delivery WHERE event_id = ?2 AND handler = ?3
                          AND state IN ('pending', 'leased', 'dead'))
        ON CONFLICT (event_id, handler, round) DO NOTHING";

/// A worker that holds the lease is fenced by the raised epoch.
const CANCEL_POSTGRES: &str = "UPDATE delivery
       SET state = 'cancelled', settled_at = clock_timestamp(), lease_epoch = lease_epoch + 1,
           lease_until = NULL, leased_by = NULL, cause = 'cancelled by an operator'
     WHERE id = $1 AND state IN ('pending', 'leased')";

const CANCEL_SQLITE: &str = "UPDATE delivery
       SET state = 'cancelled', settled_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), lease_epoch = lease_epoch + 1,
           lease_until = NULL, leased_by = NULL, cause = 'cancelled by an operator'
     WHERE id = ?1 AND state IN ('pending', 'leased')";

const DISCARD_POSTGRES: &str = "UPDATE delivery
       SET state = 'cancelled', settled_at = clock_timestamp(), cause = 'discarded by an operator; was dead: ' || COALESCE(cause, '')
     WHERE id = $1 AND state = 'dead'";

const DISCARD_SQLITE: &str = "UPDATE delivery
       SET state = 'cancelled', settled_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), cause = 'discarded by an operator; was dead: ' || COALESCE(cause, '')
     WHERE id = ?1 AND state = 'dead'";

const STATE_POSTGRES: &str = "SELECT state FROM delivery WHERE id = $1";
const STATE_SQLITE: &str = "SELECT state FROM delivery WHERE id = ?1";

/// The last round of each handler.
const LAST_ROUNDS_POSTGRES: &str = "SELECT DISTINCT ON (handler) id, handler, state FROM delivery
     WHERE event_id = $1 ORDER BY handler, round DESC";
const LAST_ROUNDS_SQLITE: &str = "SELECT id, handler, state, max(round) AS round FROM delivery
     WHERE event_id = ?1 GROUP BY handler ORDER BY handler";

/// The last delivery of an event for one handler.
#[derive(Debug, Clone)]
struct Last {
    id: Uuid,
    handler: String,
    state: State,
}

/// Where a replay goes.
struct To {
    handler: String,
    lane: Option<LaneOf>,
}

impl Store {
    /// Reopens a dead delivery under its own id, with all its tries before it; makes a pending one
    /// due now; leaves any other alone. `None` when there is none.
    pub async fn retry(&self, delivery: Uuid) -> Result<Option<Reopened>, StoreError> {
        self.detached(move |database| async move { reopen(&database, delivery, true).await }).await
    }

    /// Replays an event: to the handlers named, or, when none is, to those that it had. Whether a named one
    /// takes such events is not asked here: who names one event means it.
    ///
    /// A dead delivery is reopened under its id. A handler that never had the event gets a first
    /// delivery. One that is pending or leased is left alone, and so is a delivered or cancelled one
    /// unless `again`, which makes a new round under a new id.
    /// Fails with [`StoreError::Invalid`] when the body was dropped by retention.
    pub async fn replay(
        &self,
        event: Uuid,
        handlers: Vec<Target>,
        again: bool,
    ) -> Result<Vec<Reopened>, StoreError> {
        self.detached(move |database| async move {
            let last = last_rounds(&database, event).await?;
            let mut wanted: Vec<(Option<Last>, To)> = Vec::new();
            if handlers.is_empty() {
                let to = |last: &Last| To { handler: last.handler.clone(), lane: None };
                wanted.extend(last.iter().map(|last| (Some(last.clone()), to(last))));
            } else {
                for Target { handler, lane, .. } in handlers {
                    let known = last.iter().find(|last| last.handler == handler.as_str()).cloned();
                    wanted.push((known, To { handler: handler.to_string(), lane }));
                }
            }
            let mut done = Vec::with_capacity(wanted.len());
            for (last, to) in wanted {
                done.push(replay_one(&database, event, last, &to, again).await?);
            }
            Ok(done)
        })
        .await
    }

    /// Takes an open delivery away. A worker that has it is fenced.
    pub async fn cancel(&self, delivery: Uuid) -> Result<Removed, StoreError> {
        self.remove(delivery, CANCEL_POSTGRES, CANCEL_SQLITE).await
    }

    /// Takes a dead letter away.
    pub async fn discard(&self, delivery: Uuid) -> Result<Removed, StoreError> {
        self.remove(delivery, DISCARD_POSTGRES, DISCARD_SQLITE).await
    }

    async fn remove(
        &self,
        delivery: Uuid,
        postgres_sql: &'static str,
        sqlite_sql: &'static str,
    ) -> Result<Removed, StoreError> {
        self.detached(move |database| async move {
            let rows = match &*database {
                Database::Postgres(postgres) => sqlx::query(postgres_sql)
                    .bind(delivery)
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(sqlite_sql)
                    .bind(delivery)
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            if rows == 1 {
                return Ok(Removed::Done);
            }
            Ok(state(&database, delivery).await?.map_or(Removed::NotFound, Removed::Skipped))
        })
        .await
    }
}

async fn replay_one(
    database: &Database,
    event: Uuid,
    last: Option<Last>,
    to: &To,
    again: bool,
) -> Result<Reopened, StoreError> {
    match last {
        Some(Last { id, state: state @ (State::Pending | State::Leased), .. }) => {
            Ok(Reopened::Skipped(id, state))
        }
        Some(Last { id, state: State::Dead, .. }) => {
            let reopened = reopen(database, id, false).await?;
            reopened
                .ok_or_else(|| StoreError::Invalid("the event was deleted meanwhile".to_owned()))
        }
        Some(Last { id, state: state @ (State::Delivered | State::Cancelled), .. }) if !again => {
            Ok(Reopened::Skipped(id, state))
        }
        Some(Last { state: State::Delivered | State::Cancelled, .. }) | None => {
            new_round(database, event, to).await
        }
    }
}

async fn new_round(database: &Database, event: Uuid, to: &To) -> Result<Reopened, StoreError> {
    let (id, handler) = (Uuid::now_v7(), to.handler.as_str());
    let lane = lane(database, event, to).await?;
    let skip = lane.as_ref().is_some_and(|place| place.skip_dead);
    let lane = lane.map(|place| place.lane);
    let made = match database {
        Database::Postgres(postgres) => sqlx::query(NEW_ROUND_POSTGRES)
            .bind(id)
            .bind(event)
            .bind(handler)
            .bind(lane)
            .bind(skip)
            .execute(&postgres.shared)
            .await?
            .rows_affected(),
        Database::Sqlite(sqlite) => sqlx::query(NEW_ROUND_SQLITE)
            .bind(id)
            .bind(event)
            .bind(handler)
            .bind(lane)
            .bind(skip)
            .execute(&sqlite.writer)
            .await?
            .rows_affected(),
    };
    if made == 1 {
        return Ok(Reopened::New(id));
    }
    // Either somebody was quicker, or there is nothing left to deliver.
    let now = last_rounds(database, event).await?.into_iter().find(|last| last.handler == handler);
    match now {
        Some(Last {
            id, state: state @ (State::Pending | State::Leased | State::Dead), ..
        }) => Ok(Reopened::Skipped(id, state)),
        Some(Last { state: State::Delivered | State::Cancelled, .. }) | None => {
            Err(StoreError::Invalid(
                "the event's body is gone (see retention.bodies), so it can't be delivered again"
                    .to_owned(),
            ))
        }
    }
}

/// The lane in which an event stands for a handler; `None` without lanes, or when its body is gone.
async fn lane(database: &Database, event: Uuid, to: &To) -> Result<Option<LanePlace>, StoreError> {
    let Some(lane_of) = &to.lane else { return Ok(None) };
    let content = event_body::Entity::find_by_id(event).one(database.orm()).await?;
    Ok(content.map(|row| lane_of(Headers::from_bytes(&row.headers), row.body.into())))
}

async fn reopen(
    database: &Database,
    delivery: Uuid,
    pending_too: bool,
) -> Result<Option<Reopened>, StoreError> {
    let rows = match database {
        Database::Postgres(postgres) => sqlx::query(REOPEN_POSTGRES)
            .bind(delivery)
            .bind(pending_too)
            .execute(&postgres.shared)
            .await?
            .rows_affected(),
        Database::Sqlite(sqlite) => sqlx::query(REOPEN_SQLITE)
            .bind(delivery)
            .bind(pending_too)
            .execute(&sqlite.writer)
            .await?
            .rows_affected(),
    };
    if rows == 1 {
        return Ok(Some(Reopened::Reopened(delivery)));
    }
    Ok(state(database, delivery).await?.map(|state| Reopened::Skipped(delivery, state)))
}

async fn state(database: &Database, delivery: Uuid) -> Result<Option<State>, StoreError> {
    let text: Option<String> = match database {
        Database::Postgres(postgres) => {
            sqlx::query_scalar(STATE_POSTGRES)
                .bind(delivery)
                .fetch_optional(&postgres.shared)
                .await?
        }
        Database::Sqlite(sqlite) => {
            sqlx::query_scalar(STATE_SQLITE).bind(delivery).fetch_optional(&sqlite.writer).await?
        }
    };
    text.map(|text| known_state(&text)).transpose()
}

async fn last_rounds(database: &Database, event: Uuid) -> Result<Vec<Last>, StoreError> {
    match database {
        Database::Postgres(postgres) => {
            let rows =
                sqlx::query(LAST_ROUNDS_POSTGRES).bind(event).fetch_all(&postgres.shared).await?;
            rows.iter()
                .map(|row| last(get(row, "id")?, get(row, "handler")?, get(row, "state")?))
                .collect()
        }
        Database::Sqlite(sqlite) => {
            let rows =
                sqlx::query(LAST_ROUNDS_SQLITE).bind(event).fetch_all(&sqlite.writer).await?;
            rows.iter()
                .map(|row| last(get(row, "id")?, get(row, "handler")?, get(row, "state")?))
                .collect()
        }
    }
}

fn last(id: Uuid, handler: String, state: &str) -> Result<Last, StoreError> {
    Ok(Last { id, handler, state: known_state(state)? })
}

fn known_state(text: &str) -> Result<State, StoreError> {
    State::parse(text)
        .ok_or_else(|| StoreError::Unreadable(format!("a delivery is in the state {text:?}")))
}
