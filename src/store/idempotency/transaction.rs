//! A key that is claimed, worked for and answered in one transaction: no crash lies between the three.
//!
//! The one place where we leave a transaction open over an `await` of somebody else. Its connection
//! never goes back to a pool in that state: it is closed unless it was committed or rolled back.

use sqlx::pool::PoolConnection;
use sqlx::{Executor, PgConnection, Postgres as Pg, Sqlite as Lite, SqliteConnection};

use super::{
    CLAIM_POSTGRES, CLAIM_SQLITE, KeyClaim, KeyLease, KeySettled, KeyVerdict, leased, new_epoch,
    settle_lite, settle_pg,
};
use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::row::seconds;

/// An open transaction in which a key was claimed. Dropped, it is rolled back, key and all.
pub struct KeyTransaction {
    connection: Connection,
    lease: KeyLease,
}

enum Connection {
    Postgres(Option<PoolConnection<Pg>>),
    Sqlite(Option<PoolConnection<Lite>>),
}

impl std::fmt::Debug for KeyTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTransaction").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match self {
            Self::Postgres(Some(connection)) => connection.close_on_drop(),
            Self::Sqlite(Some(connection)) => connection.close_on_drop(),
            Self::Postgres(None) | Self::Sqlite(None) => {}
        }
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
            let KeyClaim { id, request_hash, lease, ttl } = claim;
            match &*database {
                Database::Postgres(postgres) => {
                    let mut held = Connection::Postgres(Some(postgres.shared.acquire().await?));
                    let Connection::Postgres(Some(connection)) = &mut held else {
                        return Err(gone());
                    };
                    connection.execute("BEGIN").await?;
                    let row = sqlx::query(CLAIM_POSTGRES)
                        .bind(&id.scope)
                        .bind(&id.key)
                        .bind(&request_hash[..])
                        .bind(seconds(lease))
                        .bind(seconds(ttl))
                        .bind(ours)
                        .fetch_optional(&mut **connection)
                        .await?;
                    let lease = row.map(|row| leased(&row, id)).transpose()?;
                    Ok(lease.map(|lease| KeyTransaction { connection: held, lease }))
                }
                Database::Sqlite(sqlite) => {
                    let mut held = Connection::Sqlite(Some(sqlite.writer.acquire().await?));
                    let Connection::Sqlite(Some(connection)) = &mut held else {
                        return Err(gone());
                    };
                    connection.execute("BEGIN IMMEDIATE").await?;
                    let row = sqlx::query(CLAIM_SQLITE)
                        .bind(&id.scope)
                        .bind(&id.key)
                        .bind(&request_hash[..])
                        .bind(seconds(lease))
                        .bind(seconds(ttl))
                        .bind(ours)
                        .fetch_optional(&mut **connection)
                        .await?;
                    let lease = row.map(|row| leased(&row, id)).transpose()?;
                    Ok(lease.map(|lease| KeyTransaction { connection: held, lease }))
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

    /// The transaction's connection, for the work; `None` on SQLite. Neither commit nor roll back on it.
    pub fn postgres(&mut self) -> Option<&mut PgConnection> {
        match &mut self.connection {
            Connection::Postgres(connection) => connection.as_deref_mut(),
            Connection::Sqlite(_) => None,
        }
    }

    /// The transaction's connection, for the work; `None` on PostgreSQL. Neither commit nor roll back on it.
    pub fn sqlite(&mut self) -> Option<&mut SqliteConnection> {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.as_deref_mut(),
            Connection::Postgres(_) => None,
        }
    }

    /// Writes the answer down and commits it with the work. What isn't an answer rolls both back, and
    /// leaves no trace of the key. An error leaves open whether it was committed: look the key up.
    pub async fn settle(mut self, verdict: KeyVerdict) -> Result<KeySettled, StoreError> {
        let keep = matches!(verdict, KeyVerdict::Completed(_));
        let KeyLease { id, epoch, .. } = &self.lease;
        let end = if keep { "COMMIT" } else { "ROLLBACK" };
        let mut rows = 1;
        match &mut self.connection {
            Connection::Postgres(held) => {
                let connection = held.as_mut().ok_or_else(gone)?;
                if keep {
                    rows = settle_pg(&mut **connection, id, *epoch, &verdict).await?;
                }
                if rows == 1 {
                    connection.execute(end).await?;
                    drop(held.take());
                }
            }
            Connection::Sqlite(held) => {
                let connection = held.as_mut().ok_or_else(gone)?;
                if keep {
                    rows = settle_lite(&mut **connection, id, *epoch, &verdict).await?;
                }
                if rows == 1 {
                    connection.execute(end).await?;
                    drop(held.take());
                }
            }
        }
        Ok(super::settled(rows))
    }
}

fn gone() -> StoreError {
    StoreError::Invariant("a transaction has no connection".to_owned())
}
