//! The database's clock, and whether it takes writes.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use super::row::get;

/// How much later than its id an event may have been recorded, and the other way round: ids hold the
/// clock of who made them, `received_at` is the database's. Only how much is looked at depends on it.
pub(super) const ID_SLACK: TimeDelta = TimeDelta::days(1);

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

/// The first or the last UUIDv7 of a millisecond.
pub(super) fn id_edge(at: DateTime<Utc>, rest: u8) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0).to_be_bytes();
    let mut bytes = [rest; 16];
    for (byte, from) in bytes.iter_mut().zip(millis.into_iter().skip(2)) {
        *byte = from;
    }
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time_lie_between_its_edges() {
        let now = Utc::now();
        let id = Uuid::now_v7();
        assert!(
            id_edge(now - TimeDelta::seconds(1), 0) < id
                && id < id_edge(now + TimeDelta::seconds(1), 0xff)
        );
        assert_eq!(id_edge(DateTime::<Utc>::UNIX_EPOCH - TimeDelta::days(1), 0), Uuid::nil());
    }
}
