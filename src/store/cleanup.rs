//! Deleting what has expired, a bounded batch a call.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::connect::Database;
use super::error::StoreError;
use super::{Retention, Store, Swept};

pub(super) mod postgres;
mod sqlite;

pub use sqlite::{DELETE_EVENTS_SQLITE, DOOMED_SQLITE};

/// Where the next batch of a run begins. A run passes each row once, so that rows which must stay
/// (an open delivery) are not looked at again by every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    expires_at: DateTime<Utc>,
    id: Uuid,
}

impl Cursor {
    /// Before every row.
    pub const START: Self = Self { expires_at: DateTime::<Utc>::UNIX_EPOCH, id: Uuid::nil() };
}

/// What one batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Rows looked at; fewer than the limit means that the run has come to its end.
    pub scanned: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Where the next batch begins.
    pub next: Cursor,
}

/// How long a dead letter keeps its event, in the seconds that the statements take.
#[derive(Debug, Clone, Copy)]
struct DeadFor(f64);

impl Store {
    /// Deletes at most `limit` events whose `expires_at` has passed, with their bodies, deliveries
    /// and attempts. Leaves those with an open delivery, and those with a dead one younger than
    /// `dead`.
    ///
    /// When the database refuses the batch (a delivery was reopened while it ran), the events are
    /// deleted one by one and those that can't go are passed over.
    pub async fn sweep_events(
        &self,
        limit: u32,
        dead: Duration,
        after: Cursor,
    ) -> Result<Batch, StoreError> {
        let dead = DeadFor(super::row::seconds(dead));
        self.detached_long(move |database| async move {
            match sweep_events(&database, limit, dead, after).await {
                Err(StoreError::Broken(error)) => {
                    tracing::warn!(error = %error, "a batch of expired events was refused; deleting one by one");
                    sweep_events_singly(&database, limit, dead, after).await
                }
                swept => swept,
            }
        })
        .await
    }

    /// Deletes at most `limit` bodies whose time has passed, but for events with an open or dead delivery.
    pub async fn sweep_bodies(&self, limit: u32, after: Cursor) -> Result<Batch, StoreError> {
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    postgres::sweep_bodies(postgres, limit, after).await
                }
                Database::Sqlite(sqlite) => sqlite::sweep_bodies(sqlite, limit, after).await,
            }
        })
        .await
    }

    /// Deletes at most `limit` rejections older than `age`, and returns how many.
    pub async fn sweep_rejections(&self, limit: u32, age: Duration) -> Result<u64, StoreError> {
        let age = super::row::seconds(age);
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    postgres::sweep_rejections(postgres, limit, age).await
                }
                Database::Sqlite(sqlite) => sqlite::sweep_rejections(sqlite, limit, age).await,
            }
        })
        .await
    }

    /// What a whole cleanup would delete now.
    pub async fn expired(&self, retention: Retention) -> Result<Swept, StoreError> {
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => postgres::expired(postgres, retention).await,
                Database::Sqlite(sqlite) => sqlite::expired(sqlite, retention).await,
            }
        })
        .await
    }
}

async fn sweep_events(
    database: &Database,
    limit: u32,
    dead: DeadFor,
    after: Cursor,
) -> Result<Batch, StoreError> {
    match database {
        Database::Postgres(postgres) => postgres::sweep_events(postgres, limit, dead, after).await,
        Database::Sqlite(sqlite) => sqlite::sweep_events(sqlite, limit, dead, after).await,
    }
}

async fn sweep_events_singly(
    database: &Database,
    limit: u32,
    dead: DeadFor,
    after: Cursor,
) -> Result<Batch, StoreError> {
    let mut total = Batch { scanned: 0, deleted: 0, next: after };
    while total.scanned < u64::from(limit) {
        match sweep_events(database, 1, dead, total.next).await {
            Ok(one) if one.scanned == 0 => break,
            Ok(one) => {
                total.scanned += one.scanned;
                total.deleted += one.deleted;
                total.next = one.next;
            }
            Err(StoreError::Broken(error)) => {
                let stuck = match database {
                    Database::Postgres(postgres) => {
                        postgres::first_expired(postgres, total.next).await?
                    }
                    Database::Sqlite(sqlite) => sqlite::first_expired(sqlite, total.next).await?,
                };
                let Some(stuck) = stuck else { break };
                tracing::error!(event.id = %stuck.id, error = %error, "an expired event can't be deleted; passing it over");
                total.scanned += 1;
                total.next = stuck;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}
