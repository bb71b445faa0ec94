//! Where a replay begins, and how long it is.

use entity::{event, replay_run};
use sea_orm::{EntityTrait, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{Replay, Walk};
use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;

/// Past this many, the rows before a run are counted no further.
const TOTAL_MAX: i64 = 1_000_000;

const TOTAL_DEAD_POSTGRES: &str = "SELECT count(*) FROM (
    SELECT 1 FROM delivery WHERE state = 'dead' AND handler >= $1 AND ($1 = '' OR handler <= $1) LIMIT $2) AS ahead";
const TOTAL_DEAD_SQLITE: &str = "SELECT count(*) FROM (
    SELECT 1 FROM delivery WHERE state = 'dead' AND handler >= ?1 AND (?1 = '' OR handler <= ?1) LIMIT ?2) AS ahead";
const TOTAL_EVENTS_POSTGRES: &str =
    "SELECT count(*) FROM (SELECT 1 FROM event WHERE id > $1 AND id <= $2 LIMIT $3) AS ahead";
const TOTAL_EVENTS_SQLITE: &str =
    "SELECT count(*) FROM (SELECT 1 FROM event WHERE id > ?1 AND id <= ?2 LIMIT ?3) AS ahead";

impl Walk {
    /// Where a run stands.
    pub(super) fn of(run: &replay_run::Model) -> Self {
        Self {
            handler: run.cursor_handler.clone(),
            id: run.cursor_id,
            upper: run.upper_id,
            made_at: run.made_at,
        }
    }
}

impl Store {
    /// A walk that begins now.
    pub(super) async fn walk(&self, replay: &Replay) -> Result<Walk, StoreError> {
        let now = self.probe().await?.now;
        let newest = self
            .detached(|database| async move {
                let newest = event::Entity::find()
                    .select_only()
                    .column(event::Column::Id)
                    .order_by_desc(event::Column::Id)
                    .into_tuple::<Uuid>()
                    .one(database.orm())
                    .await?;
                Ok(newest)
            })
            .await?;
        Ok(Walk::begin(replay, newest, now))
    }

    /// How many rows are before a walk; `None` when they are very many.
    pub(super) async fn total(
        &self,
        replay: &Replay,
        walk: &Walk,
    ) -> Result<Option<i64>, StoreError> {
        let (dead, walk) = (replay.walks_the_dead(), walk.clone());
        let total: i64 = self
            .detached(move |database| async move {
                Ok(match (&*database, dead) {
                    (Database::Postgres(it), true) => {
                        sqlx::query_scalar(TOTAL_DEAD_POSTGRES)
                            .bind(walk.handler)
                            .bind(TOTAL_MAX + 1)
                            .fetch_one(&it.shared)
                            .await?
                    }
                    (Database::Postgres(it), false) => {
                        sqlx::query_scalar(TOTAL_EVENTS_POSTGRES)
                            .bind(walk.id)
                            .bind(walk.upper)
                            .bind(TOTAL_MAX + 1)
                            .fetch_one(&it.shared)
                            .await?
                    }
                    (Database::Sqlite(it), true) => {
                        sqlx::query_scalar(TOTAL_DEAD_SQLITE)
                            .bind(walk.handler)
                            .bind(TOTAL_MAX + 1)
                            .fetch_one(&it.readers)
                            .await?
                    }
                    (Database::Sqlite(it), false) => {
                        sqlx::query_scalar(TOTAL_EVENTS_SQLITE)
                            .bind(walk.id)
                            .bind(walk.upper)
                            .bind(TOTAL_MAX + 1)
                            .fetch_one(&it.readers)
                            .await?
                    }
                })
            })
            .await?;
        Ok(Some(total).filter(|total| *total <= TOTAL_MAX))
    }
}
