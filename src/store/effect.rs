//! Effects in SQL: what a handler does inside of the transaction that settles its delivery, or behind a
//! fence in another database. Either way it is done exactly once, whatever dies.
//!
//! The one place where we hold a transaction open while an operator's or embedder's code works. On
//! PostgreSQL it has a pool of its own; the server ends a statement at the limit, and what is still
//! open past it is terminated, so that the delivery's row is never held for long. SQLite has one writer:
//! nothing else is recorded meanwhile, so an effect should be short there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use sqlx::{Connection, Executor, PgConnection, PgPool, SqliteConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connect::Database;
use super::error::StoreError;
use super::fate::{Fate, Which};
use super::settle::Rows;
use super::{Settled, Settlement, Store, settle};
use crate::statement::Dialect;

mod elsewhere;
mod postgres;
mod refusal;
mod rehearsal;
mod sqlite;
mod statements;

pub use elsewhere::{Applied, Elsewhere, Foreseen};
pub(super) use postgres::EFFECT_POOL;
pub use refusal::Refusal;
pub use rehearsal::Rehearsed;
pub(super) use sqlite::NoCommit;
pub use statements::Statements;

/// Locks the delivery on PostgreSQL, if it is still leased under this epoch. It names the lease and not
/// the state, so that the planner takes the primary key and not the partial index of leases. Public for the plan tests.
pub const LOCK_POSTGRES: &str = "SELECT id FROM delivery
     WHERE id = $1 AND lease_epoch = $2 AND lease_until IS NOT NULL FOR NO KEY UPDATE";

/// The same question on SQLite, where the transaction locks everything. Public for the plan tests.
pub const LOCK_SQLITE: &str =
    "SELECT id FROM delivery WHERE id = ?1 AND lease_epoch = ?2 AND state = 'leased'";

const DELIVERED_POSTGRES: &str =
    "SELECT state = 'delivered' FROM delivery WHERE id = $1 AND lease_epoch = $2";

const DELIVERED_SQLITE: &str =
    "SELECT state = 'delivered' FROM delivery WHERE id = ?1 AND lease_epoch = ?2";

const MARK: &str = "SAVEPOINT hookonce_effect";
const RELEASE_MARK: &str = "RELEASE hookonce_effect";

/// An open transaction. Whoever gets it must neither commit it nor roll it back; a savepoint (`begin()`
/// on the connection) is fine. After a `begin()` that failed or was dropped nothing is settled and nothing
/// written: the driver undoes it at the wrong depth, and the transaction may be over. What was begun around such a one
/// must not be committed: on PostgreSQL that may commit the transaction itself ([`StoreError::Apart`]).
#[derive(Debug)]
pub struct Tx<'t>(Inner<'t>);

#[derive(Debug)]
enum Inner<'t> {
    /// And whether somebody was given the connection.
    Postgres(&'t mut PgConnection, &'t AtomicBool),
    Sqlite(&'t mut SqliteConnection),
}

/// A transaction in which somebody else works.
#[derive(Debug, Default)]
struct Watched {
    which: OnceLock<Which>,
    /// Whether he was given its connection. If not, nobody can have ended it: an operator's statements don't.
    lent: AtomicBool,
}

impl Tx<'_> {
    /// The same transaction, for someone else, as long as this one waits.
    pub fn reborrow(&mut self) -> Tx<'_> {
        Tx(match &mut self.0 {
            Inner::Postgres(connection, lent) => Inner::Postgres(connection, lent),
            Inner::Sqlite(connection) => Inner::Sqlite(connection),
        })
    }

    /// The connection, when the database is PostgreSQL.
    pub fn postgres(&mut self) -> Option<&mut PgConnection> {
        match &mut self.0 {
            Inner::Postgres(connection, lent) => {
                lent.store(true, Ordering::Relaxed);
                Some(connection)
            }
            Inner::Sqlite(_) => None,
        }
    }

    /// The connection, when the database is SQLite.
    pub fn sqlite(&mut self) -> Option<&mut SqliteConnection> {
        match &mut self.0 {
            Inner::Sqlite(connection) => Some(connection),
            Inner::Postgres(..) => None,
        }
    }
}

/// What is kept of an effect that was done: beside the settlement's own words.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// A status of the handler's own.
    pub status: Option<i32>,
    /// The first bytes of its answer.
    pub response: Option<Bytes>,
}

