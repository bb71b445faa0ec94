//! Settings that would make an acknowledgement a lie are refused when the store opens.

use sqlx::{PgConnection, Row, SqlitePool};

use super::error::OpenError;

/// The oldest PostgreSQL that gets security fixes with what we rely on.
const POSTGRES_VERSION_MIN: i32 = 130_000;

/// Older ones can corrupt a database in WAL mode.
const SQLITE_VERSION_MIN: (u32, u32, u32) = (3, 51, 3);

const SETTINGS: &str = "SELECT current_setting('server_version_num')::int AS version,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS standbys,
       current_setting('default_transaction_read_only') AS read_only,
       pg_is_in_recovery() AS standby";

/// Refuses what breaks the guarantee and answers the session's `synchronous_commit`.
pub(super) async fn check_postgres(connection: &mut PgConnection) -> Result<String, OpenError> {
    let row = sqlx::query(SETTINGS).fetch_one(connection).await.map_err(OpenError::Unreachable)?;
    let text = |column: &str| row.try_get::<String, _>(column).map_err(OpenError::Unreachable);
    let version: i32 = row.try_get("version").map_err(OpenError::Unreachable)?;
    let standby: bool = row.try_get("standby").map_err(OpenError::Unreachable)?;

    if version < POSTGRES_VERSION_MIN {
        return Err(refuse(&format!(
            "the server is PostgreSQL {}; 13 is the oldest that is supported",
            version / 10_000
        )));
    }
    if standby {
        return Err(refuse("the server is a standby and can't be written to; name the primary"));
    }
    if text("read_only")? == "on" {
        return Err(refuse(
            "default_transaction_read_only is on; it must be off for this role and database",
        ));
    }
    for setting in ["fsync", "full_page_writes"] {
        if text(setting)? == "off" {
            return Err(refuse(&format!(
                "{setting} is off: a power failure would lose acknowledged events; set it to on"
            )));
        }
    }
    let synchronous_commit = text("synchronous_commit")?;
    if synchronous_commit == "off" {
        return Err(refuse(
            "synchronous_commit is off: a crash would lose acknowledged events; set it to on for this role and database",
        ));
    }
    if !text("standbys")?.is_empty()
        && matches!(synchronous_commit.as_str(), "local" | "remote_write")
    {
        tracing::warn!(
            postgres.synchronous_commit = %synchronous_commit,
            "synchronous_commit is {synchronous_commit}: losing the primary may lose events that its standby has not flushed"
        );
    }
    Ok(synchronous_commit)
}

pub(super) async fn check_sqlite(pool: &SqlitePool) -> Result<(), OpenError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(OpenError::Unreachable)?;
    if parse_version(&version).is_none_or(|version| version < SQLITE_VERSION_MIN) {
        return Err(refuse(&format!(
            "this is SQLite {version}; 3.51.3 is the oldest without the bug that can corrupt a WAL database"
        )));
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(pool)
        .await
        .map_err(OpenError::Unreachable)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(refuse(&format!(
            "SQLite works in journal mode {mode} instead of WAL; is the file on a network file system?"
        )));
    }
    Ok(())
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

fn refuse(why: &str) -> OpenError {
    OpenError::Unsafe(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(parse_version("3.51.3"), Some((3, 51, 3)));
        assert!(parse_version("3.100.0") > Some(SQLITE_VERSION_MIN));
        assert!(parse_version("3.9.9") < Some(SQLITE_VERSION_MIN));
        assert_eq!(parse_version("x"), None);
    }
}
