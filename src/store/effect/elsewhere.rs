//! Another database of the operator's: statements there run behind a fence, a row for each delivery that
//! is written in the same transaction. Whoever finds the row knows that the statements were done.
//!
//! Fences are never deleted from here: only our own tables know whether a delivery can still be tried,
//! and a fence that is missing then means that its statements run twice.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use entity::Name;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, PgConnection, SqliteConnection};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Ended, Refusal, Statements, postgres, sqlite};
use crate::secret::Secret;
use crate::statement::{Dialect, Filled};
use crate::store::connect;
use crate::store::pool::{ACQUIRE_TIMEOUT, foreign, sqlite_pool};

mod rehearsal;

pub use rehearsal::Foreseen;

/// Connections to a file, which has one writer.
const SQLITE_POOL: u32 = 1;

const HAS_FENCE_POSTGRES: &str = "SELECT to_regclass('hookonce_fence') IS NOT NULL";

const CREATE_FENCE_POSTGRES: &str = "CREATE TABLE IF NOT EXISTS hookonce_fence (
    delivery_id uuid PRIMARY KEY,
    settled_at  timestamptz NOT NULL DEFAULT now())";

const CREATE_FENCE_SQLITE: &str = "CREATE TABLE IF NOT EXISTS hookonce_fence (
    delivery_id text PRIMARY KEY NOT NULL,
    settled_at  text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))) WITHOUT ROWID";

const FENCE_POSTGRES: &str =
    "INSERT INTO hookonce_fence (delivery_id) VALUES ($1) ON CONFLICT (delivery_id) DO NOTHING";

const FENCE_SQLITE: &str =
    "INSERT INTO hookonce_fence (delivery_id) VALUES (?1) ON CONFLICT (delivery_id) DO NOTHING";

/// What came of statements in another database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// They were done now, with the fence.
    Now,
    /// The fence stood already: they were done by an earlier try.
    Before,
}

/// Another database. Cheap to clone; connects when it is first needed.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    name: Name,
    options: Options,
    pool: Arc<OnceLock<Pool>>,
    /// Set once the fence's table is known to be there.
    fence: Arc<OnceCell<()>>,
    /// One for each connection.
    turns: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Options {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

#[derive(Debug)]
enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// Why the transaction there was rolled back.
enum Back {
    Before,
    Refused(Refusal),
}

impl Elsewhere {
    /// Reads the URL and touches nothing. Fails with a sentence that does not show it.
    pub fn new(name: Name, url: &Secret) -> Result<Self, String> {
        let unread = |why: sqlx::Error| format!("databases.{name}: the URL can't be read: {why}");
        let options = match Dialect::of_url(url.expose()) {
            Dialect::Postgres => {
                let options = PgConnectOptions::from_str(url.expose()).map_err(unread)?;
                let options = options.application_name("hookonce").options([
                    ("lock_timeout", "5000"),
                    // What we then keep as delivered must outlive a crash of that server.
                    ("synchronous_commit", "on"),
                    ("client_min_messages", "error"),
                ]);
                Options::Postgres(Box::new(options.disable_statement_logging()))
            }
            Dialect::Sqlite => {
                let options = SqliteConnectOptions::from_str(url.expose()).map_err(unread)?;
                // The file's own journal mode is its owner's business.
                let options = options
                    .create_if_missing(false)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5));
                Options::Sqlite(Box::new(options.disable_statement_logging()))
            }
        };
        let turns = match &options {
            Options::Postgres(_) => postgres::EFFECT_POOL,
            Options::Sqlite(_) => SQLITE_POOL,
        };
        let turns = Arc::new(Semaphore::new(turns as usize));
        Ok(Self { name, options, pool: Arc::default(), fence: Arc::default(), turns })
    }

    /// Its name in the config.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Waits until fewer work here than there are connections; whoever holds this may call [`Elsewhere::apply`],
    /// which would else wait for one within its time, five seconds at most. Cancel-safe.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so there is always one in the end.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Runs the statements once for this delivery, however often it is called and by however many.
    ///
    /// All of it happens within `limit` and a moment. When the answer to the COMMIT is lost the refusal is
    /// [`Refusal::Again`], and the next try finds the fence, or doesn't. Runs in a task of its own;
    /// dropping the future before the COMMIT rolls back.
    pub async fn apply(
        &self,
        delivery: Uuid,
        statements: &Statements,
        filled: Filled,
        limit: Duration,
    ) -> Result<Applied, Refusal> {
        let (elsewhere, statements) = (self.clone(), statements.clone());
        in_own_task(|unwanted| async move {
            elsewhere.apply_here(delivery, statements, filled, limit, &unwanted).await
        })
        .await
        .unwrap_or_else(Err)
    }

    async fn apply_here(
        self,
        delivery: Uuid,
        statements: Statements,
        filled: Filled,
        limit: Duration,
        unwanted: &CancellationToken,
    ) -> Result<Applied, Refusal> {
        let ended = match self.fenced().await? {
            Pool::Postgres(pool) => {
                let side = postgres::Side::Theirs(pool);
                postgres::transaction(side, limit, unwanted, |connection| {
                    Box::pin(behind_postgres(connection, delivery, statements, filled))
                })
                .await
            }
            Pool::Sqlite(pool) => {
                sqlite::transaction(pool, limit, unwanted, |connection| {
                    Box::pin(behind_sqlite(connection, delivery, statements, filled))
                })
                .await
            }
        };
        match ended {
            Ok(Ended::Committed(())) => Ok(Applied::Now),
            Ok(Ended::RolledBack(Back::Before)) => Ok(Applied::Before),
            Ok(Ended::RolledBack(Back::Refused(why))) => Err(why),
            Ok(Ended::Cut) => Err(Refusal::too_long(limit)),
            Err(error) => Err(self.away(&error)),
        }
    }

    /// Asks it whether it understands the statements, without running them and without making a fence.
    /// Fails with a sentence when it can't be reached.
    pub async fn prepare(&self, statements: &Statements) -> Result<Vec<(usize, String)>, String> {
        let late = |_| format!("the database `{}` did not answer in time", self.name);
        let asked = async {
            match &self.options {
                Options::Postgres(options) => {
                    let mut connection = options.connect().await?;
                    Ok(statements.prepare_postgres(&mut connection).await)
                }
                Options::Sqlite(options) => {
                    let mut connection = options.clone().read_only(true).connect().await?;
                    Ok(statements.prepare_sqlite(&mut connection).await)
                }
            }
        };
        tokio::time::timeout(2 * ACQUIRE_TIMEOUT, asked).await.map_err(late)?.map_err(
            |error: sqlx::Error| format!("the database `{}` can't be reached: {error}", self.name),
        )
    }

    /// Closes its connections, as far as they are free soon.
    pub async fn close(&self) {
        let closing = async {
            match self.pool.get() {
                Some(Pool::Postgres(pool)) => pool.close().await,
                Some(Pool::Sqlite(pool)) => pool.close().await,
                None => {}
            }
        };
        if tokio::time::timeout(ACQUIRE_TIMEOUT, closing).await.is_err() {
            tracing::debug!("connections to the database `{}` are still at work", self.name);
        }
    }

    /// The pool, behind which the fence stands.
    async fn fenced(&self) -> Result<&Pool, Refusal> {
        // Whoever makes it lets the others wait.
        let making = async || {
            let made = tokio::time::timeout(2 * ACQUIRE_TIMEOUT, self.make_fence()).await;
            made.unwrap_or_else(|_| Err(connect::no_answer()))
        };
        self.fence.get_or_try_init(making).await.map_err(|error| self.away(&error))?;
        Ok(self.pool())
    }

    async fn make_fence(&self) -> Result<(), sqlx::Error> {
        match self.pool() {
            Pool::Postgres(pool) => fence_on_postgres(&mut *pool.acquire().await?).await,
            Pool::Sqlite(pool) => fence_on_sqlite(&mut *pool.acquire().await?).await,
        }
    }

    /// The pool, with or without a fence.
    fn pool(&self) -> &Pool {
        self.pool.get_or_init(|| match &self.options {
            Options::Postgres(options) => Pool::Postgres(
                foreign(postgres::EFFECT_POOL).connect_lazy_with((**options).clone()),
            ),
            Options::Sqlite(options) => {
                Pool::Sqlite(sqlite_pool(SQLITE_POOL).connect_lazy_with((**options).clone()))
            }
        })
    }

    fn away(&self, error: &dyn std::error::Error) -> Refusal {
        let mut cause = format!("the database `{}` can't be used now: {error}", self.name);
        if let Some(source) = error.source() {
            cause.push_str(&format!(": {source}"));
        }
        Refusal::Again(cause)
    }
}

