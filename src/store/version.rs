//! Versions of events in their lanes.

use uuid::Uuid;

use super::Store;
use super::connect::Database;
use super::error::StoreError;

/// Public for the plan tests.
pub const KEEP_POSTGRES: &str = "WITH mine AS (
    UPDATE delivery SET version = $3 WHERE id = $1 AND lease_epoch = $2 AND lease_until IS NOT NULL RETURNING handler, lane
)
SELECT (SELECT d.version FROM delivery d
         WHERE d.handler = mine.handler AND d.lane = mine.lane AND d.version IS NOT NULL AND d.state = 'delivered'
         ORDER BY d.version DESC LIMIT 1)
  FROM mine";

/// Public for the plan tests.
pub const KEEP_SQLITE: &str =
    "UPDATE delivery SET version = ?3 WHERE id = ?1 AND lease_epoch = ?2 AND lease_until IS NOT NULL
RETURNING (SELECT d.version FROM delivery d
            WHERE d.handler = delivery.handler AND d.lane = delivery.lane AND d.version IS NOT NULL AND d.state = 'delivered'
            ORDER BY d.version DESC LIMIT 1)";

impl Store {
    /// Keeps the version of a leased delivery, and gives the highest one that was delivered in its lane:
    /// `Some(None)` when there is none, `None` when the lease is lost. Versions are compared as text.
    /// Cancel-safe: dropping the future stops nothing.
    pub async fn keep_version(
        &self,
        delivery: Uuid,
        epoch: i64,
        version: &str,
    ) -> Result<Option<Option<String>>, StoreError> {
        let version = version.to_owned();
        self.detached(move |database| async move {
            Ok(match &*database {
                Database::Postgres(postgres) => {
                    sqlx::query_scalar(KEEP_POSTGRES)
                        .bind(delivery)
                        .bind(epoch)
                        .bind(version)
                        .fetch_optional(&postgres.shared)
                        .await?
                }
                Database::Sqlite(sqlite) => {
                    sqlx::query_scalar(KEEP_SQLITE)
                        .bind(delivery)
                        .bind(epoch)
                        .bind(version)
                        .fetch_optional(&sqlite.writer)
                        .await?
                }
            })
        })
        .await
    }
}
