//! Chores that one replica runs at a time: a row, claimed like a lease in database time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::upkeep_run;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::clock::sqlite_text;
use super::connect::Database;
use super::error::StoreError;
use super::row::seconds;
use super::{Store, Swept};

pub(super) const LOSE_POSTGRES: &str =
    "UPDATE upkeep_run SET finished_at = clock_timestamp(), outcome = 'lost'
     WHERE chore = $1 AND finished_at IS NULL AND lease_until <= clock_timestamp()";

/// Runs are kept for a quarter of a year.
pub(super) const FORGET_POSTGRES: &str = "DELETE FROM upkeep_run
     WHERE chore = $1 AND finished_at < clock_timestamp() - interval '90 days'";

pub(super) const BEGIN_POSTGRES: &str =
    "INSERT INTO upkeep_run (id, chore, worker, started_at, lease_until, outcome)
    SELECT $1, $2, $3, clock_timestamp(), clock_timestamp() + make_interval(secs => $4), 'running'
     WHERE $5::timestamptz IS NULL
        OR NOT EXISTS (SELECT 1 FROM upkeep_run WHERE chore = $2 AND started_at >= $5::timestamptz
                          AND outcome NOT IN ('failed', 'lost'))
        ON CONFLICT (chore) WHERE finished_at IS NULL DO NOTHING";

/// Takes a claim back whose strike another replica had begun *and* finished after BEGIN_POSTGRES took
/// its snapshot: there it was not to be seen, and being finished it was no conflict either. The other
/// one never withdraws in its turn, since ours could begin only after it had finished.
pub(super) const WITHDRAW_POSTGRES: &str = "DELETE FROM upkeep_run
     WHERE id = $1 AND EXISTS (SELECT 1 FROM upkeep_run other
                                WHERE other.chore = $2 AND other.started_at >= $3 AND other.id <> $1
                                  AND other.outcome NOT IN ('failed', 'lost'))";

pub(super) const RENEW_POSTGRES: &str = "UPDATE upkeep_run
       SET lease_until = clock_timestamp() + make_interval(secs => $2), events = $3, bodies = $4, rejections = $5
     WHERE id = $1 AND finished_at IS NULL";

pub(super) const FINISH_POSTGRES: &str = "UPDATE upkeep_run
       SET finished_at = clock_timestamp(), outcome = $2, events = $3, bodies = $4, rejections = $5, error = $6
     WHERE id = $1 AND finished_at IS NULL";

const LOSE_SQLITE: &str = "UPDATE upkeep_run SET finished_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), outcome = 'lost'
     WHERE chore = ?1 AND finished_at IS NULL AND lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now')";

const FORGET_SQLITE: &str = "DELETE FROM upkeep_run
     WHERE chore = ?1 AND finished_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-90 days')";

const BEGIN_SQLITE: &str = "INSERT INTO upkeep_run (id, chore, worker, started_at, lease_until, outcome)
    SELECT ?1, ?2, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now', ?4 || ' seconds'), 'running'
     WHERE ?5 IS NULL
        OR NOT EXISTS (SELECT 1 FROM upkeep_run WHERE chore = ?2 AND started_at >= ?5
                          AND outcome NOT IN ('failed', 'lost'))
        ON CONFLICT (chore) WHERE finished_at IS NULL DO NOTHING";

const RENEW_SQLITE: &str = "UPDATE upkeep_run
       SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?2 || ' seconds'), events = ?3, bodies = ?4, rejections = ?5
     WHERE id = ?1 AND finished_at IS NULL";

const FINISH_SQLITE: &str = "UPDATE upkeep_run
       SET finished_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), outcome = ?2, events = ?3, bodies = ?4, rejections = ?5, error = ?6
     WHERE id = ?1 AND finished_at IS NULL";

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing is left to do.
    Done,
    /// Its time was up; the next run goes on.
    Partial,
    /// It could not go on.
    Failed(String),
}

