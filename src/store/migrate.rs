//! Migrations, guarded: two replicas that start at once must not both migrate.

use migration::{MigrationStatus, Migrator, MigratorTrait};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqlxPostgresConnector,
    SqlxSqliteConnector,
};
use sqlx::{ConnectOptions, Connection};

use super::StoreSettings;
use super::connect::{Target, target};
use super::error::OpenError;
use super::lock::FileLock;
use super::partition::{PARTITION, is_partitioned};
use super::pool::{ACQUIRE_TIMEOUT, postgres_pool, sqlite_pool};

/// What to do with migrations when opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Apply what is missing, guarded against two replicas.
    Auto,
    /// Refuse to open when something is missing.
    Check,
    /// Don't look.
    Off,
}

/// The key of PostgreSQL's advisory lock: "hookonce" in ASCII.
const ADVISORY_LOCK: i64 = 0x686f_6f6b_6f6e_6365;

/// A migration and whether it was applied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Applies what is missing. Waits while another replica does the same (PostgreSQL), or refuses
/// while a daemon works on the file (SQLite).
pub async fn up(settings: &StoreSettings) -> Result<(), OpenError> {
    let _lock = lock(settings)?;
    apply(settings).await
}

/// Takes the last `steps` migrations back. Their tables are dropped, with all that they hold.
pub async fn down(settings: &StoreSettings, steps: u32) -> Result<(), OpenError> {
    let _lock = lock(settings)?;
    guarded(settings, async |connection| Migrator::down(connection, Some(steps)).await).await
}

/// As [`up`], for one who holds the file's lock.
pub(super) async fn apply(settings: &StoreSettings) -> Result<(), OpenError> {
    guarded(settings, async |connection| {
        Migrator::up(connection, None).await?;
        if settings.partition_bodies && connection.get_database_backend() == DbBackend::Postgres {
            connection.execute_unprepared(PARTITION).await?;
        }
        Ok(())
    })
    .await
}

fn lock(settings: &StoreSettings) -> Result<Option<FileLock>, OpenError> {
    match target(settings)? {
        Target::Postgres(_) => Ok(None),
        Target::Sqlite(options) => FileLock::take(options.get_filename()).map(Some),
    }
}

/// Every migration that this program knows, oldest first. Changes nothing, and creates no SQLite file.
pub async fn status(settings: &StoreSettings) -> Result<Vec<Step>, OpenError> {
    let all_missing = || {
        Migrator::get_migration_files()
            .iter()
            .map(|step| Step { name: step.name().to_owned(), applied: false })
            .collect()
    };
    if let Target::Sqlite(options) = target(settings)?
        && !options.get_filename().exists()
    {
        return Ok(all_missing());
    }
    let (connection, pool) = connect(settings).await?;
    let steps = Migrator::get_migration_with_status_read_only(&connection).await;
    pool.close().await;
    Ok(steps
        .map_err(fault)?
        .iter()
        .map(|step| Step {
            name: step.name().to_owned(),
            applied: step.status() == MigrationStatus::Applied,
        })
        .collect())
}

/// Fails unless the database has every migration of this program.
pub(super) async fn require_current(settings: &StoreSettings) -> Result<(), OpenError> {
    let missing: Vec<String> = status(settings)
        .await?
        .into_iter()
        .filter(|step| !step.applied)
        .map(|step| step.name)
        .collect();
    if missing.is_empty() {
        return require_partitions(settings).await;
    }
    Err(OpenError::Migration(format!(
        "{} not applied; run `hookonce migrate up`, or set database.migrate = \"auto\"",
        missing.join(", ")
    )))
}

/// Fails when partitions are asked for and the tables have none.
async fn require_partitions(settings: &StoreSettings) -> Result<(), OpenError> {
    if !settings.partition_bodies {
        return Ok(());
    }
    let (_, pool) = connect(settings).await?;
    let made = match &pool {
        OwnPool::Postgres(pool) => is_partitioned(pool).await,
        OwnPool::Sqlite(_) => Ok(true),
    };
    pool.close().await;
    match made {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenError::Migration(
            "database.partition_bodies asks for partitions, and the tables have none; run `hookonce migrate up`, or set database.migrate = \"auto\""
                .to_owned(),
        )),
        Err(error) => Err(OpenError::Migration(error.to_string())),
    }
}

async fn guarded<F>(settings: &StoreSettings, work: F) -> Result<(), OpenError>
where
    F: AsyncFnOnce(&DatabaseConnection) -> Result<(), DbErr>,
{
    let (connection, pool) = connect(settings).await?;
    let lock = match target(settings)? {
        Target::Postgres(options) => {
            // A session's lock on a connection of its own: it ends with the connection, so a replica
            // that dies while it migrates leaves nothing locked. The wait is bounded by nothing but
            // the other replica's migration, so the time-outs of ordinary statements are lifted.
            let options = options.options([("statement_timeout", "0"), ("lock_timeout", "0")]);
            let mut session = options.connect().await.map_err(OpenError::Unreachable)?;
            sqlx::query("SELECT pg_advisory_lock($1)")
                .bind(ADVISORY_LOCK)
                .execute(&mut session)
                .await
                .map_err(OpenError::Unreachable)?;
            Some(session)
        }
        Target::Sqlite(_) => None,
    };
    let result = work(&connection).await;
    pool.close().await;
    if let Some(session) = lock {
        session.close().await.map_err(OpenError::Unreachable)?;
    }
    result.map_err(fault)
}

/// A pool of one connection, for this purpose only: nothing that a migration leaves in a connection
/// can reach the pools that serve events.
async fn connect(settings: &StoreSettings) -> Result<(DatabaseConnection, OwnPool), OpenError> {
    match target(settings)? {
        Target::Postgres(options) => {
            let options = options.options([("statement_timeout", "0")]);
            // A pool tries again and again while the server refuses, and forgets why it did: whoever
            // waits at a terminal is told at once.
            let first = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect())
                .await
                .map_err(|_| OpenError::Unreachable(sqlx::Error::PoolTimedOut))?
                .map_err(OpenError::Unreachable)?;
            first.close().await.map_err(OpenError::Unreachable)?;
            let pool =
                postgres_pool(1).connect_with(options).await.map_err(OpenError::Unreachable)?;
            Ok((
                SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone()),
                OwnPool::Postgres(pool),
            ))
        }
        Target::Sqlite(options) => {
            let pool =
                sqlite_pool(1).connect_with(*options).await.map_err(OpenError::Unreachable)?;
            Ok((SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.clone()), OwnPool::Sqlite(pool)))
        }
    }
}

enum OwnPool {
    Postgres(sqlx::PgPool),
    Sqlite(sqlx::SqlitePool),
}

impl OwnPool {
    async fn close(self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

fn fault(error: DbErr) -> OpenError {
    let text = error.to_string();
    if text.contains("is missing, this migration has been applied but its file is missing") {
        return OpenError::Migration(format!(
            "the database was migrated by a newer hookonce than this one ({text}); run that version, or take its migrations back with it first"
        ));
    }
    OpenError::Migration(text)
}
