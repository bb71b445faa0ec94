//! Settling: the durable next state of a leased delivery, guarded by its epoch.

use std::time::Duration;

use bytes::Bytes;
use entity::{State, TryOutcome};
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqliteConnection};
use uuid::Uuid;

use super::connect::{Database, Postgres, Sqlite};
use super::error::StoreError;
use super::row::{get, seconds};
use super::{Settled, Settlement, Store, Verdict};

mod alone;

use alone::settle;

/// Settles on PostgreSQL.
const SETTLE_POSTGRES: &str = include_str!("sql/settle.postgres.sql");
/// Settles on SQLite, one delivery at a time.
const SETTLE_SQLITE: &str = include_str!("sql/settle.sqlite.sql");

/// How [`SETTLE_POSTGRES`] locks; and how it waits for nobody.
const LOCK_HELD: &str = "FOR NO KEY UPDATE OF d";
const SKIP_HELD: &str = "FOR NO KEY UPDATE OF d SKIP LOCKED";

const INSERT_ATTEMPT: &str = "INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome, status, error, response, content_type)
     VALUES (?1, ?2, ?3, COALESCE(?4, strftime('%Y-%m-%d %H:%M:%f', 'now')), ?5, ?6, ?7, ?8, ?9, ?10)";

/// Of tries that somebody wants to keep, those that are kept as he says: his own, settled before under his epoch, and only
/// the answer was lost. Public for the plan tests.
pub const KEPT_POSTGRES: &str = "SELECT a.delivery_id, a.epoch
       FROM attempt a
       JOIN UNNEST($1::uuid[], $2::int4[], $3::int8[], $4::text[]) AS t (id, n, epoch, outcome)
         ON a.delivery_id = t.id AND a.n = t.n AND a.epoch = t.epoch AND a.outcome = t.outcome";
/// The same on SQLite. Public for the plan tests.
pub const KEPT_SQLITE: &str = "SELECT delivery_id, epoch FROM attempt
      WHERE delivery_id = ?1 AND n = ?2 AND epoch = ?3 AND outcome = ?4";

/// Longer causes and errors are cut: they are for people, and a row should stay narrow.
const TEXT_BYTES_MAX: usize = 1_000;

/// Which rows of a batch are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// All of them: one that somebody holds is waited for.
    All,
    /// Those that nobody holds.
    Free,
    /// Those that nobody holds and whose lease has lapsed: the rescuer's, who holds no lease.
    Lapsed,
}

/// One try, as it is kept.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// Which try, over all openings.
    pub n: u32,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: TryOutcome,
    /// HTTP status or exit code.
    pub status: Option<i32>,
    /// What went wrong.
    pub error: Option<String>,
    /// The first bytes of the answer, or all of it with `content_type`.
    pub response: Option<Bytes>,
    /// Set when the response is whole and may be passed on to the sender.
    pub content_type: Option<String>,
}

impl Store {
    /// Settles a batch in one commit and returns one answer per input, in order.
    ///
    /// A settlement whose epoch is not the delivery's any more changes nothing and answers
    /// [`Settled::LeaseLost`]; one that comes again, because its answer was lost, finds its own try and answers
    /// [`Settled::Done`]. When the database refuses the batch for what is in it, each is settled
    /// alone; when one of its rows is held too long, the others are settled without it.
    /// Cancel-safe: dropping the future stops nothing.
    pub async fn settle_batch(&self, batch: Vec<Settlement>) -> Vec<Result<Settled, StoreError>> {
        self.settle_as(batch, Rows::All).await
    }

    pub(super) async fn settle_as(
        &self,
        batch: Vec<Settlement>,
        rows: Rows,
    ) -> Vec<Result<Settled, StoreError>> {
        let count = batch.len();
        // Each statement has a limit of its own, and of a batch that is refused there may be many.
        let done = self
            .detached_long(move |database| async move { Ok(settle(&database, &batch, rows).await) })
            .await;
        match done {
            Ok(answers) => answers,
            Err(error) => (0..count).map(|_| Err(error.again())).collect(),
        }
    }
}