impl Store {
    /// Claims a chore for `worker`. `None` when another replica runs it, or when a run began at or
    /// after `slot`, the moment at which the schedule last struck. A run whose lease lapsed is
    /// marked lost first, and runs of a quarter of a year ago are forgotten.
    pub async fn begin_run(
        &self,
        chore: &'static str,
        worker: &str,
        lease: Duration,
        slot: Option<DateTime<Utc>>,
    ) -> Result<Option<Uuid>, StoreError> {
        let worker = worker.to_owned();
        let id = Uuid::now_v7();
        let rows = self
            .detached(move |database| async move {
                match &*database {
                    Database::Postgres(postgres) => {
                        for statement in [LOSE_POSTGRES, FORGET_POSTGRES] {
                            sqlx::query(statement).bind(chore).execute(&postgres.shared).await?;
                        }
                        let begun = sqlx::query(BEGIN_POSTGRES)
                            .bind(id)
                            .bind(chore)
                            .bind(worker)
                            .bind(seconds(lease))
                            .bind(slot)
                            .execute(&postgres.shared)
                            .await?
                            .rows_affected();
                        let (1, Some(slot)) = (begun, slot) else { return Ok(begun) };
                        let withdrawn = sqlx::query(WITHDRAW_POSTGRES)
                            .bind(id)
                            .bind(chore)
                            .bind(slot)
                            .execute(&postgres.shared)
                            .await?
                            .rows_affected();
                        Ok(begun - withdrawn)
                    }
                    Database::Sqlite(sqlite) => {
                        for statement in [LOSE_SQLITE, FORGET_SQLITE] {
                            sqlx::query(statement).bind(chore).execute(&sqlite.writer).await?;
                        }
                        Ok(sqlx::query(BEGIN_SQLITE)
                            .bind(id)
                            .bind(chore)
                            .bind(worker)
                            .bind(seconds(lease))
                            .bind(slot.map(sqlite_text))
                            .execute(&sqlite.writer)
                            .await?
                            .rows_affected())
                    }
                }
            })
            .await?;
        Ok((rows == 1).then_some(id))
    }

    /// Keeps a run's claim and notes how far it is. False when the run is no longer ours.
    pub async fn renew_run(
        &self,
        run: Uuid,
        lease: Duration,
        swept: Swept,
    ) -> Result<bool, StoreError> {
        let [events, bodies, rejections] = rows(swept);
        let lease = seconds(lease);
        self.detached(move |database| async move {
            let done = match &*database {
                Database::Postgres(postgres) => sqlx::query(RENEW_POSTGRES)
                    .bind(run)
                    .bind(lease)
                    .bind(events)
                    .bind(bodies)
                    .bind(rejections)
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(RENEW_SQLITE)
                    .bind(run)
                    .bind(lease)
                    .bind(events)
                    .bind(bodies)
                    .bind(rejections)
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            Ok(done == 1)
        })
        .await
    }

    /// Ends a run.
    pub async fn finish_run(&self, run: Uuid, end: RunEnd, swept: Swept) -> Result<(), StoreError> {
        let [events, bodies, rejections] = rows(swept);
        let (outcome, error) = match end {
            RunEnd::Done => ("done", None),
            RunEnd::Partial => ("partial", None),
            RunEnd::Failed(error) => ("failed", Some(error.replace('\0', "\\0"))),
        };
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    sqlx::query(FINISH_POSTGRES)
                        .bind(run)
                        .bind(outcome)
                        .bind(events)
                        .bind(bodies)
                        .bind(rejections)
                        .bind(error)
                        .execute(&postgres.shared)
                        .await?;
                }
                Database::Sqlite(sqlite) => {
                    sqlx::query(FINISH_SQLITE)
                        .bind(run)
                        .bind(outcome)
                        .bind(events)
                        .bind(bodies)
                        .bind(rejections)
                        .bind(error)
                        .execute(&sqlite.writer)
                        .await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The last runs of a chore, newest first.
    pub async fn runs(
        &self,
        chore: &'static str,
        limit: u64,
    ) -> Result<Vec<upkeep_run::Model>, StoreError> {
        self.detached(move |database| async move {
            Ok(upkeep_run::Entity::find()
                .filter(upkeep_run::Column::Chore.eq(chore))
                .order_by_desc(upkeep_run::Column::StartedAt)
                .order_by_desc(upkeep_run::Column::Id)
                .limit(limit)
                .all(database.orm())
                .await?)
        })
        .await
    }
}

fn rows(swept: Swept) -> [i64; 3] {
    [swept.events, swept.bodies, swept.rejections]
        .map(|rows| i64::try_from(rows).unwrap_or(i64::MAX))
}
