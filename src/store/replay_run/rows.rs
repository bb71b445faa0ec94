//! The rows of replays: beginning one, finding it, stopping it, carrying it on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::replay_run;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{KEPT, RESUMABLE, Replay, Tallies, Walk};
use crate::store::Store;
use crate::store::clock::sqlite_text;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::row::seconds;

/// Unfinished runs that a daemon may have before it: what is asked for beyond is refused.
const WAITING_MAX: i64 = 16;

const FORGET_POSTGRES: &str =
    "DELETE FROM replay_run WHERE finished_at < clock_timestamp() - make_interval(secs => $1)";
const FORGET_SQLITE: &str = "DELETE FROM replay_run
     WHERE finished_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?1 || ' seconds')";

/// A command that gives no sign of life for an hour was killed: its run is stopped, as it would have done.
const ABANDON_POSTGRES: &str = "UPDATE replay_run
       SET state = 'cancelled', finished_at = clock_timestamp(), lease_until = NULL, worker = NULL, error = 'its command went away'
     WHERE state = 'running' AND driver = 'command'
       AND COALESCE(lease_until, made_at) < clock_timestamp() - interval '1 hour'";
const ABANDON_SQLITE: &str = "UPDATE replay_run
       SET state = 'cancelled', finished_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), lease_until = NULL, worker = NULL,
           error = 'its command went away'
     WHERE state = 'running' AND driver = 'command'
       AND COALESCE(lease_until, made_at) < strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour')";

/// No row when an equal one runs, or when too many do.
const BEGIN_POSTGRES: &str = "INSERT INTO replay_run
        (id, request, driver, state, made_at, since, until, per_second, upper_id, cursor_handler, cursor_id, total, counts)
    SELECT $1, $2, $3, 'running', $4, $5, $6, $7, $8, $9, $10, $11, '{}'
     WHERE (SELECT count(*) FROM replay_run WHERE state = 'running') < $12
        ON CONFLICT (request) WHERE state = 'running' DO NOTHING";
const BEGIN_SQLITE: &str = "INSERT INTO replay_run
        (id, request, driver, state, made_at, since, until, per_second, upper_id, cursor_handler, cursor_id, total, counts)
    SELECT ?1, ?2, ?3, 'running', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, '{}'
     WHERE (SELECT count(*) FROM replay_run WHERE state = 'running') < ?12
        ON CONFLICT (request) WHERE state = 'running' DO NOTHING";

const STOP_POSTGRES: &str = "UPDATE replay_run
       SET state = 'cancelled', finished_at = clock_timestamp(), lease_until = NULL, worker = NULL, error = $2
     WHERE id = $1 AND state = 'running'";
const STOP_SQLITE: &str = "UPDATE replay_run
       SET state = 'cancelled', finished_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), lease_until = NULL, worker = NULL, error = ?2
     WHERE id = ?1 AND state = 'running'";

const RESUME_POSTGRES: &str = "UPDATE replay_run
       SET state = 'running', finished_at = NULL, error = NULL, driver = $2, per_second = COALESCE($3, per_second),
           lease_until = CASE WHEN state = 'cancelled' THEN clock_timestamp() ELSE lease_until END
     WHERE id = $1 AND (state = 'cancelled' OR (state = 'running' AND $2 = 'daemon'))
       AND NOT EXISTS (SELECT 1 FROM replay_run other WHERE other.request = replay_run.request AND other.state = 'running'
                          AND other.id <> replay_run.id)";
const RESUME_SQLITE: &str = "UPDATE replay_run
       SET state = 'running', finished_at = NULL, error = NULL, driver = ?2, per_second = COALESCE(?3, per_second),
           lease_until = CASE WHEN state = 'cancelled' THEN strftime('%Y-%m-%d %H:%M:%f', 'now') ELSE lease_until END
     WHERE id = ?1 AND (state = 'cancelled' OR (state = 'running' AND ?2 = 'daemon'))
       AND NOT EXISTS (SELECT 1 FROM replay_run other WHERE other.request = replay_run.request AND other.state = 'running'
                          AND other.id <> replay_run.id)";

/// The oldest that nobody drives. Two replicas that ask at once get one each.
const CLAIM_POSTGRES: &str = "UPDATE replay_run
       SET worker = $1, lease_until = clock_timestamp() + make_interval(secs => $2)
     WHERE id = (SELECT id FROM replay_run
                  WHERE state = 'running' AND driver = 'daemon'
                    AND (lease_until IS NULL OR lease_until <= clock_timestamp() OR worker = $1)
                  ORDER BY made_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id";
const CLAIM_SQLITE: &str = "UPDATE replay_run
       SET worker = ?1, lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?2 || ' seconds')
     WHERE id = (SELECT id FROM replay_run
                  WHERE state = 'running' AND driver = 'daemon'
                    AND (lease_until IS NULL OR lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now') OR worker = ?1)
                  ORDER BY made_at, id LIMIT 1)
    RETURNING id";

const HOLD_POSTGRES: &str =
    "UPDATE replay_run SET lease_until = clock_timestamp() + make_interval(secs => $3)
     WHERE id = $1 AND state = 'running' AND worker = $2";
const HOLD_SQLITE: &str =
    "UPDATE replay_run SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?3 || ' seconds')
     WHERE id = ?1 AND state = 'running' AND worker = ?2";

/// A run to begin.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// What is asked for, resolved.
    pub replay: Replay,
    /// What is asked for, as JSON: equal texts are the same replay.
    pub request: String,
    /// Carried on by the daemon's replicas, or by the command that asks only.
    pub by_daemon: bool,
    /// Deliveries opened in a second at most.
    pub per_second: Option<f64>,
    /// Begin a new one, also when an equal one was stopped before its end.
    pub restart: bool,
}

