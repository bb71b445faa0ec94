//! The ring of refused requests: bounded by bytes a source, and by age (cleanup).

use chrono::{DateTime, Utc};
use entity::{Name, rejection};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::clock::sqlite_text;
use super::connect::Database;
use super::error::StoreError;
use super::{NewRejection, Store};

/// The most bytes of rejections that are kept for a source.
pub const RING_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// What a row costs beside its headers and body.
const ROW_BYTES: usize = 512;

const INSERT_POSTGRES: &str = "INSERT INTO rejection (id, source, code, detail, received_at, arrived_at, peer, method, target, headers, body, size)
     VALUES ($1, $2, $3, $4, clock_timestamp(), $5, $6, $7, $8, $9, $10, $11)";

const INSERT_SQLITE: &str = "INSERT INTO rejection (id, source, code, detail, received_at, arrived_at, peer, method, target, headers, body, size)
     VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%d %H:%M:%f', 'now'), ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

pub(super) const TRIM_POSTGRES: &str = "DELETE FROM rejection WHERE id IN (
    SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) AS kept FROM rejection WHERE source = $1) AS ring
     WHERE kept > $2)";

const TRIM_SQLITE: &str = "DELETE FROM rejection WHERE id IN (
    SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) AS kept FROM rejection WHERE source = ?1) AS ring
     WHERE kept > ?2)";

const READMITTED_POSTGRES: &str = "UPDATE rejection SET readmitted_as = $2 WHERE id = $1";
const READMITTED_SQLITE: &str = "UPDATE rejection SET readmitted_as = ?2 WHERE id = ?1";

impl NewRejection {
    /// The bytes that it counts against the ring.
    #[must_use]
    pub fn size(&self) -> usize {
        let received = &self.received;
        let headers: usize =
            received.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        ROW_BYTES + headers + received.body.len() + received.target.len() + self.detail.len()
    }
}

impl Store {
    /// Keeps refused requests. Each is written by itself: one that the database refuses is logged
    /// and passed over. Fails only when the database does not take any now.
    pub async fn keep_rejections(&self, rejections: Vec<NewRejection>) -> Result<(), StoreError> {
        self.detached(|database| async move {
            for rejection in &rejections {
                match insert(&database, rejection).await {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => tracing::warn!(source.name = %rejection.source, rejection.code = rejection.code,
                        error = %error, "a rejection can't be kept"),
                }
            }
            Ok(())
        })
        .await
    }

    /// Drops the oldest rejections of a source beyond `bytes`.
    pub async fn trim_rejections(&self, source: Name, bytes: i64) -> Result<u64, StoreError> {
        self.detached(move |database| async move {
            let done = match &*database {
                Database::Postgres(postgres) => sqlx::query(TRIM_POSTGRES)
                    .bind(source.as_str())
                    .bind(bytes)
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(TRIM_SQLITE)
                    .bind(source.as_str())
                    .bind(bytes)
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            Ok(done)
        })
        .await
    }

    /// A kept rejection, with its bytes.
    pub async fn rejection(&self, id: Uuid) -> Result<Option<rejection::Model>, StoreError> {
        self.detached(move |database| async move {
            Ok(rejection::Entity::find()
                .filter(rejection::Column::Id.eq(id))
                .one(database.orm())
                .await?)
        })
        .await
    }

    /// Notes which event a rejection became.
    pub async fn mark_readmitted(&self, id: Uuid, event: Uuid) -> Result<(), StoreError> {
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    sqlx::query(READMITTED_POSTGRES)
                        .bind(id)
                        .bind(event)
                        .execute(&postgres.shared)
                        .await?;
                }
                Database::Sqlite(sqlite) => {
                    sqlx::query(READMITTED_SQLITE)
                        .bind(id)
                        .bind(event)
                        .execute(&sqlite.writer)
                        .await?;
                }
            }
            Ok(())
        })
        .await
    }
}

async fn insert(database: &Database, rejection: &NewRejection) -> Result<(), StoreError> {
    let received = &rejection.received;
    let arrived_at: DateTime<Utc> = received.arrived_at;
    let peer = received.peer.map(|peer| peer.to_string());
    let size = i64::try_from(rejection.size()).unwrap_or(i64::MAX);
    // PostgreSQL's text holds no NUL, and a detail may quote what was sent.
    let detail = rejection.detail.replace('\0', "\\0");
    match database {
        Database::Postgres(postgres) => {
            sqlx::query(INSERT_POSTGRES)
                .bind(Uuid::now_v7())
                .bind(rejection.source.as_str())
                .bind(rejection.code)
                .bind(detail)
                .bind(arrived_at)
                .bind(peer)
                .bind(&received.method)
                .bind(received.target.as_bytes())
                .bind(received.headers.as_bytes())
                .bind(&received.body[..])
                .bind(size)
                .execute(&postgres.shared)
                .await?;
        }
        Database::Sqlite(sqlite) => {
            sqlx::query(INSERT_SQLITE)
                .bind(Uuid::now_v7())
                .bind(rejection.source.as_str())
                .bind(rejection.code)
                .bind(detail)
                .bind(sqlite_text(arrived_at))
                .bind(peer)
                .bind(&received.method)
                .bind(received.target.as_bytes())
                .bind(received.headers.as_bytes())
                .bind(&received.body[..])
                .bind(size)
                .execute(&sqlite.writer)
                .await?;
        }
    }
    Ok(())
}
