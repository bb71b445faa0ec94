//! Opening the database: pools, their hooks, and the settings that keep the guarantee.
//!
//! sqlx 0.9.0's `Pool::begin()` is not cancel-safe on PostgreSQL: a future dropped between sending
//! BEGIN and reading its reply hands back a connection inside an open transaction, and what follows
//! on it is discarded (sqlx issues 4385, 4393, 2805). So on PostgreSQL: intake has a pool of its own
//! that never begins a transaction; every statement of ours is one autocommit statement; statements
//! run in tasks that nobody cancels; and the shared pool asks the server before each use whether a transaction is
//! open, because an embedder or a library may begin some on it and the driver's own count is 0 in this fault.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::checkpoint::Checkpointer;
use super::effect::EFFECT_POOL;
use super::error::{OpenError, StoreError};
use super::hot::{Hot, HotPool};
use super::lock::FileLock;
use super::pool::{self, ACQUIRE_TIMEOUT};
use super::{StoreSettings, safety};

/// How long one statement of a hot path may run on the server; on the ack path its sender has left
/// long before.
const HOT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a batch of idempotency keys waits for rows that others hold, in milliseconds. Two batches hold each
/// other up for a commit at most; somebody's open transaction must not hold up a hundred requests for
/// long, which all have time left then to be asked for one by one.
const KEYS_LOCK_TIMEOUT_MS: &str = "1000";

/// How much longer than the server's own limit we wait for its answer before we hold it for dead.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// How long a SQLite statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages that the writer keeps in memory, in KiB and negative as it wants it. A commit reads and changes a page of the index of
/// keys for each event, anywhere in it: the usual 2 MiB hold none of them until the next.
const CACHE_KIB: &str = "-32768";

/// Prepared statements that a SQLite connection keeps: one for each number of rows that go in at once is most of them.
const STATEMENTS: usize = 256;

/// After how many pages the log is brought into the file, 64 MiB of it: pages that change again and again are written
/// there once, and the writer, who does it, stands still a quarter as often.
const CHECKPOINT_PAGES: &str = "8192";

/// A session of the hot paths reads by index only, row by row. Their plans are made once and kept, and
/// in a new database they are made while the tables are nearly empty: one that reads the table whole is
/// the cheapest then, and stays until the server looks at its statistics again, a minute and a million
/// rows later. With a backlog the planner errs the other way: it doesn't know that a claim takes few,
/// expects a tenth of all that is pending, and would walk whole tables to join them. Nor is there
/// anything in these statements that compiling would pay for. Public for the plan tests.
pub const HOT_PLANNING: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_mergejoin", "off"),
    ("enable_hashjoin", "off"),
    ("jit", "off"),
];

/// What cleanup's session has besides [`HOT_PLANNING`]: left alone, the planner makes a plan of its own for each batch,
/// which costs half of a small one. Public for the plan tests.
pub const CLEANUP_PLANNING: [(&str, &str); 1] = [("plan_cache_mode", "force_generic_plan")];

/// The open database.
#[derive(Debug)]
pub(super) enum Database {
    Postgres(Box<Postgres>),
    Sqlite(Sqlite),
}

#[derive(Debug, Clone)]
pub(super) struct Postgres {
    /// Autocommit statements of recording only.
    recording: Arc<HotPool>,
    /// Autocommit statements of claiming and settling only.
    working: Arc<HotPool>,
    /// Autocommit statements of batches of idempotency keys only.
    keys: Arc<HotPool>,
    /// Autocommit statements of cleanup only; as guarded as `shared`, because some of them are given up.
    pub(super) cleaning: PgPool,
    /// Workers, upkeep, admin.
    pub(super) shared: PgPool,
    /// Transactions of effects only: see `effect.rs`. As guarded as `shared`, lazily connected, and outside of
    /// these transactions it writes nothing.
    pub(super) effects: PgPool,
    /// How long to wait for a call on `shared`.
    patience: Duration,
    /// `shared`, for the query builder.
    pub(super) orm: DatabaseConnection,
}

#[derive(Debug)]
pub(super) struct Sqlite {
    /// The one writer.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) checkpointer: Checkpointer,
    /// `readers`, for the query builder.
    pub(super) orm: DatabaseConnection,
    /// Held by the daemon, so that a second one on the same file is refused.
    _lock: Option<FileLock>,
}

/// Which database a URL names.
pub(super) enum Target {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

pub(super) fn target(settings: &StoreSettings) -> Result<Target, OpenError> {
    let url = settings.url.as_str();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| OpenError::Url(format!("not a PostgreSQL URL: {error}")))?;
        return Ok(Target::Postgres(Box::new(postgres_options(options, settings))));
    }
    if url.starts_with("sqlite:") {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| OpenError::Url(format!("not a SQLite URL: {error}")))?;
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(OpenError::Url(
                "an in-memory SQLite keeps nothing; name a file, such as sqlite://hookonce.db"
                    .to_owned(),
            ));
        }
        return Ok(Target::Sqlite(Box::new(sqlite_options(options))));
    }
    Err(OpenError::Url(
        "it must begin with postgres:// or sqlite://, such as sqlite://hookonce.db".to_owned(),
    ))
}

fn postgres_options(options: PgConnectOptions, settings: &StoreSettings) -> PgConnectOptions {
    let statement = settings.statement_timeout.as_millis().to_string();
    options
        .application_name("hookonce")
        .options([
            ("statement_timeout", statement.as_str()),
            ("lock_timeout", "5000"),
            ("idle_in_transaction_session_timeout", "10000"),
            // Whatever the role's own is: a lane's triggers must see what was committed before their lock.
            ("default_transaction_isolation", "read committed"),
            // What a server has to say besides is in its own log, where its owner looks for it.
            ("client_min_messages", "error"),
        ])
        .disable_statement_logging()
}

fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .page_size(8_192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

impl Postgres {
    /// The same with a connection of its own for recording, made on the runtime of the thread that records.
    pub(super) fn near(&self) -> Self {
        Self { recording: Arc::new(self.recording.for_one_thread()), ..self.clone() }
    }

    /// A connection for recording.
    pub(super) async fn recording(&self) -> Result<Hot<'_>, StoreError> {
        self.recording.take().await
    }

    /// A connection for claiming or settling.
    pub(super) async fn working(&self) -> Result<Hot<'_>, StoreError> {
        self.working.take().await
    }

    /// A connection for a batch of idempotency keys.
    pub(super) async fn keys(&self) -> Result<Hot<'_>, StoreError> {
        self.keys.take().await
    }
}

impl Database {
    /// Opens the pools after checking that the server keeps what it is told to keep.
    ///
    /// `exclusive` takes the daemon's lock on a SQLite file.
    pub(super) async fn open(settings: &StoreSettings, exclusive: bool) -> Result<Self, OpenError> {
        match target(settings)? {
            Target::Postgres(options) => {
                open_postgres(*options, settings).await.map(Box::new).map(Self::Postgres)
            }
            Target::Sqlite(options) => {
                open_sqlite(*options, settings, exclusive).await.map(Self::Sqlite)
            }
        }
    }

    /// How long to wait for one call of the store, but for those that run many statements. The server
    /// ends a statement by itself; past this only a dead network is left to explain the silence.
    pub(super) fn patience(&self) -> Option<Duration> {
        match self {
            Self::Postgres(postgres) => Some(postgres.patience),
            Self::Sqlite(_) => None,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Postgres(postgres) => {
                postgres.recording.close().await;
                postgres.working.close().await;
                postgres.keys.close().await;
                postgres.cleaning.close().await;
                postgres.effects.close().await;
                postgres.shared.close().await;
            }
            Self::Sqlite(sqlite) => {
                sqlite.readers.close().await;
                sqlite.checkpointer.close().await;
                sqlite.writer.close().await;
            }
        }
    }

    /// The query builder's connection, for reading.
    pub(super) fn orm(&self) -> &DatabaseConnection {
        match self {
            Self::Postgres(postgres) => &postgres.orm,
            Self::Sqlite(sqlite) => &sqlite.orm,
        }
    }
}

async fn open_postgres(
    options: PgConnectOptions,
    settings: &StoreSettings,
) -> Result<Postgres, OpenError> {
    let mut first = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect())
        .await
        .map_err(|_| OpenError::Unreachable(sqlx::Error::PoolTimedOut))?
        .map_err(OpenError::Unreachable)?;
    let synchronous_commit = safety::check_postgres(&mut first).await?;
    first.close().await.map_err(OpenError::Unreachable)?;

    // Pinned, so that a reload of the server's settings can't lower it under us.
    let options = options.options([("synchronous_commit", synchronous_commit.as_str())]);

    let hot_statement = settings.statement_timeout.min(HOT_STATEMENT_TIMEOUT);
    let hot_options = options
        .clone()
        .options([("statement_timeout", hot_statement.as_millis().to_string().as_str())])
        .options(HOT_PLANNING);
    let hot_patience = hot_statement + ANSWER_MARGIN;
    let hot = |connections, options| Arc::new(HotPool::new(connections, options, hot_patience));
    let recording = hot(3, hot_options.clone());
    // Both statements of its batches write, also the one that finds rows: a stale row of a demoted primary
    // is never read. One connection claims while the other one settles.
    let keys = hot(2, hot_options.clone().options([("lock_timeout", KEYS_LOCK_TIMEOUT_MS)]));
    let working = hot(2, hot_options);
    let cleaning = pool::guarded(1)
        .connect_lazy_with(options.clone().options(HOT_PLANNING).options(CLEANUP_PLANNING));
    let effects = pool::effects(EFFECT_POOL).connect_lazy_with(options.clone());
    let shared = pool::guarded(settings.connections.max(2)).connect_lazy_with(options);
    let orm = SqlxPostgresConnector::from_sqlx_postgres_pool(shared.clone());
    let patience = ACQUIRE_TIMEOUT + 2 * settings.statement_timeout + ANSWER_MARGIN;
    Ok(Postgres { recording, working, keys, cleaning, shared, effects, patience, orm })
}

/// The server is silent, and so is the network.
pub(super) fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the database did not answer in time",
    ))
}

async fn open_sqlite(
    options: SqliteConnectOptions,
    settings: &StoreSettings,
    exclusive: bool,
) -> Result<Sqlite, OpenError> {
    let file = options.get_filename().to_owned();
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| {
            OpenError::Unreachable(sqlx::Error::Io(std::io::Error::new(
                error.kind(),
                format!("{}: {error}", folder.display()),
            )))
        })?;
    }
    let lock = if exclusive { Some(FileLock::take(&file)?) } else { None };
    let writer = pool::sqlite_pool(1)
        .connect_with(options.clone().pragma("cache_size", CACHE_KIB))
        .await
        .map_err(OpenError::Unreachable)?;
    safety::check_sqlite(&writer).await?;
    let options = options.create_if_missing(false);
    let checkpointer = Checkpointer::new(pool::sqlite_pool(1).connect_lazy_with(options.clone()));
    let readers = pool::sqlite_pool(settings.connections.max(2)).connect_lazy_with(options);
    let orm = SqlxSqliteConnector::from_sqlx_sqlite_pool(readers.clone());
    Ok(Sqlite { writer, readers, checkpointer, orm, _lock: lock })
}
