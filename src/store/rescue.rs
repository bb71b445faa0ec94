//! Rescuing: leases that lapsed because their worker died or hung.

use std::time::Duration;

use entity::Name;
use uuid::Uuid;

use super::claim::Counts;
use super::connect::Database;
use super::error::StoreError;
use super::row::{get, json_list, name};
use super::settle::Rows;
use super::{Settled, Settlement, Store};

/// Finds lapsed leases on PostgreSQL.
const LAPSED_POSTGRES: &str = include_str!("sql/lapsed.postgres.sql");

/// Finds lapsed leases on SQLite. Public for the plan tests.
pub const LAPSED_SQLITE: &str = "SELECT id, handler, lease_epoch, attempts, attempts_before,
            round((julianday('now') - julianday(opened_at)) * 86400.0, 3) AS open_for,
            round((julianday('now') - julianday(leased_at)) * 86400.0, 3) AS leased_for
       FROM delivery
      WHERE state = 'leased' AND lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now')
        AND handler IN (SELECT value FROM json_each(?2))
      ORDER BY lease_until
      LIMIT ?1";

/// A delivery whose worker is gone or too slow.
#[derive(Debug, Clone)]
pub struct Lapsed {
    /// The delivery.
    pub delivery: Uuid,
    /// The handler.
    pub handler: Name,
    /// The epoch that lapsed.
    pub epoch: i64,
    /// Which try it was, over all openings.
    pub attempt: u32,
    /// Which try it was since the delivery was last opened.
    pub tried: u32,
    /// How long ago the delivery was opened.
    pub open_for: Duration,
    /// How long ago it was claimed.
    pub leased_for: Duration,
}

impl Store {
    /// Lapsed leases of these handlers, oldest first, at most `limit`. Those of unknown handlers are
    /// left for a replica that knows them.
    pub async fn lapsed(&self, handlers: Vec<Name>, limit: u32) -> Result<Vec<Lapsed>, StoreError> {
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    let names: Vec<&str> = handlers.iter().map(Name::as_str).collect();
                    let rows = sqlx::query(LAPSED_POSTGRES)
                        .bind(&names)
                        .bind(i64::from(limit))
                        .fetch_all(&postgres.shared)
                        .await?;
                    Ok(rows.iter().filter_map(|row| readable(lapsed(row))).collect())
                }
                Database::Sqlite(sqlite) => {
                    let rows = sqlx::query(LAPSED_SQLITE)
                        .bind(i64::from(limit))
                        .bind(json_list(&handlers))
                        .fetch_all(&sqlite.readers)
                        .await?;
                    Ok(rows.iter().filter_map(|row| readable(lapsed(row))).collect())
                }
            }
        })
        .await
    }

    /// Settles lapsed leases. One that was renewed, settled or rescued meanwhile answers [`Settled::LeaseLost`] and is
    /// left as it is; so is one whose row somebody works on.
    pub async fn settle_lapsed(&self, batch: Vec<Settlement>) -> Vec<Result<Settled, StoreError>> {
        self.settle_as(batch, Rows::Lapsed).await
    }
}

fn lapsed<'r, R>(row: &'r R) -> Result<Lapsed, StoreError>
where
    R: sqlx::Row,
    &'static str: sqlx::ColumnIndex<R>,
    Uuid: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    &'r str: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    i32: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    f64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let counts =
        Counts::new(get(row, "attempts")?, get(row, "attempts_before")?, get(row, "open_for")?);
    let leased_for: f64 = get(row, "leased_for")?;
    Ok(Lapsed {
        delivery: get(row, "id")?,
        handler: name(get(row, "handler")?)?,
        epoch: get(row, "lease_epoch")?,
        attempt: counts.attempt,
        tried: counts.tried,
        open_for: counts.open_for,
        leased_for: Duration::try_from_secs_f64(leased_for.max(0.0)).unwrap_or(Duration::ZERO),
    })
}

/// One row that can't be read must not keep the others from being rescued.
fn readable(lapsed: Result<Lapsed, StoreError>) -> Option<Lapsed> {
    match lapsed {
        Ok(lapsed) => Some(lapsed),
        Err(error) => {
            tracing::error!(error = %error, "a lapsed lease can't be read and is left as it is");
            None
        }
    }
}
