//! Errors of the store, shaped by what the caller does.

use std::io::ErrorKind;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::error::DatabaseError;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Trying again may help: the database is away, restarting, overloaded, full or read-only.
    #[error("the database did not accept the statement now")]
    Transient(#[source] sqlx::Error),
    /// Trying the same again won't help.
    #[error("the database refused the statement")]
    Broken(#[source] sqlx::Error),
    /// A row holds what this version can't read.
    #[error("a row can't be read: {0}")]
    Unreadable(String),
    /// Our own invariant does not hold.
    #[error("{0}")]
    Invariant(String),
    /// What was asked for makes no sense here, such as a cursor that we did not give out.
    #[error("{0}")]
    Invalid(String),
    /// Whoever worked in a transaction of ours ended it by a COMMIT of his own: what he did stands, and nothing says so.
    /// Done again it would be done twice.
    #[error(
        "the effect was committed apart from its settlement, so it is not done again: whoever worked in the transaction committed it, \
         himself or by a savepoint within which a `begin()` had failed or been given up"
    )]
    Apart,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is neither PostgreSQL's nor SQLite's, or malformed.
    #[error("database.url: {0}")]
    Url(String),
    /// The server can't be reached.
    #[error("the database can't be reached")]
    Unreachable(#[source] sqlx::Error),
    /// The server would break the guarantee.
    #[error("the database would break the guarantee: {0}")]
    Unsafe(String),
    /// Another daemon works on this file.
    #[error("{0}")]
    Locked(String),
    /// Migrations are missing, newer than this program, or failed.
    #[error("migrations: {0}")]
    Migration(String),
}

impl StoreError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient(_) => true,
            Self::Broken(_)
            | Self::Unreadable(_)
            | Self::Invariant(_)
            | Self::Invalid(_)
            | Self::Apart => false,
        }
    }
}

impl StoreError {
    /// Too many wait for the database already.
    pub(crate) fn crowded() -> Self {
        Self::Transient(sqlx::Error::PoolTimedOut)
    }

    /// A row was passed over that somebody else holds, or that isn't there any more.
    pub(crate) fn held() -> Self {
        let why = "the row is held by another transaction, or no longer leased";
        Self::Transient(sqlx::Error::Io(std::io::Error::new(ErrorKind::WouldBlock, why)))
    }

    /// Whether what was asked for may have been done all the same, or may yet be: the connection was lost meanwhile.
    pub(crate) fn is_fate_unknown(&self) -> bool {
        match self {
            Self::Transient(sqlx::Error::Database(database)) => {
                // The server spoke: 57P01 to 57P05 and 08 end the connection and may come after COMMIT.
                database
                    .code()
                    .is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
            }
            Self::Transient(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => false,
            Self::Transient(_) => true,
            // Known, and not what was asked for.
            Self::Apart => false,
            Self::Broken(_) | Self::Unreadable(_) | Self::Invariant(_) | Self::Invalid(_) => false,
        }
    }

    /// Whether the database answered, and what it refused of a batch certainly wasn't done: each of the batch may
    /// still be done by itself.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Transient(sqlx::Error::Database(_)) => !self.is_fate_unknown(),
            Self::Transient(_) | Self::Apart => false,
            Self::Broken(_) | Self::Unreadable(_) | Self::Invariant(_) | Self::Invalid(_) => true,
        }
    }

    /// The same failure for another one of a batch; the error below can't be cloned.
    pub(crate) fn again(&self) -> Self {
        let text = match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        };
        match self {
            Self::Transient(sqlx::Error::PoolTimedOut) => Self::crowded(),
            Self::Transient(sqlx::Error::PoolClosed) => Self::Transient(sqlx::Error::PoolClosed),
            Self::Transient(_) => Self::Transient(sqlx::Error::Protocol(text)),
            Self::Broken(_) => Self::Broken(sqlx::Error::Protocol(text)),
            Self::Unreadable(_) => Self::Unreadable(text),
            Self::Invariant(_) => Self::Invariant(text),
            Self::Invalid(_) => Self::Invalid(text),
            Self::Apart => Self::Apart,
        }
    }

    /// Whether the server gave it up because it took too long, for which one row may be the reason that somebody holds:
    /// the statement's own limit may be over before the lock's. Or whether such a row was passed over.
    pub(crate) fn is_held_up(&self) -> bool {
        match self {
            Self::Transient(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code == "55P03" || code == "57014")
            }
            Self::Transient(sqlx::Error::Io(error)) => error.kind() == ErrorKind::WouldBlock,
            _ => false,
        }
    }

    /// Whether it waited too long for a row that another transaction holds.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Transient(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code == "55P03"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if !transient(database.as_ref()) => Self::Broken(error),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. } => Self::Unreadable(error.to_string()),
            sqlx::Error::Encode(_) | sqlx::Error::RowNotFound | sqlx::Error::InvalidArgument(_) => {
                Self::Broken(error)
            }
            _ => Self::Transient(error),
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(inner))
            | DbErr::Exec(RuntimeErr::SqlxError(inner))
            | DbErr::Query(RuntimeErr::SqlxError(inner)) => match std::sync::Arc::try_unwrap(inner)
            {
                Ok(inner) => Self::from(inner),
                Err(shared) => Self::Transient(sqlx::Error::Protocol(shared.to_string())),
            },
            DbErr::ConnectionAcquire(inner) => {
                Self::Transient(sqlx::Error::Protocol(inner.to_string()))
            }
            other => Self::Unreadable(other.to_string()),
        }
    }
}

/// Whether the server may accept the same statement later.
fn transient(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return true };
    if let Some(postgres) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        let code = postgres.code();
        // Connection, resources (disk full is one), operator intervention, serialisation and
        // deadlock, lock not available, read-only (a demoted primary), system and internal errors.
        // And what a server answers to a new connection while somebody works on it: a password that
        // is being rotated, a database that takes no connections or is about to be restored.
        return ["08", "53", "57", "40", "58", "XX", "28", "3D"]
            .iter()
            .any(|class| code.starts_with(class))
            || matches!(code, "55P03" | "55000" | "25006" | "25P02" | "25P03");
    }
    // SQLite's primary result code is the low byte: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14))
}

/// Whether the connection stands on a server that no longer takes writes: it must not be used again.
pub(super) fn read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == "25006")
}