/// What became of an effect and its settlement, which share a transaction.
#[derive(Debug)]
#[must_use]
pub enum Effected<E> {
    /// Both are durable.
    Settled,
    /// Somebody else has the delivery; nothing was changed.
    LeaseLost,
    /// The effect said no; nothing was changed, and the delivery is still leased.
    Refused(E),
    /// It took longer than it may; nothing was changed, and the delivery is still leased.
    TimedOut,
}

/// Why a transaction of ours was rolled back.
enum Back<E> {
    LeaseLost,
    Refused(E),
    Failed(StoreError),
}

/// How a transaction ended, when the database did not fail.
enum Ended<T, B> {
    Committed(T),
    RolledBack(B),
    /// Past its limit, or nobody wants it any more: rolled back.
    Cut,
}

impl Store {
    /// Runs `work` and settles its delivery as delivered in one transaction: both are done, or neither.
    ///
    /// The delivery is locked first, under its epoch. `settlement` says how the try is kept; its status,
    /// response and duration are filled in. When `work` refuses, everything is rolled back and nothing is
    /// settled. When `work` ended the transaction itself so that what it did is durable, the error is
    /// [`StoreError::Apart`]: nothing is settled, and it must not be done again. Every other error leaves open whether the
    /// transaction was committed: the delivery's own state tells, see [`Store::was_delivered`]. Dropping the future before
    /// COMMIT was sent rolls back.
    pub async fn settle_with<E, W>(
        &self,
        settlement: Settlement,
        limit: Duration,
        work: W,
    ) -> Result<Effected<E>, StoreError>
    where
        E: Send + 'static,
        W: for<'t> FnOnce(Tx<'t>) -> BoxFuture<'t, Result<Kept, E>> + Send + 'static,
    {
        let unwanted = CancellationToken::new();
        let guard = unwanted.clone().drop_guard();
        let ended = self
            .detached_long(move |database| async move {
                match &*database {
                    Database::Postgres(postgres) => {
                        let side = postgres::Side::Ours(&postgres.effects);
                        let watched = Arc::new(Watched::default());
                        let watch = Arc::clone(&watched);
                        let ended = postgres::transaction(side, limit, &unwanted, |connection| {
                            Box::pin(in_postgres(connection, settlement, work, watch))
                        })
                        .await?;
                        if unwanted.is_cancelled() {
                            // Nobody hears of it.
                            return Ok(ended);
                        }
                        unless_apart(ended, &watched, &postgres.shared).await
                    }
                    Database::Sqlite(sqlite) => {
                        sqlite::transaction(&sqlite.writer, limit, &unwanted, |connection| {
                            Box::pin(in_sqlite(connection, settlement, work))
                        })
                        .await
                    }
                }
            })
            .await?;
        drop(guard);
        match ended {
            Ended::Committed(()) => Ok(Effected::Settled),
            Ended::RolledBack(Back::LeaseLost) => Ok(Effected::LeaseLost),
            Ended::RolledBack(Back::Refused(why)) => Ok(Effected::Refused(why)),
            Ended::RolledBack(Back::Failed(error)) => Err(error),
            Ended::Cut => Ok(Effected::TimedOut),
        }
    }

    /// Whether the delivery was settled as delivered under this epoch: what a COMMIT did whose answer
    /// was lost.
    pub async fn was_delivered(&self, delivery: Uuid, epoch: i64) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let delivered: Option<bool> = match &*database {
                Database::Postgres(postgres) => {
                    sqlx::query_scalar(DELIVERED_POSTGRES)
                        .bind(delivery)
                        .bind(epoch)
                        .fetch_optional(&postgres.shared)
                        .await?
                }
                Database::Sqlite(sqlite) => {
                    sqlx::query_scalar(DELIVERED_SQLITE)
                        .bind(delivery)
                        .bind(epoch)
                        .fetch_optional(&sqlite.readers)
                        .await?
                }
            };
            Ok(delivered.unwrap_or(false))
        })
        .await
    }

    /// How many transactions of effects can be open at once; more of them wait for a connection, and
    /// fail after five seconds of it.
    #[must_use]
    pub fn effects_at_once(&self) -> usize {
        if self.is_postgres() { EFFECT_POOL as usize } else { 1 }
    }

    /// Whose SQL our own tables understand.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        if self.is_postgres() { Dialect::Postgres } else { Dialect::Sqlite }
    }

    /// Asks our own database whether it understands the statements, without running them. The number
    /// of each that it doesn't, and why.
    pub async fn prepare(
        &self,
        statements: &Statements,
    ) -> Result<Vec<(usize, String)>, StoreError> {
        let statements = statements.clone();
        self.detached(move |database| async move {
            Ok(match &*database {
                Database::Postgres(postgres) => {
                    let mut connection = postgres.shared.acquire().await?;
                    statements.prepare_postgres(&mut connection).await
                }
                Database::Sqlite(sqlite) => {
                    let mut connection = sqlite.readers.acquire().await?;
                    statements.prepare_sqlite(&mut connection).await
                }
            })
        })
        .await
    }
}

