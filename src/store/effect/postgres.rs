//! A bounded transaction on PostgreSQL, in a task that nobody cancels.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, Row};
use tokio_util::sync::CancellationToken;

use super::{Ended, RELEASE_MARK};
use crate::store::connect::{self, HOT_PLANNING};
use crate::store::error::StoreError;
use crate::store::pool::WRITES;

/// Connections for effects, opened when they are needed.
pub(in crate::store) const EFFECT_POOL: u32 = 10;

/// How much longer than the server's own limit a transaction may take before it is cut from here.
const CUT_MARGIN: Duration = Duration::from_millis(500);

/// How long beginning and rolling back may take; and asking for the end of a session.
const ANSWER: Duration = Duration::from_secs(5);

/// Whatever it is at. But one that waits for a synchronous standby has committed, and if it were ended it would show what no
/// standby has: it is gone when one takes over.
const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND xact_start = $2 AND wait_event IS DISTINCT FROM 'SyncRep'";

/// As long as it waits for its next statement: its COMMIT did not arrive.
const TERMINATE_IDLE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND xact_start = $2 AND state LIKE 'idle in transaction%'";

/// How long a COMMIT may take: a synchronous standby may let it wait.
const COMMIT_ANSWER: Duration = Duration::from_secs(30);

/// A session that is to be ended when its transaction doesn't end by itself.
struct Session {
    process: i32,
    /// When its transaction began: after a restart of the server another session may have the number.
    began: DateTime<Utc>,
    stage: Stage,
}

/// What is known of a session's transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// COMMIT was sent.
    Committing,
    /// The server said that it is over.
    Over,
}

/// Whose connections a transaction is opened on.
#[derive(Clone, Copy)]
pub(super) enum Side<'p> {
    /// Our own ones, on which a transaction has to say that it writes.
    Ours(&'p PgPool),
    /// Another database's.
    Theirs(&'p PgPool),
}

impl<'p> Side<'p> {
    fn pool(self) -> &'p PgPool {
        match self {
            Self::Ours(pool) | Self::Theirs(pool) => pool,
        }
    }
}

/// Runs `work` in a transaction. An error means that the transaction's fate is unknown at worst.
pub(super) async fn transaction<T, B, W>(
    side: Side<'_>,
    limit: Duration,
    unwanted: &CancellationToken,
    work: W,
) -> Result<Ended<T, B>, StoreError>
where
    W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, B>>,
{
    let mut connection = side.pool().acquire().await?;
    let mut session = None;
    let opening = match side {
        Side::Ours(_) => WRITES,
        Side::Theirs(_) => "",
    };
    let done = run(&mut connection, opening, limit, unwanted, work, &mut session).await;
    if session.as_ref().is_none_or(|it| it.stage != Stage::Over) {
        // Whatever it is in the middle of, it must neither serve again nor hold its locks.
        drop(connection.detach());
        if let Some(session) = session {
            terminate(side.pool(), session).await;
        }
    }
    done
}

async fn run<T, B, W>(
    connection: &mut PoolConnection<Postgres>,
    opening: &str,
    limit: Duration,
    unwanted: &CancellationToken,
    work: W,
    session: &mut Option<Session>,
) -> Result<Ended<T, B>, StoreError>
where
    W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, B>>,
{
    // `Connection::begin`, not the pool's: nobody drops this future, and whoever works in the
    // transaction gets savepoints for what he begins.
    let mut transaction = answered(connection.begin()).await?;
    let limits = format!(
        "{opening}; SET LOCAL statement_timeout = {0}; SET LOCAL idle_in_transaction_session_timeout = {0}; SELECT pg_backend_pid(), now()",
        limit.as_millis().clamp(1, 86_400_000)
    );
    let row = answered(transaction.fetch_one(AssertSqlSafe(limits))).await?;
    let (process, began) = (row.try_get(0)?, row.try_get(1)?);
    let session = session.insert(Session { process, began, stage: Stage::Open });
    let done = tokio::select! {
        biased;
        done = work(&mut transaction) => Some(done),
        () = tokio::time::sleep(limit + CUT_MARGIN) => None,
        () = unwanted.cancelled() => None,
    };
    match done {
        Some(Ok(value)) => {
            // From here on the session is left alone while it works, also when it doesn't answer.
            session.stage = Stage::Committing;
            tokio::time::timeout(COMMIT_ANSWER, transaction.commit())
                .await
                .unwrap_or_else(|_| Err(connect::no_answer()))?;
            session.stage = Stage::Over;
            Ok(Ended::Committed(value))
        }
        Some(Err(back)) => {
            // When the driver counts it as over, nothing is sent; and a COMMIT that somebody gave up may be under way.
            let was_open = transaction.is_in_transaction();
            match answered(transaction.rollback()).await {
                Err(error) => {
                    tracing::debug!(error = %error, "a transaction was not rolled back in words; its connection goes");
                }
                // Else of a savepoint that somebody made and forgot: only that was undone.
                Ok(()) if was_open && !connection.is_in_transaction() => {
                    session.stage = Stage::Over
                }
                Ok(()) => {}
            }
            Ok(Ended::RolledBack(back))
        }
        None => Ok(Ended::Cut),
    }
}

async fn answered<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(ANSWER, work).await.unwrap_or_else(|_| Err(connect::no_answer()))
}

/// Ends a session that may still be at work, so that its locks are free at once.
async fn terminate(pool: &PgPool, Session { process, began, stage }: Session) {
    let statement = if stage == Stage::Committing { TERMINATE_IDLE } else { TERMINATE };
    let asked = sqlx::query(statement).bind(process).bind(began).execute(pool);
    if let Err(error) = answered(asked).await {
        tracing::debug!(error = %error, "a session could not be ended; the server's own limit will");
    }
}

/// Takes the mark away, which fails when its transaction is over; from here on the transaction plans as the hot
/// paths do: see [`HOT_PLANNING`].
pub(super) async fn release_mark(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut statements = RELEASE_MARK.to_owned();
    for (name, value) in HOT_PLANNING {
        statements.push_str(&format!("; SET LOCAL {name} = {value}"));
    }
    connection.execute(AssertSqlSafe(statements)).await.map(drop)
}
