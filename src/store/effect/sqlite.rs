//! A bounded transaction on SQLite, which holds the only writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio_util::sync::CancellationToken;

use super::Ended;
use crate::store::error::StoreError;

/// How many steps of a statement between two looks at the clock: some ten microseconds of work.
const STEPS: i32 = 1000;

/// How much longer than the statements' own limit a transaction may take before it is cut.
const CUT_MARGIN: Duration = Duration::from_millis(500);

/// How long an interrupted statement may take to end.
const ANSWER: Duration = Duration::from_secs(5);

/// While this lives nothing is committed on its connection, not even a statement outside of a transaction: after
/// SQLite or the driver has ended a transaction by itself, what is run in its place must not stand.
#[derive(Debug)]
pub(in crate::store) struct NoCommit(Arc<AtomicBool>);

impl NoCommit {
    /// To be dropped before the transaction's own COMMIT.
    pub(in crate::store) async fn on(
        connection: &mut SqliteConnection,
    ) -> Result<Self, sqlx::Error> {
        let allowed = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&allowed);
        let hook = move || asked.load(Ordering::SeqCst);
        connection.lock_handle().await?.set_commit_hook(hook);
        Ok(Self(allowed))
    }
}

impl Drop for NoCommit {
    fn drop(&mut self) {
        // The hook stays, and lets everything pass.
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `work` in a transaction. An error means that the transaction's fate is unknown at worst.
pub(super) async fn transaction<T, B, W>(
    pool: &SqlitePool,
    limit: Duration,
    unwanted: &CancellationToken,
    work: W,
) -> Result<Ended<T, B>, StoreError>
where
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, B>>,
{
    let mut connection = pool.acquire().await?;
    let mut transaction = Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;
    let cut = Arc::new(AtomicBool::new(false));
    let interrupted = {
        let (cut, end) = (Arc::clone(&cut), Instant::now() + limit);
        move || !cut.load(Ordering::Relaxed) && Instant::now() < end
    };
    transaction.lock_handle().await?.set_progress_handler(STEPS, interrupted);
    let no_commit = NoCommit::on(&mut transaction).await?;
    let done = tokio::select! {
        biased;
        done = work(&mut transaction) => Some(done),
        () = tokio::time::sleep(limit + CUT_MARGIN) => None,
        () = unwanted.cancelled() => None,
    };
    if done.is_none() {
        cut.store(true, Ordering::Relaxed);
    }
    let ended = match tokio::time::timeout(ANSWER, transaction.lock_handle()).await {
        Ok(Ok(mut handle)) => {
            handle.remove_progress_handler();
            true
        }
        Ok(Err(_)) | Err(_) => false,
    };
    match done {
        Some(Ok(value)) if ended => {
            drop(no_commit);
            if let Err(error) = transaction.commit().await {
                close_unless(false, connection);
                return Err(error.into());
            }
            Ok(Ended::Committed(value))
        }
        Some(Ok(_)) | None => {
            let back = rolled_back(transaction, ended).await;
            close_unless(back, connection);
            Ok(Ended::Cut)
        }
        Some(Err(why)) => {
            let back = rolled_back(transaction, ended).await;
            close_unless(back, connection);
            Ok(Ended::RolledBack(why))
        }
    }
}

/// False when it was not rolled back in words: SQLite does it by itself when it interrupts a statement
/// that writes, and then the driver and it disagree about what is open.
async fn rolled_back(transaction: sqlx::Transaction<'_, sqlx::Sqlite>, ended: bool) -> bool {
    if !ended {
        return false;
    }
    match tokio::time::timeout(ANSWER, transaction.rollback()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "the transaction was over before its rollback");
            false
        }
        Err(_) => false,
    }
}

fn close_unless(usable: bool, connection: sqlx::pool::PoolConnection<sqlx::Sqlite>) {
    // A savepoint that somebody made and forgot: only that was undone.
    if !usable || connection.is_in_transaction() {
        // The pool opens another one; closing this one rolls back what it may hold.
        drop(connection.detach());
    }
}
