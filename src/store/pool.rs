//! Pools that nobody tidies in the background.
//!
//! sqlx 0.9.0 counts the idle connections of a pool after it gave them free, so for a moment the count is
//! below zero, which is 2^64 - 1. Its housekeeping, which every pool with a lifetime or an idle time-out
//! runs when it is made and again and again, goes through "that many" connections without ever yielding: a
//! thread of the daemon is gone for good, and its runtime never ends. A pool without both has none.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;

/// A connection older than this is replaced when it is next asked for: a server's process grows with what
/// it has seen.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// A pool of PostgreSQL connections, without housekeeping.
#[expect(clippy::disallowed_methods, reason = "the one place that takes the housekeeping away")]
pub(super) fn postgres_pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None)
}

/// The same of SQLite connections.
#[expect(clippy::disallowed_methods, reason = "the one place that takes the housekeeping away")]
pub(super) fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None)
}

/// Whether a connection of this age has had its time. Asked when it is taken, as housekeeping isn't there to ask.
pub(super) fn is_old(age: Duration) -> bool {
    age > AGE_MAX
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
