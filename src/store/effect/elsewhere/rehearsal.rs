//! What statements would do behind the fence of another database. Nothing of it stays there: neither what
//! they write nor the fence, nor its table where that is missing.

use std::time::Duration;

use sqlx::{PgConnection, SqliteConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::rehearsal::{self, Rehearsed};
use super::super::{Ended, Refusal, Statements, postgres, sqlite};
use super::{
    Elsewhere, Pool, fence_on_postgres, fence_on_sqlite, in_own_task, no_fence,
    written_on_postgres, written_on_sqlite,
};
use crate::statement::Filled;
use crate::store::error::StoreError;

/// What would come of a delivery's statements in another database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    /// They would be done, each with this.
    Done(Vec<Rehearsed>),
    /// The fence stands: an earlier try did them, and none would run.
    Before,
    /// They would not be done.
    Refused(Refusal),
    /// The database can't be reached: asking it for the next delivery would cost the same time again.
    Away(Refusal),
}

impl Elsewhere {
    /// Runs the statements as [`Elsewhere::apply`] does, and rolls them back with their fence, whatever
    /// they do; constraints that COMMIT would check are checked before on PostgreSQL. What a rollback
    /// doesn't undo stays: sequences go on.
    ///
    /// All of it takes `limit` and a moment, and on SQLite holds the file's only writer for no longer. Runs
    /// in a task of its own; dropping the future rolls back.
    pub async fn rehearse(
        &self,
        delivery: Uuid,
        statements: &Statements,
        filled: Filled,
        limit: Duration,
    ) -> Foreseen {
        let (elsewhere, statements) = (self.clone(), statements.clone());
        in_own_task(|unwanted| async move {
            elsewhere.rehearse_here(delivery, statements, filled, limit, &unwanted).await
        })
        .await
        .unwrap_or_else(Foreseen::Refused)
    }

    async fn rehearse_here(
        self,
        delivery: Uuid,
        statements: Statements,
        filled: Filled,
        limit: Duration,
        unwanted: &CancellationToken,
    ) -> Foreseen {
        let ended = match self.pool() {
            Pool::Postgres(pool) => {
                let side = postgres::Side::Theirs(pool);
                postgres::transaction(side, limit, unwanted, |connection| {
                    Box::pin(async move {
                        let seen = in_postgres(connection, delivery, &statements, &filled).await;
                        Err::<(), _>(seen)
                    })
                })
                .await
            }
            Pool::Sqlite(pool) => {
                sqlite::transaction(pool, limit, unwanted, |connection| {
                    Box::pin(async move {
                        let seen = in_sqlite(connection, delivery, &statements, &filled).await;
                        Err::<(), _>(seen)
                    })
                })
                .await
            }
        };
        match ended {
            Ok(Ended::RolledBack(Ok(foreseen))) => foreseen,
            Ok(Ended::RolledBack(Err(refusal))) => Foreseen::Refused(refusal),
            Ok(Ended::Cut) => Foreseen::Refused(Refusal::too_long(limit)),
            Ok(Ended::Committed(())) => {
                Foreseen::Refused(Refusal::Again("a rehearsal was committed".to_owned()))
            }
            // It spoke, so it is there: a lock, say, that the next one may not meet.
            Err(
                error @ (StoreError::Transient(sqlx::Error::Database(_)) | StoreError::Broken(_)),
            ) => Foreseen::Refused(self.away(&error)),
            Err(error) => Foreseen::Away(self.away(&error)),
        }
    }
}

async fn in_postgres(
    connection: &mut PgConnection,
    delivery: Uuid,
    statements: &Statements,
    filled: &Filled,
) -> Result<Foreseen, Refusal> {
    fence_on_postgres(connection).await.map_err(|error| no_fence(&error))?;
    if !written_on_postgres(connection, delivery).await.map_err(|error| no_fence(&error))? {
        return Ok(Foreseen::Before);
    }
    rehearsal::on_postgres(statements, connection, filled).await.map(Foreseen::Done)
}

async fn in_sqlite(
    connection: &mut SqliteConnection,
    delivery: Uuid,
    statements: &Statements,
    filled: &Filled,
) -> Result<Foreseen, Refusal> {
    fence_on_sqlite(connection).await.map_err(|error| no_fence(&error))?;
    if !written_on_sqlite(connection, delivery).await.map_err(|error| no_fence(&error))? {
        return Ok(Foreseen::Before);
    }
    rehearsal::on_sqlite(statements, connection, filled).await.map(Foreseen::Done)
}
