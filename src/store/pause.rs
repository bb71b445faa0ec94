//! Pauses of handlers: what is paused everywhere, since when, and what was.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::Name;
use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use super::row::{get, name, seconds};

/// A breaker's pause gives way to any other, and to a longer one of its own; the others stay as they are.
const PAUSE_POSTGRES: &str = "INSERT INTO handler_pause (id, handler, cause, reason, paused_by, since, until)
    VALUES ($1, $2, $3, $4, $5, clock_timestamp(), clock_timestamp() + make_interval(secs => $6))
    ON CONFLICT (handler) WHERE ended_at IS NULL
    DO UPDATE SET cause = excluded.cause, reason = excluded.reason, paused_by = excluded.paused_by, until = excluded.until
     WHERE handler_pause.cause = 'breaker'";

const PAUSE_SQLITE: &str = "INSERT INTO handler_pause (id, handler, cause, reason, paused_by, since, until)
    VALUES (?1, ?2, ?3, ?4, ?5, strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now', ?6 || ' seconds'))
    ON CONFLICT (handler) WHERE ended_at IS NULL
    DO UPDATE SET cause = excluded.cause, reason = excluded.reason, paused_by = excluded.paused_by, until = excluded.until
     WHERE handler_pause.cause = 'breaker'";

/// No retry policy that anybody should have looks back further.
const FORGET_POSTGRES: &str =
    "DELETE FROM handler_pause WHERE ended_at < clock_timestamp() - interval '90 days'";

const FORGET_SQLITE: &str = "DELETE FROM handler_pause
     WHERE ended_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-90 days')";

const RESUME_POSTGRES: &str = "UPDATE handler_pause SET ended_at = clock_timestamp()
     WHERE handler = $1 AND ended_at IS NULL AND (NOT $2 OR cause = 'breaker')";

const RESUME_SQLITE: &str =
    "UPDATE handler_pause SET ended_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
     WHERE handler = ?1 AND ended_at IS NULL AND (NOT ?2 OR cause = 'breaker')";

/// Ages in seconds rather than times: nobody's clock is compared with the database's.
/// SQLite has days as floating-point numbers, 40 µs apart: rounding gives back the milliseconds they were.
const OPEN_POSTGRES: &str = "SELECT handler, cause, reason, paused_by, since,
       EXTRACT(EPOCH FROM clock_timestamp() - since)::float8 AS age,
       EXTRACT(EPOCH FROM until - clock_timestamp())::float8 AS left
  FROM handler_pause WHERE ended_at IS NULL ORDER BY handler LIMIT 10000";

const OPEN_SQLITE: &str = "SELECT handler, cause, reason, paused_by, since,
       round((julianday('now') - julianday(since)) * 86400.0, 3) AS age,
       round((julianday(until) - julianday('now')) * 86400.0, 3) AS left
  FROM handler_pause WHERE ended_at IS NULL ORDER BY handler LIMIT 10000";

const HISTORY_POSTGRES: &str = "SELECT handler, EXTRACT(EPOCH FROM clock_timestamp() - since)::float8 AS began,
       EXTRACT(EPOCH FROM clock_timestamp() - COALESCE(ended_at, clock_timestamp()))::float8 AS ended
  FROM handler_pause ORDER BY ended_at IS NOT NULL, since DESC LIMIT 10000";

const HISTORY_SQLITE: &str = "SELECT handler, round((julianday('now') - julianday(since)) * 86400.0, 3) AS began,
       round((julianday('now') - julianday(COALESCE(ended_at, strftime('%Y-%m-%d %H:%M:%f', 'now')))) * 86400.0, 3) AS ended
  FROM handler_pause ORDER BY ended_at IS NOT NULL, since DESC LIMIT 10000";

/// Why a handler is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseCause {
    /// Somebody said so.
    Hand,
    /// Its breaker opened.
    Breaker,
    /// It gave an answer that pauses it.
    Answer,
}

impl PauseCause {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Breaker => "breaker",
            Self::Answer => "answer",
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        [Self::Hand, Self::Breaker, Self::Answer]
            .into_iter()
            .find(|cause| cause.as_str() == text)
            .ok_or_else(|| StoreError::Unreadable(format!("`{text}` is no cause of a pause")))
    }
}

/// A pause to be made.
#[derive(Debug, Clone)]
pub struct NewPause {
    /// Whose.
    pub handler: Name,
    /// Why, in a sentence.
    pub reason: String,
    /// Who said so: a replica, or a person's tool.
    pub by: String,
    /// Why.
    pub kind: PauseKind,
}

/// Why, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseKind {
    /// Until somebody resumes it.
    Hand,
    /// Until it is tried again after so long, and the try goes well.
    Breaker(Duration),
    /// Until somebody resumes it.
    Answer,
}

/// A pause that holds now.
#[derive(Debug, Clone)]
pub struct OpenPause {
    /// Whose.
    pub handler: Name,
    /// Why.
    pub cause: PauseCause,
    /// Why, in a sentence.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// Database time.
    pub since: DateTime<Utc>,
    /// How long it has held.
    pub age: Duration,
    /// How long until a breaker tries again; zero when it may now, `None` when somebody must resume.
    pub left: Option<Duration>,
}

/// Pauses, as ages at the moment of asking.
#[derive(Debug, Clone, Default)]
pub struct PauseHistory(HashMap<Name, Vec<(Duration, Duration)>>);

