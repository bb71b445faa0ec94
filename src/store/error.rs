//! Errors of the store, shaped by what the caller does.

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Trying again may help: the database is away, restarting, overloaded or read-only.
    #[error("the database did not accept the statement now")]
    Transient(#[source] sqlx::Error),
    /// Trying the same again won't help.
    #[error("the database refused the statement")]
    Broken(#[source] sqlx::Error),
    /// A row holds what this version can't read.
    #[error("a row can't be read: {0}")]
    Unreadable(String),
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