/// The settlement with what only the end of the work tells.
fn finished(mut settlement: Settlement, kept: Kept, took: Duration) -> [Settlement; 1] {
    settlement.attempt.status = kept.status;
    settlement.attempt.response = kept.response;
    settlement.attempt.duration = took;
    [settlement]
}

fn lease_held<E>(settled: Settled) -> Result<(), Back<E>> {
    match settled {
        Settled::Done => Ok(()),
        Settled::LeaseLost => Err(Back::LeaseLost),
    }
}

fn failed<E>(error: impl Into<StoreError>) -> Back<E> {
    Back::Failed(error.into())
}

/// Whether the transaction that somebody worked in is still open, as far as the driver knows. It ends it by itself, and
/// in silence, when a `begin()` within it fails or is dropped.
fn still_open<C: Connection, E>(connection: &C) -> Result<(), Back<E>> {
    if connection.is_in_transaction() {
        return Ok(());
    }
    let why =
        "the transaction was over before its work was: a `begin()` in it failed or was given up";
    Err(Back::Failed(StoreError::Invariant(why.to_owned())))
}

/// How a transaction ended; an error when we didn't commit it and somebody else did.
async fn unless_apart<T, B>(
    ended: Ended<T, B>,
    watched: &Watched,
    pool: &PgPool,
) -> Result<Ended<T, B>, StoreError> {
    let theirs = !matches!(ended, Ended::Committed(_)) && watched.lent.load(Ordering::Relaxed);
    match watched.which.get() {
        Some(which) if theirs && which.fate(pool).await == Fate::Committed => {
            Err(StoreError::Apart)
        }
        _ => Ok(ended),
    }
}

/// `watched` gets to know the transaction before somebody else works in it.
async fn in_postgres<E, W>(
    connection: &mut PgConnection,
    settlement: Settlement,
    work: W,
    watched: Arc<Watched>,
) -> Result<(), Back<E>>
where
    W: for<'t> FnOnce(Tx<'t>) -> BoxFuture<'t, Result<Kept, E>> + Send,
{
    let began = std::time::Instant::now();
    let held = sqlx::query(LOCK_POSTGRES)
        .bind(settlement.delivery)
        .bind(settlement.epoch)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    if held.is_none() {
        return Err(Back::LeaseLost);
    }
    // Behind the lock: a row that is locked below a savepoint and changed above it costs a list of lockers.
    let marked = Which::marked(connection, MARK).await.map_err(failed)?;
    watched.which.get_or_init(|| marked);
    let kept = work(Tx(Inner::Postgres(connection, &watched.lent))).await.map_err(Back::Refused)?;
    still_open(connection)?;
    postgres::release_mark(connection).await.map_err(failed)?;
    let batch = finished(settlement, kept, began.elapsed());
    let done = settle::on_postgres(connection, &batch, Rows::All).await.map_err(Back::Failed)?;
    lease_held(if done.is_empty() { Settled::LeaseLost } else { Settled::Done })
}

async fn in_sqlite<E, W>(
    connection: &mut SqliteConnection,
    settlement: Settlement,
    work: W,
) -> Result<(), Back<E>>
where
    W: for<'t> FnOnce(Tx<'t>) -> BoxFuture<'t, Result<Kept, E>> + Send,
{
    let began = std::time::Instant::now();
    let held = sqlx::query(LOCK_SQLITE)
        .bind(settlement.delivery)
        .bind(settlement.epoch)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    if held.is_none() {
        return Err(Back::LeaseLost);
    }
    // SQLite rolls everything back by itself when a statement that writes is interrupted. Whoever passes
    // over that error must not get a settlement outside of the transaction: then the mark is gone.
    connection.execute(MARK).await.map_err(failed)?;
    let kept = work(Tx(Inner::Sqlite(connection))).await.map_err(Back::Refused)?;
    still_open(connection)?;
    connection.execute(RELEASE_MARK).await.map_err(failed)?;
    let batch = finished(settlement, kept, began.elapsed());
    let done = settle::on_sqlite(connection, &batch, Rows::All).await.map_err(Back::Failed)?;
    lease_held(if done.is_empty() { Settled::LeaseLost } else { Settled::Done })
}
