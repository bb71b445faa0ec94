//! Sums over a time, for people: what came, what was refused, what became of it.

use chrono::{DateTime, Utc};
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::Store;
use super::clock::{ID_SLACK, id_edge, sqlite_text};
use super::connect::Database;
use super::error::StoreError;
use super::row::get;

const EVENTS_POSTGRES: &str =
    "SELECT source, count(*) AS events, COALESCE(sum(duplicates), 0)::int8 AS duplicates,
       to_char(max(received_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS last
  FROM event WHERE id >= $1 AND received_at >= $2 GROUP BY source ORDER BY source";

const EVENTS_SQLITE: &str =
    "SELECT source, count(*) AS events, COALESCE(sum(duplicates), 0) AS duplicates,
       replace(max(received_at), ' ', 'T') || 'Z' AS last
  FROM event WHERE id >= ?1 AND received_at >= ?2 GROUP BY source ORDER BY source";

const REJECTED_POSTGRES: &str = "SELECT source, code, count(*) AS rejected
  FROM rejection WHERE received_at >= $1 GROUP BY source, code ORDER BY source, code";

const REJECTED_SQLITE: &str = "SELECT source, code, count(*) AS rejected
  FROM rejection WHERE received_at >= ?1 GROUP BY source, code ORDER BY source, code";

const DELIVERIES_POSTGRES: &str =
    "SELECT d.handler, d.state, count(*) AS deliveries, COALESCE(sum(d.attempts), 0)::int8 AS tries
  FROM event e JOIN delivery d ON d.event_id = e.id
 WHERE e.id >= $1 AND e.received_at >= $2 GROUP BY d.handler, d.state ORDER BY d.handler, d.state";

const DELIVERIES_SQLITE: &str =
    "SELECT d.handler, d.state, count(*) AS deliveries, COALESCE(sum(d.attempts), 0) AS tries
  FROM event e JOIN delivery d ON d.event_id = e.id
 WHERE e.id >= ?1 AND e.received_at >= ?2 GROUP BY d.handler, d.state ORDER BY d.handler, d.state";

/// Sums over what was recorded or refused since a moment.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// By source; only of sources from which something was recorded.
    pub sources: Vec<SourceSums>,
    /// Refused requests that were kept, by source and code.
    pub rejected: Vec<(String, String, u64)>,
    /// Deliveries of those events by handler and state: how many, and tries begun.
    pub deliveries: Vec<(String, String, u64, u64)>,
}

/// What came from a source.
#[derive(Debug, Clone)]
pub struct SourceSums {
    /// Its name.
    pub source: String,
    /// Events recorded.
    pub events: u64,
    /// Copies of them after the first.
    pub duplicates: u64,
    /// When the last was recorded.
    pub last: DateTime<Utc>,
}

impl Store {
    /// Sums over what was recorded or refused since `since`. Reads every row of that time: a long time of
    /// a busy daemon takes long, and ends at the statement's time limit.
    pub async fn sums(&self, since: DateTime<Utc>) -> Result<Sums, StoreError> {
        // Found by id, which has an index; judged by the database's time.
        let from = id_edge(since - ID_SLACK, 0);
        self.detached_long(move |database| async move {
            let mut sums = Sums::default();
            match &*database {
                Database::Postgres(postgres) => {
                    let pool = &postgres.shared;
                    let events = sqlx::query(EVENTS_POSTGRES).bind(from).bind(since);
                    for row in &events.fetch_all(pool).await? {
                        sums.sources.push(source(row)?);
                    }
                    for row in &sqlx::query(REJECTED_POSTGRES).bind(since).fetch_all(pool).await? {
                        sums.rejected.push(rejected(row)?);
                    }
                    let deliveries = sqlx::query(DELIVERIES_POSTGRES).bind(from).bind(since);
                    for row in &deliveries.fetch_all(pool).await? {
                        sums.deliveries.push(deliveries_of(row)?);
                    }
                }
                Database::Sqlite(sqlite) => {
                    let (pool, since) = (&sqlite.readers, sqlite_text(since));
                    let events = sqlx::query(EVENTS_SQLITE).bind(from).bind(&since);
                    for row in &events.fetch_all(pool).await? {
                        sums.sources.push(source(row)?);
                    }
                    for row in &sqlx::query(REJECTED_SQLITE).bind(&since).fetch_all(pool).await? {
                        sums.rejected.push(rejected(row)?);
                    }
                    let deliveries = sqlx::query(DELIVERIES_SQLITE).bind(from).bind(&since);
                    for row in &deliveries.fetch_all(pool).await? {
                        sums.deliveries.push(deliveries_of(row)?);
                    }
                }
            }
            Ok(sums)
        })
        .await
    }
}

fn source<R: Row>(row: &R) -> Result<SourceSums, StoreError>
where
    &'static str: ColumnIndex<R>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    let last: String = get(row, "last")?;
    Ok(SourceSums {
        source: get(row, "source")?,
        events: count(row, "events")?,
        duplicates: count(row, "duplicates")?,
        last: last.parse().map_err(|_| StoreError::Unreadable(format!("`{last}` is no time")))?,
    })
}

fn rejected<R: Row>(row: &R) -> Result<(String, String, u64), StoreError>
where
    &'static str: ColumnIndex<R>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    Ok((get(row, "source")?, get(row, "code")?, count(row, "rejected")?))
}

fn deliveries_of<R: Row>(row: &R) -> Result<(String, String, u64, u64), StoreError>
where
    &'static str: ColumnIndex<R>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    Ok((get(row, "handler")?, get(row, "state")?, count(row, "deliveries")?, count(row, "tries")?))
}

fn count<R: Row>(row: &R, column: &'static str) -> Result<u64, StoreError>
where
    &'static str: ColumnIndex<R>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(u64::try_from(get::<R, i64>(row, column)?).unwrap_or(0))
}
