//! Dedupe groups: the names under which ids were recorded.
//!
//! A provider's id is in no index of its own: ids are random, and where they are sorted each new event changes a
//! page somewhere else, which cost SQLite more than a third of its speed. An event is found by its dedupe key,
//! which is computed from its group and its id; so whoever has the groups can look an id up.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use entity::{dedupe_group, event};

use super::connect::Database;
use super::error::StoreError;
use super::{NewEvent, Store};
use crate::verify::dedupe_key;

/// How long a group is believed to be in the table: after a failover to a standby that was behind, or beside an
/// older replica, it may not be.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// Keys of one look-up: a statement's parameters are limited.
const KEYS_MAX: usize = 1_000;

const KEEP: &str = "INSERT INTO dedupe_group (name) VALUES ($1) ON CONFLICT DO NOTHING";

/// The groups of which this process believes that their names are in the table.
#[derive(Debug, Default)]
pub(super) struct KnownGroups(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    since: Option<Instant>,
    names: HashSet<Arc<str>>,
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) < BELIEVED_FOR)
    }

    fn has(&self, name: &str, now: Instant) -> bool {
        self.is_fresh(now) && self.names.contains(name)
    }

    fn add(&mut self, name: Arc<str>, now: Instant) {
        if !self.is_fresh(now) {
            *self = Self { since: Some(now), names: HashSet::new() };
        }
        self.names.insert(name);
    }
}

impl KnownGroups {
    /// Makes the groups of these events durable, before they are recorded. Nearly always there is nothing to do.
    ///
    /// What fails is tried again a minute later: nobody's event is refused because people couldn't look it up.
    pub(super) async fn keep(&self, database: &Database, batch: &[&NewEvent]) {
        self.keep_names(database, batch.iter().map(|event| &event.verified.identity().group)).await;
    }

    async fn keep_names<'a>(&self, database: &Database, names: impl Iterator<Item = &'a Arc<str>>) {
        let names = self.unknown(names, Instant::now());
        for name in &names {
            if let Err(error) = insert(database, name).await {
                tracing::warn!(dedupe.group = %name, error = %error, "the dedupe group {name} was not kept: for now its events may not be found by their ids");
                // Intake doesn't wait for each of them while the database is away.
                if error.is_transient() {
                    break;
                }
            }
        }
        if !names.is_empty() {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            names.into_iter().for_each(|name| known.add(name, now));
        }
    }

    fn unknown<'a>(
        &self,
        names: impl Iterator<Item = &'a Arc<str>>,
        now: Instant,
    ) -> HashSet<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.filter(|name| !known.has(name, now)).cloned().collect()
    }
}

impl Store {
    /// Makes these groups durable, so that events which an older version recorded under them are found by their ids.
    /// What fails is logged, and tried again with the group's next event.
    pub async fn keep_groups(&self, names: Vec<Arc<str>>) -> Result<(), StoreError> {
        let groups = Arc::clone(&self.groups);
        self.detached(move |database| async move {
            groups.keep_names(&database, names.iter()).await;
            Ok(())
        })
        .await
    }
}

async fn insert(database: &Database, name: &str) -> Result<(), StoreError> {
    match database {
        Database::Postgres(postgres) => {
            let mut hot = postgres.recording().await?;
            let patience = hot.patience();
            let work = async {
                sqlx::query(KEEP).bind(name).execute(hot.connection()).await?;
                Ok(())
            };
            let answer = tokio::time::timeout(patience, work).await;
            hot.finish(answer)
        }
        Database::Sqlite(sqlite) => {
            sqlx::query(KEEP).bind(name).execute(&sqlite.writer).await?;
            Ok(())
        }
    }
}

/// The ids of the events that have this id, which is ours or a provider's: one a group at most, and our own.
pub(super) async fn named(database: &Database, id: &str) -> Result<Vec<Uuid>, StoreError> {
    let orm = database.orm();
    let groups = dedupe_group::Entity::find().all(orm).await?;
    let keys: Vec<Uuid> = groups.iter().map(|group| dedupe_key(&group.name, id)).collect();
    let mut ids = Vec::new();
    for keys in keys.chunks(KEYS_MAX) {
        let found: Vec<Uuid> = event::Entity::find()
            .select_only()
            .column(event::Column::Id)
            .filter(event::Column::DedupeKey.is_in(keys.iter().copied()))
            .filter(event::Column::EventId.eq(id))
            .into_tuple()
            .all(orm)
            .await?;
        ids.extend(found);
    }
    ids.extend(Uuid::try_parse(id).ok());
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_written_again_after_a_minute() {
        let groups = KnownGroups::default();
        let begin = Instant::now();
        let names: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
        let unknown = |after: u64| {
            let mut unknown: Vec<String> = groups
                .unknown(names.iter(), begin + Duration::from_secs(after))
                .iter()
                .map(|name| name.to_string())
                .collect();
            unknown.sort();
            unknown
        };
        assert_eq!(unknown(0), ["a", "b"]);
        groups.0.write().unwrap().add(Arc::from("a"), begin);
        assert_eq!(unknown(59), ["b"]);
        assert_eq!(unknown(60), ["a", "b"]);
        groups.0.write().unwrap().add(Arc::from("b"), begin + Duration::from_secs(60));
        assert_eq!(unknown(61), ["a"], "what was known before counts no more");
    }
}