/// What asking for a replay came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// The run.
    pub run: replay_run::Model,
    /// Whether it was begun before: it runs already, or was stopped and is carried on.
    pub continued: bool,
}

/// Counts, as they are kept.
pub(super) fn counts(tallies: &Tallies) -> Result<String, StoreError> {
    serde_json::to_string(tallies)
        .map_err(|error| StoreError::Invariant(format!("counts can't be written: {error}")))
}

/// Counts, as they were kept.
pub(super) fn tallies(counts: &str) -> Result<Tallies, StoreError> {
    serde_json::from_str(counts)
        .map_err(|error| StoreError::Unreadable(format!("column counts: {error}")))
}

/// What a run did so far, by handler.
pub(crate) fn tallies_of(run: &replay_run::Model) -> Result<Tallies, StoreError> {
    tallies(&run.counts)
}

impl Store {
    /// One replay.
    pub async fn replay_run(&self, id: Uuid) -> Result<Option<replay_run::Model>, StoreError> {
        self.detached(move |database| async move {
            Ok(replay_run::Entity::find_by_id(id).one(database.orm()).await?)
        })
        .await
    }

    /// The last replays, newest first.
    pub async fn replay_runs(&self, limit: u64) -> Result<Vec<replay_run::Model>, StoreError> {
        self.detached(move |database| async move {
            Ok(replay_run::Entity::find()
                .order_by_desc(replay_run::Column::Id)
                .limit(limit)
                .all(database.orm())
                .await?)
        })
        .await
    }

    /// The run that asking for this again would carry on: one that runs, or one with `again` that was
    /// stopped in the last 24 hours and was begun after every equal one that came to its end.
    ///
    /// Without `again` a stopped one is not carried on: to begin anew repeats nothing, because what is
    /// open or delivered is passed over, and finds what has died since.
    pub async fn unfinished_replay(
        &self,
        request: &str,
        again: bool,
    ) -> Result<Option<replay_run::Model>, StoreError> {
        let request = request.to_owned();
        let now = self.probe().await?.now;
        self.detached(move |database| async move {
            let last = replay_run::Entity::find()
                .filter(replay_run::Column::Request.eq(request))
                .order_by_desc(replay_run::Column::Id)
                .one(database.orm())
                .await?;
            let is_young = |at: DateTime<Utc>| (now - at).to_std().unwrap_or_default() < RESUMABLE;
            Ok(last.filter(|run| match (run.state.as_str(), run.finished_at) {
                ("running", _) => true,
                ("cancelled", Some(at)) => again && is_young(at),
                _ => false,
            }))
        })
        .await
    }

    /// Begins a replay, or finds the one that was begun: see [`Store::unfinished_replay`].
    /// Fails with [`StoreError::Invalid`] when it makes no sense, and when sixteen are unfinished.
    pub async fn begin_replay(&self, new: NewRun) -> Result<Begun, StoreError> {
        new.replay.check().map_err(StoreError::Invalid)?;
        if !new.restart
            && let Some(run) = self.unfinished_replay(&new.request, new.replay.again).await?
        {
            let run = self.resume_replay(run.id, new.by_daemon, new.per_second).await?;
            if let Some(run) = run {
                return Ok(Begun { run, continued: true });
            }
        }
        let walk = self.walk(&new.replay).await?;
        let total = self.total(&new.replay, &walk).await?;
        let (id, request) = (Uuid::now_v7(), new.request.clone());
        let begun = self
            .detached(
                move |database| async move { insert(&database, id, &new, &walk, total).await },
            )
            .await?;
        let run = if begun {
            self.replay_run(id).await?
        } else {
            self.unfinished_replay(&request, false).await?
        };
        let run = run.ok_or_else(|| {
            StoreError::Invalid(format!(
                "{WAITING_MAX} replays are unfinished: cancel one, or wait"
            ))
        })?;
        Ok(Begun { continued: !begun, run })
    }

