//! Bodies and attempts in a table for each day, on PostgreSQL: made ahead, and dropped as a whole.

use std::time::Duration;

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use super::row::get;

/// Makes partitions of the tables that are there, once, and the functions that keep them. May run again.
pub(super) const PARTITION: &str = include_str!("sql/partitions.postgres.sql");

const IS_PARTITIONED: &str =
    "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('event_body')";

const ADD: &str = "SELECT hookonce_add_partitions()";

const DROP: &str = "SELECT whole, dropped, about FROM hookonce_drop_partition()";

/// How often partitions should be made ahead.
pub const ADD_EVERY: Duration = Duration::from_secs(3600);

/// A partition that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The table that it was of: `event_body` or `attempt`.
    pub of: &'static str,
    /// Its own name, which holds its day.
    pub name: String,
    /// About how many rows it had.
    pub rows: u64,
}

impl Store {
    /// Makes the partitions of the next days where they are missing; false when the tables have none at all.
    /// Fails as transient when somebody holds the tables for longer than a second: nothing waits for it.
    pub async fn add_partitions(&self) -> Result<bool, StoreError> {
        self.detached(|database| async move {
            let Database::Postgres(postgres) = &*database else { return Ok(false) };
            if !is_partitioned(&postgres.shared).await? {
                return Ok(false);
            }
            sqlx::query(ADD).execute(&postgres.shared).await?;
            Ok(true)
        })
        .await
    }

    /// Drops one partition of which nothing is needed any more: its day is over, its bodies have expired and no
    /// delivery is open or dead. `None` when there is none, or when somebody holds its table: those who read or
    /// write meanwhile wait for a second and a half at most.
    pub async fn drop_partition(&self) -> Result<Option<Dropped>, StoreError> {
        self.detached_long(|database| async move {
            let Database::Postgres(postgres) = &*database else { return Ok(None) };
            if !is_partitioned(&postgres.shared).await? {
                return Ok(None);
            }
            let row = sqlx::query(DROP).fetch_one(&postgres.shared).await?;
            let whole: Option<String> = get(&row, "whole")?;
            let Some(whole) = whole else { return Ok(None) };
            let about: i64 = get(&row, "about")?;
            Ok(Some(Dropped {
                of: if whole == "attempt" { "attempt" } else { "event_body" },
                name: get(&row, "dropped")?,
                rows: u64::try_from(about).unwrap_or(0),
            }))
        })
        .await
    }
}

/// Whether the tables have partitions.
pub(super) async fn is_partitioned(pool: &sqlx::PgPool) -> Result<bool, StoreError> {
    let it: Option<bool> = sqlx::query_scalar(IS_PARTITIONED).fetch_optional(pool).await?;
    Ok(it.unwrap_or(false))
}
