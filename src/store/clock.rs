//! The database's clock, and whether it takes writes.

use chrono::{DateTime, Utc};

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use super::row::get;

/// What a probe of the database found.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// Whether it takes writes.
    pub writable: bool,
}

impl Store {
    /// Asks the database for its time and whether it takes writes. On SQLite a write is tried: the
    /// lock is taken and given back.
    pub async fn probe(&self) -> Result<Probe, StoreError> {
        self.detached(|database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    let row = sqlx::query(
                        "SELECT clock_timestamp() AS now, NOT pg_is_in_recovery() AS writable",
                    )
                    .fetch_one(&postgres.shared)
                    .await?;
                    Ok(Probe { now: get(&row, "now")?, writable: get(&row, "writable")? })
                }
                Database::Sqlite(sqlite) => {
                    let transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                    transaction.rollback().await?;
                    let row = sqlx::query("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS now")
                        .fetch_one(&sqlite.readers)
                        .await?;
                    Ok(Probe { now: get(&row, "now")?, writable: true })
                }
            }
        })
        .await
    }
}

/// A moment as SQLite's tables write it.
pub(super) fn sqlite_text(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}
