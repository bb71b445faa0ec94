//! A key that is claimed, worked for and answered in one transaction: no crash lies between the three.
//!
//! As with effects (`store/effect.rs`), a transaction stays open while somebody else works in it, on the
//! connections that are kept for that.

use std::time::Duration;

use sqlx::{
    Executor, PgConnection, PgPool, Postgres as Pg, Sqlite as Lite, SqliteConnection, Transaction,
};

use super::claim::{claim_lite, claim_pg};
use super::{
    KeyAnswer, KeyClaim, KeyLease, KeySettled, KeyVerdict, new_epoch, settle_lite, settle_pg,
};
use crate::store::Store;
use crate::store::connect::{self, Database};
use crate::store::effect::NoCommit;
use crate::store::error::StoreError;
use crate::store::fate::{Fate, Which};
use crate::store::pool::WRITES;

/// What is done behind it is undone when the answer says that it was refused.
const MARK: &str = "SAVEPOINT hookonce_work";
const BACK_TO_MARK: &str = "ROLLBACK TO SAVEPOINT hookonce_work";
/// Each of the two fails when the transaction is over, which the driver ends in silence when a `begin()` in it fails or
/// is dropped.
const RELEASE_MARK: &str = "RELEASE SAVEPOINT hookonce_work";

/// How long settling may take, COMMIT included: a synchronous standby may let it wait.
const ANSWER: Duration = Duration::from_secs(30);

/// An open transaction in which a key was claimed. Dropped, it is rolled back, key and all.
pub struct KeyTransaction {
    /// Dropped first: what comes after it on the connection is committed as ever.
    no_commit: Option<NoCommit>,
    transaction: Open,
    lease: KeyLease,
}

enum Open {
    Postgres {
        transaction: Transaction<'static, Pg>,
        which: Which,
        /// Where it is asked what became of it.
        pool: PgPool,
    },
    Sqlite(Transaction<'static, Lite>),
}

impl std::fmt::Debug for KeyTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTransaction").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Store {
    /// Begins a transaction and claims a key in it. `None` when somebody has the key.
    ///
    /// On PostgreSQL a concurrent claim of the same key waits for this transaction, five seconds at most
    /// (the session's `lock_timeout`), and a transaction in which nothing happens for ten seconds is ended
    /// by the server. On SQLite it holds the only writer: nothing else is recorded meanwhile.
    pub async fn begin_with_key(
        &self,
        claim: KeyClaim,
    ) -> Result<Option<KeyTransaction>, StoreError> {
        self.detached(move |database| async move {
            let ours = new_epoch();
            match &*database {
                Database::Postgres(postgres) => {
                    // The driver's own BEGIN: what the worker begins within becomes a savepoint.
                    #[expect(clippy::disallowed_methods, reason = "nobody drops this future")]
                    let mut transaction = postgres.effects.begin().await?;
                    transaction.execute(WRITES).await?;
                    let Some(lease) = claim_pg(&mut *transaction, &claim, ours).await? else {
                        transaction.rollback().await?;
                        return Ok(None);
                    };
                    let which = Which::marked(&mut transaction, MARK).await?;
                    let pool = postgres.shared.clone();
                    let transaction = Open::Postgres { transaction, which, pool };
                    Ok(Some(KeyTransaction { no_commit: None, transaction, lease }))
                }
                Database::Sqlite(sqlite) => {
                    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                    let Some(lease) = claim_lite(&mut *transaction, &claim, ours).await? else {
                        transaction.rollback().await?;
                        return Ok(None);
                    };
                    transaction.execute(MARK).await?;
                    let no_commit = Some(NoCommit::on(&mut transaction).await?);
                    let transaction = Open::Sqlite(transaction);
                    Ok(Some(KeyTransaction { no_commit, transaction, lease }))
                }
            }
        })
        .await
    }
}

impl KeyTransaction {
    /// The claim.
    #[must_use]
    pub fn lease(&self) -> &KeyLease {
        &self.lease
    }

