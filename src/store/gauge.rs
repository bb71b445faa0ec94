//! Figures for the metrics: how much waits, and how large the tables are.

use std::time::Duration;

use entity::Name;

use super::connect::{Database, Postgres, Sqlite};
use super::error::StoreError;
use super::row::{get, json_list, seconds};
use super::{Retention, Store};

/// Past this many, a handler's backlog is counted no further: the figure is for an alarm.
const BACKLOG_MAX: i64 = 1_000_000;

const BACKLOG_POSTGRES: &str = "SELECT h.handler,
       (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE state = 'pending' AND NOT lane_waits AND handler = h.handler LIMIT $2) AS p)
       + (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE lane_waits AND handler = h.handler LIMIT $2) AS w) AS pending,
       (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE state = 'dead' AND handler = h.handler LIMIT $2) AS d) AS dead,
       COALESCE((SELECT EXTRACT(EPOCH FROM clock_timestamp() - min(due_at))::float8
                   FROM delivery WHERE state = 'pending' AND NOT lane_waits AND handler = h.handler), 0)::float8 AS oldest
  FROM UNNEST($1::text[]) AS h (handler)";

const BACKLOG_SQLITE: &str = "SELECT h.value AS handler,
       (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE state = 'pending' AND lane_waits = 0 AND handler = h.value LIMIT ?2))
       + (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE lane_waits AND handler = h.value LIMIT ?2)) AS pending,
       (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE state = 'dead' AND handler = h.value LIMIT ?2)) AS dead,
       COALESCE((SELECT round((julianday('now') - julianday(min(due_at))) * 86400.0, 3)
                   FROM delivery WHERE state = 'pending' AND lane_waits = 0 AND handler = h.value), 0.0) AS oldest
  FROM json_each(?1) AS h";

/// The planner's estimate: counting a large table would read all of it.
const SIZES_POSTGRES: &str = "SELECT c.relname::text AS name, t.rows, t.bytes
  FROM pg_class c
 CROSS JOIN LATERAL (
       SELECT sum(greatest(p.reltuples, 0))::int8 AS rows, sum(pg_total_relation_size(p.oid))::int8 AS bytes
         FROM pg_class p
        WHERE p.oid = c.oid OR p.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid)) AS t
 WHERE c.oid = ANY (ARRAY['event', 'event_body', 'event_conflict', 'delivery', 'attempt', 'rejection', 'upkeep_run', 'idempotency_key']::regclass[])";

const ROWS_SQLITE: &str =
    "SELECT (SELECT count(*) FROM event) AS event, (SELECT count(*) FROM event_body) AS event_body,
       (SELECT count(*) FROM delivery) AS delivery, (SELECT count(*) FROM attempt) AS attempt,
       (SELECT count(*) FROM rejection) AS rejection,
       (SELECT count(*) FROM idempotency_key) AS idempotency_key";

const BYTES_SQLITE: &str =
    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";

/// Past this many, expired rows are counted no further.
const EXPIRED_MAX: i64 = 100_000;

const EXPIRED_POSTGRES: &str = "SELECT
    (SELECT count(*) FROM (SELECT 1 FROM event WHERE expires_at <= (SELECT clock_timestamp() - hookonce_grace()) LIMIT $1) AS e) AS event,
    (SELECT count(*) FROM (SELECT 1 FROM event_body WHERE expires_at <= (SELECT clock_timestamp() - hookonce_grace()) LIMIT $1) AS b) AS event_body,
    (SELECT count(*) FROM (SELECT 1 FROM rejection
        WHERE received_at <= (SELECT clock_timestamp()) - make_interval(secs => $2) LIMIT $1) AS r) AS rejection,
    (SELECT count(*) FROM (SELECT 1 FROM idempotency_key WHERE expires_at <= (SELECT clock_timestamp()) LIMIT $1) AS k) AS idempotency_key";