    /// Stops a run after its current batch; what it opened stays open. `error` says by which fault, if it
    /// was one. Gives the run, which may have ended before.
    pub async fn stop_replay(
        &self,
        id: Uuid,
        error: Option<String>,
    ) -> Result<Option<replay_run::Model>, StoreError> {
        let error = error.map(|error| error.replace('\0', "\\0"));
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(it) => {
                    sqlx::query(STOP_POSTGRES).bind(id).bind(error).execute(&it.shared).await?;
                }
                Database::Sqlite(it) => {
                    sqlx::query(STOP_SQLITE).bind(id).bind(error).execute(&it.writer).await?;
                }
            }
            Ok(())
        })
        .await?;
        self.replay_run(id).await
    }

    /// Carries a stopped run on, from where it stands; leaves one that is done alone, and one whose equal
    /// runs. One that a command drives becomes the daemons' when it is asked of them: the command may be gone.
    pub async fn resume_replay(
        &self,
        id: Uuid,
        by_daemon: bool,
        per_second: Option<f64>,
    ) -> Result<Option<replay_run::Model>, StoreError> {
        self.detached(move |database| async move {
            let driver = driver(by_daemon);
            match &*database {
                Database::Postgres(it) => {
                    let query = sqlx::query(RESUME_POSTGRES).bind(id).bind(driver).bind(per_second);
                    query.execute(&it.shared).await?;
                }
                Database::Sqlite(it) => {
                    let query = sqlx::query(RESUME_SQLITE).bind(id).bind(driver).bind(per_second);
                    query.execute(&it.writer).await?;
                }
            }
            Ok(())
        })
        .await?;
        self.replay_run(id).await
    }

    /// Keeps a run that waits for its next batch. False when it doesn't run any more, or another drives it.
    pub async fn hold_replay(
        &self,
        id: Uuid,
        worker: &str,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let (worker, lease) = (worker.to_owned(), seconds(lease));
        self.detached(move |database| async move {
            let rows = match &*database {
                Database::Postgres(it) => {
                    let query = sqlx::query(HOLD_POSTGRES).bind(id).bind(worker).bind(lease);
                    query.execute(&it.shared).await?.rows_affected()
                }
                Database::Sqlite(it) => {
                    let query = sqlx::query(HOLD_SQLITE).bind(id).bind(worker).bind(lease);
                    query.execute(&it.writer).await?.rows_affected()
                }
            };
            Ok(rows == 1)
        })
        .await
    }

    /// Takes the oldest run that daemons drive and nobody does, for `worker` until `lease` has passed.
    pub async fn claim_replay(
        &self,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<replay_run::Model>, StoreError> {
        let (worker, lease) = (worker.to_owned(), seconds(lease));
        let id: Option<Uuid> = self
            .detached(move |database| async move {
                Ok(match &*database {
                    Database::Postgres(it) => {
                        let query = sqlx::query_scalar(CLAIM_POSTGRES).bind(worker).bind(lease);
                        query.fetch_optional(&it.shared).await?
                    }
                    Database::Sqlite(it) => {
                        let query = sqlx::query_scalar(CLAIM_SQLITE).bind(worker).bind(lease);
                        query.fetch_optional(&it.writer).await?
                    }
                })
            })
            .await?;
        match id {
            Some(id) => self.replay_run(id).await,
            None => Ok(None),
        }
    }
}

fn driver(by_daemon: bool) -> &'static str {
    if by_daemon { "daemon" } else { "command" }
}

/// Tidies up, and inserts a run. Whether it was inserted.
async fn insert(
    database: &Database,
    id: Uuid,
    new: &NewRun,
    walk: &Walk,
    total: Option<i64>,
) -> Result<bool, StoreError> {
    let rows = match database {
        Database::Postgres(it) => {
            let forget = sqlx::query(FORGET_POSTGRES).bind(seconds(KEPT));
            forget.execute(&it.shared).await?;
            sqlx::query(ABANDON_POSTGRES).execute(&it.shared).await?;
            sqlx::query(BEGIN_POSTGRES)
                .bind(id)
                .bind(&new.request)
                .bind(driver(new.by_daemon))
                .bind(walk.made_at)
                .bind(new.replay.since)
                .bind(new.replay.until)
                .bind(new.per_second)
                .bind(walk.upper)
                .bind(&walk.handler)
                .bind(walk.id)
                .bind(total)
                .bind(WAITING_MAX)
                .execute(&it.shared)
                .await?
                .rows_affected()
        }
        Database::Sqlite(it) => {
            sqlx::query(FORGET_SQLITE).bind(seconds(KEPT)).execute(&it.writer).await?;
            sqlx::query(ABANDON_SQLITE).execute(&it.writer).await?;
            sqlx::query(BEGIN_SQLITE)
                .bind(id)
                .bind(&new.request)
                .bind(driver(new.by_daemon))
                .bind(sqlite_text(walk.made_at))
                .bind(new.replay.since.map(sqlite_text))
                .bind(new.replay.until.map(sqlite_text))
                .bind(new.per_second)
                .bind(walk.upper)
                .bind(&walk.handler)
                .bind(walk.id)
                .bind(total)
                .bind(WAITING_MAX)
                .execute(&it.writer)
                .await?
                .rows_affected()
        }
    };
    Ok(rows == 1)
}
