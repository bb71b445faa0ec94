//! Deleting keys that mean nothing any more.

use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;

pub(in crate::store) const SWEEP_KEYS_POSTGRES: &str =
    include_str!("../sql/key_sweep.postgres.sql");

/// Deletes a batch on SQLite. Public for the plan tests.
pub const SWEEP_KEYS_SQLITE: &str = "DELETE FROM idempotency_key WHERE rowid IN (
    SELECT rowid FROM idempotency_key
     WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
       AND NOT (status = 'processing' AND lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now'))
     ORDER BY expires_at LIMIT ?1)";

/// Rows of one statement on SQLite: it holds the only writer.
const STEP_ROWS: u32 = 200;

impl Store {
    /// Deletes at most `limit` keys whose time has passed, and returns how many. One with a live lease
    /// stays, whatever its time says.
    pub async fn sweep_keys(&self, limit: u32) -> Result<u64, StoreError> {
        self.detached_long(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => Ok(sqlx::query(SWEEP_KEYS_POSTGRES)
                    .bind(i64::from(limit))
                    .execute(&postgres.cleaning)
                    .await?
                    .rows_affected()),
                Database::Sqlite(sqlite) => {
                    let mut left = limit;
                    let mut deleted = 0;
                    while left > 0 {
                        let step = left.min(STEP_ROWS);
                        let rows = sqlx::query(SWEEP_KEYS_SQLITE)
                            .bind(i64::from(step))
                            .execute(&sqlite.writer)
                            .await?
                            .rows_affected();
                        deleted += rows;
                        if rows < u64::from(step) {
                            break;
                        }
                        left -= step;
                    }
                    Ok(deleted)
                }
            }
        })
        .await
    }
}
