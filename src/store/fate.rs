//! What became of a transaction of ours that somebody else worked in, when it wasn't we who committed it.
//!
//! The driver ends it in silence when a `begin()` within it fails or is dropped, and then it is rolled back. But three
//! levels deep it undoes two of them only, and whoever then commits what he holds for a savepoint commits the
//! transaction: his work is durable, and nothing says so. The server knows. SQLite's hook lets none of that be
//! committed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Row};

const WHICH: &str =
    "SELECT pg_current_xact_id()::text, pg_postmaster_start_time(), clock_timestamp()";

/// Another server, or one that was started again, may have given the number to another transaction. So may one that
/// recovered from the death of one of its processes: it counts as started when it was, but none of its sessions outlives
/// that. (Without privileges only those of the same role show when they began.)
const STATUS: &str = "SELECT CASE WHEN pg_postmaster_start_time() = $2
        AND EXISTS (SELECT FROM pg_stat_activity WHERE backend_start < $3)
     THEN pg_xact_status($1::text::xid8) END";

/// How long it is looked for: a session that was told to end needs a moment for it.
const LOOK_FOR: Duration = Duration::from_secs(5);

/// How long between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Which transaction, of which server.
#[derive(Debug)]
pub(super) struct Which {
    number: String,
    server: DateTime<Utc>,
    /// When it was asked for, by the server's clock.
    at: DateTime<Utc>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    RolledBack,
    /// It is under way, or who could tell is away or another one.
    Unknown,
}

impl Which {
    /// Sets a savepoint, and with the same question learns which transaction it is in. That has locked or written a row
    /// before, and so has its number already.
    pub(super) async fn marked(
        connection: &mut PgConnection,
        savepoint: &str,
    ) -> Result<Self, sqlx::Error> {
        let row = connection.fetch_one(AssertSqlSafe(format!("{savepoint}; {WHICH}"))).await?;
        Ok(Self { number: row.try_get(0)?, server: row.try_get(1)?, at: row.try_get(2)? })
    }

    /// Asks, on a connection of its own, as soon as it isn't under way any more.
    pub(super) async fn fate(&self, pool: &PgPool) -> Fate {
        let looking = async {
            loop {
                match self.status(pool).await {
                    Ok(Some(status)) if status == "committed" => return Fate::Committed,
                    Ok(Some(status)) if status == "aborted" => return Fate::RolledBack,
                    Ok(Some(_)) => {}
                    Ok(None) => return Fate::Unknown,
                    Err(error) => {
                        tracing::debug!(error = %error, "a transaction's end can't be asked for now");
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let fate = tokio::time::timeout(LOOK_FOR, looking).await.unwrap_or(Fate::Unknown);
        if fate == Fate::Unknown {
            tracing::warn!(
                "what became of a transaction is not known; it is taken for rolled back"
            );
        }
        fate
    }

    async fn status(&self, pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
        let asked = sqlx::query_scalar(STATUS).bind(&self.number).bind(self.server).bind(self.at);
        asked.fetch_one(pool).await
    }
}