/// Makes the fence's table when it is missing.
async fn fence_on_postgres(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Asked first: whoever may not create tables can still use one that somebody made.
    let there: bool = sqlx::query_scalar(HAS_FENCE_POSTGRES).fetch_one(&mut *connection).await?;
    if !there {
        connection.execute(CREATE_FENCE_POSTGRES).await?;
    }
    Ok(())
}

async fn fence_on_sqlite(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute(CREATE_FENCE_SQLITE).await.map(drop)
}

/// Writes the delivery's row; false when it stood there.
async fn written_on_postgres(
    connection: &mut PgConnection,
    delivery: Uuid,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(FENCE_POSTGRES).bind(delivery).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}

async fn written_on_sqlite(
    connection: &mut SqliteConnection,
    delivery: Uuid,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(FENCE_SQLITE).bind(delivery.to_string()).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}

fn no_fence(error: &sqlx::Error) -> Refusal {
    Refusal::Again(format!("the fence could not be written: {error}"))
}

/// Runs it in a task that nobody cancels, and tells it when its answer is no longer wanted.
async fn in_own_task<T, F>(work: impl FnOnce(CancellationToken) -> F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let unwanted = CancellationToken::new();
    let _guard = unwanted.clone().drop_guard();
    tokio::spawn(work(unwanted))
        .await
        .map_err(|error| Refusal::Again(format!("the task of the statements ended early: {error}")))
}

async fn behind_postgres(
    connection: &mut PgConnection,
    delivery: Uuid,
    statements: Statements,
    filled: Filled,
) -> Result<(), Back> {
    let written = written_on_postgres(connection, delivery).await;
    if !written.map_err(|error| Back::Refused(no_fence(&error)))? {
        return Err(Back::Before);
    }
    statements.on_postgres(connection, &filled).await.map_err(Back::Refused)
}

async fn behind_sqlite(
    connection: &mut SqliteConnection,
    delivery: Uuid,
    statements: Statements,
    filled: Filled,
) -> Result<(), Back> {
    let written = written_on_sqlite(connection, delivery).await;
    if !written.map_err(|error| Back::Refused(no_fence(&error)))? {
        return Err(Back::Before);
    }
    statements.on_sqlite(connection, &filled).await.map_err(Back::Refused)
}