impl PauseHistory {
    /// How much of the last `time` a handler was paused.
    #[must_use]
    pub fn within(&self, handler: &Name, time: Duration) -> Duration {
        let spans = self.0.get(handler).map(Vec::as_slice).unwrap_or_default();
        spans.iter().map(|(began, ended)| began.min(&time).saturating_sub(*ended)).sum()
    }
}

impl Store {
    /// Pauses a handler on all replicas, within a second. False when it is paused already in a way that
    /// this doesn't change: by hand or by an answer.
    pub async fn pause(&self, pause: NewPause) -> Result<bool, StoreError> {
        let (cause, length) = match pause.kind {
            PauseKind::Hand => (PauseCause::Hand, None),
            PauseKind::Answer => (PauseCause::Answer, None),
            PauseKind::Breaker(length) => (PauseCause::Breaker, Some(seconds(length))),
        };
        let (cause, id) = (cause.as_str(), Uuid::now_v7());
        let reason = pause.reason.replace('\0', "\\0");
        self.detached(move |database| async move {
            let handler = pause.handler.as_str();
            let rows = match &*database {
                Database::Postgres(postgres) => {
                    sqlx::query(FORGET_POSTGRES).execute(&postgres.shared).await?;
                    let made = sqlx::query(PAUSE_POSTGRES).bind(id).bind(handler).bind(cause);
                    let made = made.bind(&reason).bind(&pause.by).bind(length);
                    made.execute(&postgres.shared).await?.rows_affected()
                }
                Database::Sqlite(sqlite) => {
                    sqlx::query(FORGET_SQLITE).execute(&sqlite.writer).await?;
                    let made = sqlx::query(PAUSE_SQLITE).bind(id).bind(handler).bind(cause);
                    let made = made.bind(&reason).bind(&pause.by).bind(length);
                    made.execute(&sqlite.writer).await?.rows_affected()
                }
            };
            Ok(rows == 1)
        })
        .await
    }

    /// Ends a handler's pause; with `breaker_only` no other than its breaker's. False when there is none.
    pub async fn resume(&self, handler: Name, breaker_only: bool) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let handler = handler.as_str();
            let rows = match &*database {
                Database::Postgres(postgres) => {
                    let ended = sqlx::query(RESUME_POSTGRES).bind(handler).bind(breaker_only);
                    ended.execute(&postgres.shared).await?.rows_affected()
                }
                Database::Sqlite(sqlite) => {
                    let ended = sqlx::query(RESUME_SQLITE).bind(handler).bind(breaker_only);
                    ended.execute(&sqlite.writer).await?.rows_affected()
                }
            };
            Ok(rows == 1)
        })
        .await
    }

    /// What is paused now.
    pub async fn open_pauses(&self) -> Result<Vec<OpenPause>, StoreError> {
        self.detached(|database| async move {
            match &*database {
                Database::Postgres(postgres) => {
                    let rows = sqlx::query(OPEN_POSTGRES).fetch_all(&postgres.shared).await?;
                    rows.iter().map(open).collect()
                }
                Database::Sqlite(sqlite) => {
                    let rows = sqlx::query(OPEN_SQLITE).fetch_all(&sqlite.readers).await?;
                    rows.iter().map(open).collect()
                }
            }
        })
        .await
    }

    /// What is paused and what was, for [`PauseHistory::within`]; ten thousand, the open ones first, then the newest.
    pub async fn pause_history(&self) -> Result<PauseHistory, StoreError> {
        self.detached(|database| async move {
            let spans: Result<Vec<_>, StoreError> = match &*database {
                Database::Postgres(postgres) => {
                    let rows = sqlx::query(HISTORY_POSTGRES).fetch_all(&postgres.shared).await?;
                    rows.iter().map(span).collect()
                }
                Database::Sqlite(sqlite) => {
                    let rows = sqlx::query(HISTORY_SQLITE).fetch_all(&sqlite.readers).await?;
                    rows.iter().map(span).collect()
                }
            };
            let mut history = PauseHistory::default();
            for (handler, began, ended) in spans? {
                history.0.entry(handler).or_default().push((began, ended));
            }
            Ok(history)
        })
        .await
    }
}

fn length(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or(Duration::MAX)
}

fn open<R: Row>(row: &R) -> Result<OpenPause, StoreError>
where
    &'static str: ColumnIndex<R>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    f64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Option<f64>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    DateTime<Utc>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    let (handler, cause): (String, String) = (get(row, "handler")?, get(row, "cause")?);
    let left: Option<f64> = get(row, "left")?;
    Ok(OpenPause {
        handler: name(&handler)?,
        cause: PauseCause::read(&cause)?,
        reason: get(row, "reason")?,
        by: get(row, "paused_by")?,
        since: get(row, "since")?,
        age: length(get(row, "age")?),
        left: left.map(length),
    })
}

fn span<R: Row>(row: &R) -> Result<(Name, Duration, Duration), StoreError>
where
    &'static str: ColumnIndex<R>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    f64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    let handler: String = get(row, "handler")?;
    Ok((name(&handler)?, length(get(row, "began")?), length(get(row, "ended")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_a_pause_that_lies_in_the_time_counts() {
        let (s, name) = (Duration::from_secs, |text| Name::new(text).expect("a name"));
        let history = PauseHistory(HashMap::from([
            (name("a"), vec![(s(100), s(80)), (s(30), s(0))]),
            (name("b"), vec![(s(50), s(0))]),
        ]));
        for (time, want) in [(200, 50), (90, 40), (80, 30), (10, 10), (0, 0)] {
            assert_eq!(history.within(&name("a"), s(time)), s(want), "{time}");
        }
        assert_eq!(history.within(&name("c"), s(200)), s(0));
    }
}