/// Settles all or fails as a whole.
async fn settle_together(
    database: &Database,
    batch: &[Settlement],
    rows: Rows,
) -> Result<Vec<Settled>, StoreError> {
    let done = match database {
        Database::Postgres(postgres) => settle_postgres(postgres, batch, rows).await?,
        Database::Sqlite(sqlite) => settle_sqlite(sqlite, batch, rows).await?,
    };
    Ok(batch
        .iter()
        .map(|one| {
            let stands = done.contains(&(one.delivery, one.epoch));
            if stands { Settled::Done } else { Settled::LeaseLost }
        })
        .collect())
}

/// Those that may have been settled before, as they are now. None of the rescuer's: what one rescuer finds, another one
/// finds as well. And none that is kept as fenced: the rescuer keeps his for the same try under the same epoch, and with
/// another verdict.
fn doubtful<'b>(batch: &'b [Settlement], done: &[(Uuid, i64)], rows: Rows) -> Vec<&'b Settlement> {
    let own = |one: &Settlement| rows != Rows::Lapsed && one.attempt.outcome != TryOutcome::Fenced;
    let lost = |one: &&Settlement| own(one) && !done.contains(&(one.delivery, one.epoch));
    batch.iter().filter(lost).collect()
}

/// What a verdict writes.
struct Written<'a> {
    state: State,
    after: f64,
    counts: bool,
    cause: Option<&'a str>,
}

fn written(verdict: &Verdict) -> Written<'_> {
    match verdict {
        Verdict::Delivered => {
            Written { state: State::Delivered, after: 0.0, counts: true, cause: None }
        }
        Verdict::Pending { after, cause } => Written {
            state: State::Pending,
            after: seconds(*after),
            counts: true,
            cause: Some(cause),
        },
        Verdict::Released { after, cause } => Written {
            state: State::Pending,
            after: seconds(*after),
            counts: false,
            cause: Some(cause),
        },
        Verdict::Skipped { cause } => {
            Written { state: State::Cancelled, after: 0.0, counts: true, cause: Some(cause) }
        }
        Verdict::Dead { cause } => {
            Written { state: State::Dead, after: 0.0, counts: true, cause: Some(cause) }
        }
    }
}

/// A text that both databases take: PostgreSQL's text holds no NUL.
fn text(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().replace('\0', "\\0")
}

fn millis(one: &Settlement) -> i64 {
    i64::try_from(one.attempt.duration.as_millis()).unwrap_or(i64::MAX)
}

fn number(one: &Settlement) -> i32 {
    i32::try_from(one.attempt.n).unwrap_or(i32::MAX)
}

async fn settle_postgres(
    postgres: &Postgres,
    batch: &[Settlement],
    rows: Rows,
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let mut hot = postgres.working().await?;
    let patience = hot.patience();
    let settling = async {
        let mut done = on_postgres(hot.connection(), batch, rows).await?;
        let doubtful = doubtful(batch, &done, rows);
        if !doubtful.is_empty() {
            done.append(&mut kept_on_postgres(hot.connection(), &doubtful).await?);
        }
        Ok::<_, StoreError>(done)
    };
    let answer = tokio::time::timeout(patience, settling).await;
    hot.finish(answer)
}

