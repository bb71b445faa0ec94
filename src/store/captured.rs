//! Secrets that a provider handed to a source while we ran: at most one a source.

use chrono::{DateTime, Utc};
use entity::Name;
use sqlx::Row;

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use crate::secret::Secret;

const KEEP_POSTGRES: &str = "INSERT INTO captured_secret (source, secret, captured_at)
    VALUES ($1, $2, clock_timestamp()) ON CONFLICT (source) DO NOTHING";
const KEEP_SQLITE: &str = "INSERT INTO captured_secret (source, secret, captured_at)
    VALUES (?1, ?2, strftime('%Y-%m-%d %H:%M:%f', 'now')) ON CONFLICT (source) DO NOTHING";

const ALL: &str = "SELECT source, secret, captured_at FROM captured_secret ORDER BY source";

const DROP_POSTGRES: &str = "DELETE FROM captured_secret WHERE source = $1";
const DROP_SQLITE: &str = "DELETE FROM captured_secret WHERE source = ?1";

/// A captured secret.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The source.
    pub source: String,
    /// The secret. Its `Debug` hides it.
    pub secret: Secret,
    /// Database time of capturing.
    pub captured_at: DateTime<Utc>,
}

impl Store {
    /// Keeps the secret of a source that has none; false when it has one already, which stays. Either
    /// is durable when this returns.
    pub async fn capture(&self, source: Name, secret: Secret) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let rows = match &*database {
                Database::Postgres(postgres) => sqlx::query(KEEP_POSTGRES)
                    .bind(source.as_str())
                    .bind(secret.expose())
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(KEEP_SQLITE)
                    .bind(source.as_str())
                    .bind(secret.expose())
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            Ok(rows == 1)
        })
        .await
    }

    /// Every captured secret, by source.
    pub async fn captured(&self) -> Result<Vec<Captured>, StoreError> {
        self.detached(|database| async move {
            match &*database {
                Database::Postgres(postgres) => sqlx::query(ALL)
                    .fetch_all(&postgres.shared)
                    .await?
                    .iter()
                    .map(|row| captured(row.try_get(0), row.try_get(1), row.try_get("captured_at")))
                    .collect(),
                Database::Sqlite(sqlite) => sqlx::query(ALL)
                    .fetch_all(&sqlite.readers)
                    .await?
                    .iter()
                    .map(|row| captured(row.try_get(0), row.try_get(1), row.try_get("captured_at")))
                    .collect(),
            }
        })
        .await
    }

    /// Forgets the captured secret of a source; false when there is none.
    pub async fn forget_captured(&self, source: Name) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let rows = match &*database {
                Database::Postgres(postgres) => sqlx::query(DROP_POSTGRES)
                    .bind(source.as_str())
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(DROP_SQLITE)
                    .bind(source.as_str())
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            Ok(rows == 1)
        })
        .await
    }
}

fn captured(
    source: Result<String, sqlx::Error>,
    secret: Result<String, sqlx::Error>,
    captured_at: Result<DateTime<Utc>, sqlx::Error>,
) -> Result<Captured, StoreError> {
    Ok(Captured { source: source?, secret: Secret::new(secret?), captured_at: captured_at? })
}
