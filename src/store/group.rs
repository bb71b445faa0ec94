//! Dedupe groups: the names under which ids were recorded.
//!
//! A provider's id is in no index of its own: ids are random, and where they are sorted each new event changes a
//! page somewhere else, which cost SQLite more than a third of its speed. An event is found by its dedupe key,
//! which is computed from its group and its id; so whoever has the groups can look an id up.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use entity::{dedupe_group, event};

use super::NewEvent;
use super::connect::Database;
use super::error::StoreError;
use crate::verify::dedupe_key;

/// Events found for one provider's id: groups may share ids.
const SAME_ID_MAX: u64 = 20;

const KEEP: &str = "INSERT INTO dedupe_group (name) VALUES ($1) ON CONFLICT DO NOTHING";

/// The groups of which this process knows that their names are in the table.
#[derive(Debug, Default)]
pub(super) struct KnownGroups(RwLock<HashSet<Arc<str>>>);

impl KnownGroups {
    /// Makes the groups of these events durable, before they are recorded. Nearly always there is nothing to do.
    pub(super) async fn keep(
        &self,
        database: &Database,
        batch: &[&NewEvent],
    ) -> Result<(), StoreError> {
        for group in self.unknown(batch) {
            match database {
                Database::Postgres(postgres) => {
                    let mut hot = postgres.recording().await?;
                    let patience = hot.patience();
                    let work = async {
                        sqlx::query(KEEP).bind(&*group).execute(hot.connection()).await?;
                        Ok(())
                    };
                    let answer = tokio::time::timeout(patience, work).await;
                    hot.finish(answer)?;
                }
                Database::Sqlite(sqlite) => {
                    sqlx::query(KEEP).bind(&*group).execute(&sqlite.writer).await?;
                }
            }
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(group);
        }
        Ok(())
    }

    fn unknown(&self, batch: &[&NewEvent]) -> HashSet<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let groups = batch.iter().map(|event| &event.verified.identity().group);
        groups.filter(|group| !known.contains(*group)).cloned().collect()
    }
}

/// The ids of the newest events that have this id, which is ours or a provider's.
pub(super) async fn named(database: &Database, id: &str) -> Result<Vec<Uuid>, StoreError> {
    let orm = database.orm();
    let groups = dedupe_group::Entity::find().all(orm).await?;
    let keys = groups.iter().map(|group| dedupe_key(&group.name, id));
    let mut ids: Vec<Uuid> = event::Entity::find()
        .select_only()
        .column(event::Column::Id)
        .filter(event::Column::DedupeKey.is_in(keys))
        .filter(event::Column::EventId.eq(id))
        .order_by_desc(event::Column::Id)
        .limit(SAME_ID_MAX)
        .into_tuple()
        .all(orm)
        .await?;
    ids.extend(Uuid::try_parse(id).ok());
    Ok(ids)
}