async fn kept_on_postgres(
    connection: &mut PgConnection,
    doubtful: &[&Settlement],
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    Ok(sqlx::query_as(KEPT_POSTGRES)
        .bind(doubtful.iter().map(|one| one.delivery).collect::<Vec<_>>())
        .bind(doubtful.iter().map(|one| number(one)).collect::<Vec<_>>())
        .bind(doubtful.iter().map(|one| one.epoch).collect::<Vec<_>>())
        .bind(doubtful.iter().map(|one| one.attempt.outcome.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?)
}

/// Settles on a connection, and within the transaction that is open there, if one is. Gives what stands.
pub(super) async fn on_postgres(
    connection: &mut PgConnection,
    batch: &[Settlement],
    rows: Rows,
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let written: Vec<Written<'_>> = batch.iter().map(|one| written(&one.verdict)).collect();
    let errors: Vec<Option<String>> =
        batch.iter().map(|one| one.attempt.error.as_deref().map(text)).collect();
    let causes: Vec<Option<String>> = written.iter().map(|one| one.cause.map(text)).collect();
    let responses: Vec<Option<&[u8]>> =
        batch.iter().map(|one| one.attempt.response.as_deref()).collect();
    let statement = match rows {
        Rows::All => SETTLE_POSTGRES.into_sql_str(),
        // A row that is locked is worked on: by an effect that outlived its lease, or by its settlement. Whoever waits
        // for it lets all the others wait.
        Rows::Free | Rows::Lapsed => {
            AssertSqlSafe(SETTLE_POSTGRES.replace(LOCK_HELD, SKIP_HELD)).into_sql_str()
        }
    };
    Ok(sqlx::query_as(statement)
        .bind(batch.iter().map(|one| one.delivery).collect::<Vec<_>>())
        .bind(batch.iter().map(|one| one.epoch).collect::<Vec<_>>())
        .bind(written.iter().map(|one| one.state.as_str()).collect::<Vec<_>>())
        .bind(written.iter().map(|one| one.after).collect::<Vec<_>>())
        .bind(written.iter().map(|one| one.counts).collect::<Vec<_>>())
        .bind(causes)
        .bind(batch.iter().map(number).collect::<Vec<_>>())
        .bind(batch.iter().map(millis).collect::<Vec<_>>())
        .bind(batch.iter().map(|one| one.attempt.outcome.as_str()).collect::<Vec<_>>())
        .bind(batch.iter().map(|one| one.attempt.status).collect::<Vec<_>>())
        .bind(errors)
        .bind(responses)
        .bind(rows == Rows::Lapsed)
        .bind(batch.iter().map(|one| one.attempt.content_type.as_deref()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?)
}

async fn settle_sqlite(
    sqlite: &Sqlite,
    batch: &[Settlement],
    rows: Rows,
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut done = on_sqlite(&mut transaction, batch, rows).await?;
    for one in doubtful(batch, &done, rows) {
        let kept: Option<(Uuid, i64)> = sqlx::query_as(KEPT_SQLITE)
            .bind(one.delivery)
            .bind(number(one))
            .bind(one.epoch)
            .bind(one.attempt.outcome.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        done.extend(kept);
    }
    transaction.commit().await?;
    Ok(done)
}

/// Settles within the transaction that is open on a connection. Gives what stands.
pub(super) async fn on_sqlite(
    connection: &mut SqliteConnection,
    batch: &[Settlement],
    rows: Rows,
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    for one in batch {
        let written = written(&one.verdict);
        let row = sqlx::query(SETTLE_SQLITE)
            .bind(one.delivery)
            .bind(one.epoch)
            .bind(written.state.as_str())
            .bind(written.after)
            .bind(written.counts)
            .bind(written.cause.map(text))
            .bind(rows == Rows::Lapsed)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { continue };
        let leased_at: Option<String> = get(&row, "leased_at")?;
        sqlx::query(INSERT_ATTEMPT)
            .bind(one.delivery)
            .bind(number(one))
            .bind(one.epoch)
            .bind(leased_at)
            .bind(millis(one))
            .bind(one.attempt.outcome.as_str())
            .bind(one.attempt.status)
            .bind(one.attempt.error.as_deref().map(text))
            .bind(one.attempt.response.as_deref())
            .bind(one.attempt.content_type.as_deref())
            .execute(&mut *connection)
            .await?;
        done.push((one.delivery, one.epoch));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_nobody_differs_by_waiting_for_no_row() {
        let locks: Vec<_> = SETTLE_POSTGRES.matches("FOR NO KEY UPDATE").collect();
        assert_eq!((locks.len(), SETTLE_POSTGRES.matches(LOCK_HELD).count()), (1, 1));
        assert_eq!(SETTLE_POSTGRES.replace(LOCK_HELD, SKIP_HELD).matches("SKIP LOCKED").count(), 1);
    }
}