const EXPIRED_SQLITE: &str = "SELECT
    (SELECT count(*) FROM (SELECT 1 FROM event WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') LIMIT ?1)) AS event,
    (SELECT count(*) FROM (SELECT 1 FROM event_body WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') LIMIT ?1)) AS event_body,
    (SELECT count(*) FROM (SELECT 1 FROM rejection
        WHERE received_at <= strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?2 || ' seconds') LIMIT ?1)) AS rejection,
    (SELECT count(*) FROM (SELECT 1 FROM idempotency_key WHERE expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') LIMIT ?1)) AS idempotency_key";

/// Tables that cleanup empties by their own clocks.
const EXPIRING: [&str; 4] = ["event", "event_body", "rejection", "idempotency_key"];

/// How much waits for a handler.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// The handler.
    pub handler: Name,
    /// Pending deliveries, due or not.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest pending one is overdue; zero when none is.
    pub oldest: Duration,
}

/// How large a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// Its name; `all` for the whole SQLite file.
    pub table: &'static str,
    /// Rows: PostgreSQL's estimate, or SQLite's count.
    pub rows: Option<u64>,
    /// Bytes with indexes; SQLite knows them for the whole file only.
    pub bytes: Option<u64>,
}

impl Store {
    /// The backlog of these handlers.
    pub async fn backlog(&self, handlers: Vec<Name>) -> Result<Vec<Backlog>, StoreError> {
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    let names: Vec<&str> = handlers.iter().map(Name::as_str).collect();
                    let rows = sqlx::query(BACKLOG_POSTGRES)
                        .bind(&names)
                        .bind(BACKLOG_MAX)
                        .fetch_all(&postgres.shared)
                        .await?;
                    rows.iter()
                        .map(|row| {
                            backlog(
                                get(row, "handler")?,
                                get(row, "pending")?,
                                get(row, "dead")?,
                                get(row, "oldest")?,
                            )
                        })
                        .collect()
                }
                Database::Sqlite(sqlite) => {
                    let rows = sqlx::query(BACKLOG_SQLITE)
                        .bind(json_list(&handlers))
                        .bind(BACKLOG_MAX)
                        .fetch_all(&sqlite.readers)
                        .await?;
                    rows.iter()
                        .map(|row| {
                            backlog(
                                get(row, "handler")?,
                                get(row, "pending")?,
                                get(row, "dead")?,
                                get(row, "oldest")?,
                            )
                        })
                        .collect()
                }
            }
        })
        .await
    }

    /// How many rows have expired and are still there, by table; each counted up to 100,000. Those of
    /// events include what waits for an open or a dead delivery.
    pub async fn expired_left(
        &self,
        retention: Retention,
    ) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let age = seconds(retention.rejections);
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    let query = sqlx::query(EXPIRED_POSTGRES).bind(EXPIRED_MAX).bind(age);
                    left(&query.fetch_one(&postgres.shared).await?)
                }
                Database::Sqlite(sqlite) => {
                    let query = sqlx::query(EXPIRED_SQLITE).bind(EXPIRED_MAX).bind(age);
                    left(&query.fetch_one(&sqlite.readers).await?)
                }
            }
        })
        .await
    }

    /// How large the tables are. Reads statistics on PostgreSQL; counts on SQLite.
    pub async fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        self.detached(|database| async move {
            match &*database {
                Database::Postgres(postgres) => sizes_postgres(postgres).await,
                Database::Sqlite(sqlite) => sizes_sqlite(sqlite).await,
            }
        })
        .await
    }
}

/// The counts of [`EXPIRING`].
fn left<R: sqlx::Row>(row: &R) -> Result<Vec<(&'static str, u64)>, StoreError>
where
    i64: sqlx::Type<R::Database> + for<'r> sqlx::Decode<'r, R::Database>,
    for<'i> &'i str: sqlx::ColumnIndex<R>,
{
    EXPIRING
        .into_iter()
        .map(|table| Ok((table, u64::try_from(get::<_, i64>(row, table)?).unwrap_or(0))))
        .collect()
}

fn backlog(handler: &str, pending: i64, dead: i64, oldest: f64) -> Result<Backlog, StoreError> {
    Ok(Backlog {
        handler: super::row::name(handler)?,
        pending: u64::try_from(pending).unwrap_or(0),
        dead: u64::try_from(dead).unwrap_or(0),
        oldest: Duration::try_from_secs_f64(oldest.max(0.0)).unwrap_or(Duration::ZERO),
    })
}

const TABLES: [&str; 8] = [
    "event",
    "event_body",
    "event_conflict",
    "delivery",
    "attempt",
    "rejection",
    "upkeep_run",
    "idempotency_key",
];

async fn sizes_postgres(postgres: &Postgres) -> Result<Vec<TableSize>, StoreError> {
    let rows = sqlx::query(SIZES_POSTGRES).fetch_all(&postgres.shared).await?;
    let mut sizes = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: String = get(row, "name")?;
        let Some(table) = TABLES.into_iter().find(|table| *table == name) else { continue };
        let (rows, bytes): (i64, i64) = (get(row, "rows")?, get(row, "bytes")?);
        sizes.push(TableSize {
            table,
            rows: u64::try_from(rows).ok(),
            bytes: u64::try_from(bytes).ok(),
        });
    }
    Ok(sizes)
}

async fn sizes_sqlite(sqlite: &Sqlite) -> Result<Vec<TableSize>, StoreError> {
    let row = sqlx::query(ROWS_SQLITE).fetch_one(&sqlite.readers).await?;
    let bytes: i64 = sqlx::query_scalar(BYTES_SQLITE).fetch_one(&sqlite.readers).await?;
    let mut sizes = vec![TableSize { table: "all", rows: None, bytes: u64::try_from(bytes).ok() }];
    for table in ["event", "event_body", "delivery", "attempt", "rejection", "idempotency_key"] {
        let rows: i64 = get(&row, table)?;
        sizes.push(TableSize { table, rows: u64::try_from(rows).ok(), bytes: None });
    }
    Ok(sizes)
}
