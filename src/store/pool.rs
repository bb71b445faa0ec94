//! Pools that nobody tidies in the background, and what their connections are asked before each use. Those of the hot
//! paths are asked when they come from their pool, and else by `hot`.
//!
//! sqlx 0.9.0 counts the idle connections of a pool after it gave them free, so for a moment the count is
//! below zero, which is 2^64 - 1. Its housekeeping, which every pool with a lifetime or an idle time-out
//! runs when it is made and again and again, goes through "that many" connections without ever yielding: a
//! thread of the daemon is gone for good, and its runtime never ends. A pool without both has none.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection, Executor, PgConnection, Row};

use super::connect::no_answer;

/// For a free connection, or for the server to accept a new one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that doesn't answer its check within this stands on a server that is gone without a
/// word (its machine or the network died): TCP alone would wait for a quarter of an hour.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection older than this is replaced when it is next asked for: a server's process grows with what
/// it has seen.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// A pool of PostgreSQL connections, which are asked nothing before they are used.
#[expect(clippy::disallowed_methods, reason = "the one place that takes the housekeeping away")]
pub(super) fn postgres_pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// The same of SQLite connections.
#[expect(clippy::disallowed_methods, reason = "the one place that takes the housekeeping away")]
pub(super) fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        // A transaction that somebody left open here would be everybody's.
        .before_acquire(|connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        })
}

/// A pool for single statements that write, or might: asked at each use whether its server still serves. A server that is
/// demoted refuses each of them as a whole.
pub(super) fn asked(connections: u32) -> PgPoolOptions {
    pinged(connections).before_acquire(|connection, meta| {
        Box::pin(answering(async move { Ok(!is_old(meta.age) && writable(connection).await?) }))
    })
}

/// A pool on which transactions may be begun: no use begins in one that an earlier one may have left.
pub(super) fn guarded(connections: u32) -> PgPoolOptions {
    pinged(connections).before_acquire(|connection, meta| {
        Box::pin(answering(async move { Ok(!is_old(meta.age) && free(connection).await?) }))
    })
}

/// A pool that takes back no connection that doesn't answer: one of which a statement was given up may never do so
/// again, and the pool itself would wait for it.
fn pinged(connections: u32) -> PgPoolOptions {
    postgres_pool(connections).after_release(|connection, _| {
        Box::pin(answering(async move { connection.ping().await.map(|()| true) }))
    })
}

/// A pool for transactions in which somebody else works: [`guarded`], and outside of such a transaction its
/// sessions write nothing. The driver ends a transaction in silence when a `begin()` within it fails or is
/// dropped, and what is run then would stand by itself. [`WRITES`] opens a transaction that may write.
pub(super) fn effects(connections: u32) -> PgPoolOptions {
    pinged(connections)
        .after_connect(|connection, _| {
            Box::pin(async move {
                match answering(kept_from_writing(connection)).await? {
                    true => Ok(()),
                    false => Err(sqlx::Error::Protocol("the server takes no writes".to_owned())),
                }
            })
        })
        .before_acquire(|connection, meta| {
            Box::pin(answering(async move {
                Ok(!is_old(meta.age) && kept_from_writing(connection).await?)
            }))
        })
}

/// The first statement of a transaction that may write, on a connection of [`effects`].
pub(super) const WRITES: &str = "SET TRANSACTION READ WRITE";

/// A pool of another's database: whether that may be written to is its statements' to find out.
pub(super) fn foreign(connections: u32) -> PgPoolOptions {
    postgres_pool(connections).before_acquire(|connection, meta| {
        Box::pin(answering(async move {
            Ok(!is_old(meta.age) && connection.ping().await.map(|()| true)?)
        }))
    })
}

/// Whether a connection of this age has had its time. Asked when it is taken, as housekeeping isn't there to ask.
pub(super) fn is_old(age: Duration) -> bool {
    age > AGE_MAX
}

/// Fails when a check takes too long, so that the pool drops the connection.
pub(super) async fn answering(
    check: impl Future<Output = Result<bool, sqlx::Error>>,
) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(CHECK_TIMEOUT, check).await.unwrap_or_else(|_| Err(no_answer()))
}

/// Whether this session may write: no on a standby, and no where it began while the database was
/// set to read-only, which it stays until it ends.
pub(super) async fn writable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let read_only: String =
        sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection).await?;
    Ok(read_only == "off")
}

/// Whether a session is in no transaction, as the server sees it. In one, time stands still, and one that has failed
/// answers nothing but an error. To end it without a look would be simpler, but of each that there is nothing to end a
/// server writes a warning into its log.
macro_rules! in_none {
    () => {
        "now() = statement_timestamp()"
    };
}

/// Whether the session is in no transaction and may write, in one round trip. At every use: workers ask so often that a
/// connection to a demoted primary would never rest long enough to be found out, and nobody here sees the refusal of a
/// single statement.
async fn free(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        return Ok(false);
    }
    let asked =
        concat!("SELECT ", in_none!(), " AND current_setting('transaction_read_only') = 'off'");
    let rows = connection.fetch_all(asked).await?;
    let free: Option<bool> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(free == Some(true))
}

/// The same, and from here on it writes only in transactions that say so.
async fn kept_from_writing(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The driver counts one that somebody left open; it would count on.
        return Ok(false);
    }
    // Asked for behind RESET: what is set here isn't what the database's owner has set. And set only where the session is
    // ours alone, which our settings at its start tell: a pooler of transactions would hand it to somebody else.
    let asked = concat!(
        "RESET default_transaction_read_only;
        SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off' AND ", in_none!(), ";
        SELECT set_config('default_transaction_read_only', 'on', false)
         WHERE current_setting('idle_in_transaction_session_timeout') = '10s'"
    );
    let rows = connection.fetch_all(asked).await?;
    let writable: Option<bool> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(writable == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pool_has_housekeeping() {
        let postgres = postgres_pool(3);
        assert_eq!((postgres.get_idle_timeout(), postgres.get_max_lifetime()), (None, None));
        let sqlite = sqlite_pool(3);
        assert_eq!((sqlite.get_idle_timeout(), sqlite.get_max_lifetime()), (None, None));
        assert_eq!((postgres.get_max_connections(), sqlite.get_max_connections()), (3, 3));
    }

    #[test]
    fn a_connection_is_replaced_after_half_an_hour() {
        assert!(!is_old(AGE_MAX));
        assert!(is_old(AGE_MAX + Duration::from_secs(1)));
    }
}