    /// The transaction's connection, for the work; `None` on SQLite. Neither commit nor roll back on it by
    /// a statement; `begin()` on it makes a savepoint.
    pub fn postgres(&mut self) -> Option<&mut PgConnection> {
        match &mut self.transaction {
            Open::Postgres { transaction, .. } => Some(transaction),
            Open::Sqlite(_) => None,
        }
    }

    /// The same; `None` on PostgreSQL.
    pub fn sqlite(&mut self) -> Option<&mut SqliteConnection> {
        match &mut self.transaction {
            Open::Sqlite(transaction) => Some(transaction),
            Open::Postgres { .. } => None,
        }
    }

    /// Writes the answer down and commits it with the work. Of an answer that refuses (4xx) the work is
    /// undone and the answer stands. What isn't an answer rolls both back, and leaves no trace of the key.
    /// [`StoreError::Apart`] says that somebody else committed it, claim and work but no answer: it is neither to be run again
    /// nor known how it ended. Every other error leaves open whether it was committed: look the key up. Takes 30 s at most.
    pub async fn settle(self, verdict: KeyVerdict) -> Result<KeySettled, StoreError> {
        tokio::time::timeout(ANSWER, self.settle_in_time(verdict))
            .await
            .unwrap_or_else(|_| Err(connect::no_answer().into()))
    }

    async fn settle_in_time(self, verdict: KeyVerdict) -> Result<KeySettled, StoreError> {
        match self.transaction {
            Open::Postgres { transaction, which, pool } => {
                let ended = settle_postgres(transaction, &self.lease, &verdict).await?;
                match ended {
                    Here::Committed => Ok(KeySettled::Done),
                    Here::NotCommitted(_) if which.fate(&pool).await == Fate::Committed => {
                        Err(StoreError::Apart)
                    }
                    Here::NotCommitted(answer) => answer,
                }
            }
            Open::Sqlite(transaction) => {
                settle_sqlite(transaction, self.no_commit, &self.lease, &verdict).await
            }
        }
    }
}

/// Of an answer that refuses the work is undone.
fn to_mark(answer: &KeyAnswer) -> &'static str {
    if answer.status >= 400 { BACK_TO_MARK } else { RELEASE_MARK }
}

/// How a transaction ended, as far as we are concerned.
enum Here {
    Committed,
    NotCommitted(Result<KeySettled, StoreError>),
}

/// An error leaves open whether it was committed.
async fn settle_postgres(
    mut transaction: Transaction<'static, Pg>,
    KeyLease { id, epoch, .. }: &KeyLease,
    verdict: &KeyVerdict,
) -> Result<Here, StoreError> {
    let KeyVerdict::Completed(answer) = verdict else {
        transaction.rollback().await?;
        return Ok(Here::NotCommitted(Ok(KeySettled::Done)));
    };
    let written = match transaction.execute(to_mark(answer)).await {
        Ok(_) => settle_pg(&mut *transaction, id, *epoch, verdict).await,
        Err(error) => Err(error.into()),
    };
    if let Ok(1) = written {
        transaction.commit().await?;
        return Ok(Here::Committed);
    }
    // What is still open of it must be over before anybody asks what became of it.
    if let Err(error) = transaction.rollback().await {
        tracing::debug!(error = %error, "a key's transaction was not rolled back in words");
    }
    Ok(Here::NotCommitted(written.map(super::settled)))
}

async fn settle_sqlite(
    mut transaction: Transaction<'static, Lite>,
    no_commit: Option<NoCommit>,
    KeyLease { id, epoch, .. }: &KeyLease,
    verdict: &KeyVerdict,
) -> Result<KeySettled, StoreError> {
    let KeyVerdict::Completed(answer) = verdict else {
        transaction.rollback().await?;
        return Ok(KeySettled::Done);
    };
    transaction.execute(to_mark(answer)).await?;
    drop(no_commit);
    let rows = settle_lite(&mut *transaction, id, *epoch, verdict).await?;
    if rows == 1 {
        transaction.commit().await?;
    }
    Ok(super::settled(rows))
}
