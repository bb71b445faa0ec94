//! Idempotency keys: claimed by one of many, answered for all.
//!
//! Every step is one autocommit statement that names the epoch that it means, and every comparison with
//! the time is the database's. An epoch belongs to one claim only, also over the key's expiry: a runner
//! that comes back late can't touch a key that was deleted and claimed anew.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::postgres::{PgPool, Postgres as Pg};
use sqlx::sqlite::SqlitePool;
use sqlx::{Executor, Sqlite as Lite};

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use super::row::seconds;

mod browse;
mod cache;
mod claim;
mod model;
mod read;
pub(super) mod sweep;
mod together;
mod transaction;

pub use browse::{KeyFilter, KeyItem, key_version};
pub use cache::{CACHE_VIEW_HOLDS, KeyCacheView};
pub use model::{
    KeyAnswer, KeyBid, KeyClaim, KeyFound, KeyId, KeyLease, KeyRow, KeySettled, KeyState,
    KeyVerdict,
};
pub use sweep::SWEEP_KEYS_SQLITE;
pub use together::KEY_BATCH_MAX;
pub use transaction::KeyTransaction;

use claim::{claim_or_find, find};
use read::leased;

const SETTLE_POSTGRES: &str = include_str!("sql/key_settle.postgres.sql");
const SETTLE_SQLITE: &str = include_str!("sql/key_settle.sqlite.sql");

const RENEW_POSTGRES: &str = "UPDATE idempotency_key
       SET lease_until = clock_timestamp() + make_interval(secs => $4)
     WHERE scope = $1 AND key = $2 AND lease_epoch = $3 AND status = 'processing'";
const RENEW_SQLITE: &str = "UPDATE idempotency_key
       SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?4 || ' seconds')
     WHERE scope = ?1 AND key = ?2 AND lease_epoch = ?3 AND status = 'processing'";

const POINT_POSTGRES: &str = "UPDATE idempotency_key SET recovery_point = $4
     WHERE scope = $1 AND key = $2 AND lease_epoch = $3 AND status = 'processing'";
const POINT_SQLITE: &str = "UPDATE idempotency_key SET recovery_point = ?4
     WHERE scope = ?1 AND key = ?2 AND lease_epoch = ?3 AND status = 'processing'";

const TAKE_POSTGRES: &str = "UPDATE idempotency_key
       SET status = 'processing', lease_until = clock_timestamp() + make_interval(secs => $5),
           lease_epoch = GREATEST(lease_epoch + 1, $6), attempts = attempts + 1, failure = NULL
     WHERE scope = $1 AND key = $2 AND lease_epoch = $3 AND request_hash = $4
       AND ((status = 'processing' AND lease_until <= clock_timestamp()) OR status = 'uncertain')
    RETURNING lease_epoch, attempts, recovery_point, floor(extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms";
const TAKE_SQLITE: &str = "UPDATE idempotency_key
       SET status = 'processing', lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?5 || ' seconds'),
           lease_epoch = MAX(lease_epoch + 1, ?6), attempts = attempts + 1, failure = NULL
     WHERE scope = ?1 AND key = ?2 AND lease_epoch = ?3 AND request_hash = ?4
       AND ((status = 'processing' AND lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now')) OR status = 'uncertain')
    RETURNING lease_epoch, attempts, recovery_point, CAST(round((julianday(expires_at) - 2440587.5) * 86400000) AS INTEGER) AS expires_at_ms";

const DOUBT_POSTGRES: &str = "UPDATE idempotency_key
       SET status = 'uncertain', lease_until = NULL, failure = $4
     WHERE scope = $1 AND key = $2 AND lease_epoch = $3
       AND status = 'processing' AND lease_until <= clock_timestamp()";
const DOUBT_SQLITE: &str = "UPDATE idempotency_key
       SET status = 'uncertain', lease_until = NULL, failure = ?4
     WHERE scope = ?1 AND key = ?2 AND lease_epoch = ?3
       AND status = 'processing' AND lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now')";

impl Store {
    /// Claims a key, or finds who was first. Exactly one of any number of concurrent claims gets it.
    ///
    /// A claim whose connection was lost is looked up again: whether it was committed is known by its
    /// epoch. Only when that fails too is it the first error, and then the key may be claimed by nobody until
    /// it is withdrawn ([`Store::withdraw_key`]).
    pub async fn claim_key(&self, claim: KeyClaim) -> Result<KeyFound, StoreError> {
        self.bid_for_key(KeyBid::new(claim), false).await
    }

    /// [`Store::claim_key`] under an epoch that is known before. `sent` says that the same bid was sent to the
    /// database already and may have been committed: only then a run under its epoch is its own.
    pub async fn bid_for_key(&self, bid: KeyBid, sent: bool) -> Result<KeyFound, StoreError> {
        self.detached(move |database| async move {
            match claim_or_find(&database, &bid, sent).await {
                Err(error) if error.is_fate_unknown() => {
                    tracing::warn!(error = %error, "a claim's connection was lost; looking it up");
                    claim_or_find(&database, &bid, true).await.map_err(|_| error)
                }
                found => found,
            }
        })
        .await
    }

    /// The key, when it means something now.
    pub async fn find_key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        self.detached(move |database| async move { find(&database, &id).await }).await
    }

    /// Renews a lease; false when somebody else has the key by now.
    pub async fn renew_key(&self, lease: KeyLease, length: Duration) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let KeyLease { id: KeyId { scope, key }, epoch, .. } = lease;
            let rows = match &*database {
                Database::Postgres(postgres) => sqlx::query(RENEW_POSTGRES)
                    .bind(scope)
                    .bind(key)
                    .bind(epoch)
                    .bind(seconds(length))
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(RENEW_SQLITE)
                    .bind(scope)
                    .bind(key)
                    .bind(epoch)
                    .bind(seconds(length))
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            Ok(rows == 1)
        })
        .await
    }

    /// Notes the phase that a run reached; false when somebody else has the key by now.
    pub async fn reach_key_point(
        &self,
        lease: KeyLease,
        point: String,
    ) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let KeyLease { id, epoch, .. } = lease;
            let rows = match &*database {
                Database::Postgres(postgres) => {
                    texted_pg(&postgres.shared, POINT_POSTGRES, &id, epoch, &point).await?
                }
                Database::Sqlite(sqlite) => {
                    texted_lite(&sqlite.writer, POINT_SQLITE, &id, epoch, &point).await?
                }
            };
            Ok(rows == 1)
        })
        .await
    }

    /// Ends a run. An answer that comes after its key was held for uncertain is still the answer, as
    /// long as nobody else was let in.
    pub async fn settle_key(
        &self,
        lease: KeyLease,
        verdict: KeyVerdict,
    ) -> Result<KeySettled, StoreError> {
        self.detached(move |database| async move {
            let rows = match &*database {
                Database::Postgres(postgres) => {
                    settle_pg(&postgres.shared, &lease.id, lease.epoch, &verdict).await?
                }
                Database::Sqlite(sqlite) => {
                    settle_lite(&sqlite.writer, &lease.id, lease.epoch, &verdict).await?
                }
            };
            Ok(settled(rows))
        })
        .await
    }

    /// Gives back what a bid came to of which nobody heard and under which nothing ran. [`KeySettled::LeaseLost`]
    /// when nothing is known of it: it was never committed, or it is still on its way.
    pub async fn withdraw_key(&self, id: KeyId, epoch: i64) -> Result<KeySettled, StoreError> {
        let lease = KeyLease {
            id,
            request_hash: [0; 32],
            epoch,
            expires_at: 0,
            attempts: 0,
            recovery_point: None,
        };
        let why = "its claim got no answer, and nothing was run".to_owned();
        self.settle_key(lease, KeyVerdict::Released(why)).await
    }

    /// Holds a key for uncertain whose lease lapsed under this epoch; false when it changed meanwhile.
    pub async fn doubt_key(&self, id: KeyId, epoch: i64, why: String) -> Result<bool, StoreError> {
        self.detached(move |database| async move {
            let rows = match &*database {
                Database::Postgres(postgres) => {
                    texted_pg(&postgres.shared, DOUBT_POSTGRES, &id, epoch, &why).await?
                }
                Database::Sqlite(sqlite) => {
                    texted_lite(&sqlite.writer, DOUBT_SQLITE, &id, epoch, &why).await?
                }
            };
            Ok(rows == 1)
        })
        .await
    }

    /// Takes over a key whose lease lapsed, or which is uncertain, under this epoch. `None` when
    /// somebody else was first.
    pub async fn take_key_over(
        &self,
        claim: KeyClaim,
        epoch: i64,
    ) -> Result<Option<KeyLease>, StoreError> {
        self.detached(move |database| async move {
            let KeyClaim { id, request_hash, lease, .. } = &claim;
            let ours = new_epoch();
            match &*database {
                Database::Postgres(postgres) => {
                    let row = sqlx::query(TAKE_POSTGRES)
                        .bind(&id.scope)
                        .bind(&id.key)
                        .bind(epoch)
                        .bind(&request_hash[..])
                        .bind(seconds(*lease))
                        .bind(ours)
                        .fetch_optional(&postgres.shared)
                        .await?;
                    row.map(|row| leased(&row, &claim)).transpose()
                }
                Database::Sqlite(sqlite) => {
                    let row = sqlx::query(TAKE_SQLITE)
                        .bind(&id.scope)
                        .bind(&id.key)
                        .bind(epoch)
                        .bind(&request_hash[..])
                        .bind(seconds(*lease))
                        .bind(ours)
                        .fetch_optional(&sqlite.writer)
                        .await?;
                    row.map(|row| leased(&row, &claim)).transpose()
                }
            }
        })
        .await
    }
}

/// An epoch that no other claim has: microseconds with ten bits of chance below. Only its being other
/// and larger matters, never its time; the statements raise it above the row's when our clock is behind.
pub(super) fn new_epoch() -> i64 {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let micros = i64::try_from(micros).unwrap_or(0) & ((1 << 52) - 1);
    (micros << 10) | i64::from(rand::random::<u16>() & 0x3ff)
}

/// Runs a statement whose fourth parameter is a text.
async fn texted_pg(
    pool: &PgPool,
    sql: &'static str,
    id: &KeyId,
    epoch: i64,
    text: &str,
) -> Result<u64, StoreError> {
    let query = sqlx::query(sql).bind(&id.scope).bind(&id.key).bind(epoch).bind(text);
    Ok(query.execute(pool).await?.rows_affected())
}

async fn texted_lite(
    pool: &SqlitePool,
    sql: &'static str,
    id: &KeyId,
    epoch: i64,
    text: &str,
) -> Result<u64, StoreError> {
    let query = sqlx::query(sql).bind(&id.scope).bind(&id.key).bind(epoch).bind(text);
    Ok(query.execute(pool).await?.rows_affected())
}

/// The columns of a verdict.
struct Columns<'a> {
    status: &'static str,
    answer: Option<&'a KeyAnswer>,
    failure: Option<&'a str>,
}

impl<'a> From<&'a KeyVerdict> for Columns<'a> {
    fn from(verdict: &'a KeyVerdict) -> Self {
        let (status, answer, failure) = match verdict {
            KeyVerdict::Completed(answer) => ("completed", Some(answer), answer.note.as_deref()),
            KeyVerdict::Released(why) => ("failed", None, Some(why.as_str())),
            KeyVerdict::Uncertain(why) => ("uncertain", None, Some(why.as_str())),
        };
        Self { status, answer, failure }
    }
}

/// Settles on PostgreSQL, on the pool or within an embedder's transaction.
pub(super) async fn settle_pg(
    executor: impl Executor<'_, Database = Pg>,
    id: &KeyId,
    epoch: i64,
    verdict: &KeyVerdict,
) -> Result<u64, StoreError> {
    let columns = Columns::from(verdict);
    let query = sqlx::query(SETTLE_POSTGRES)
        .bind(&id.scope)
        .bind(&id.key)
        .bind(epoch)
        .bind(columns.status)
        .bind(columns.answer.map(|answer| i32::from(answer.status)))
        .bind(columns.answer.map(|answer| answer.headers.as_bytes()))
        .bind(columns.answer.and_then(|answer| answer.body.as_deref()))
        .bind(columns.failure);
    Ok(query.execute(executor).await?.rows_affected())
}

/// Settles on SQLite, on the writer or within an embedder's transaction.
pub(super) async fn settle_lite(
    executor: impl Executor<'_, Database = Lite>,
    id: &KeyId,
    epoch: i64,
    verdict: &KeyVerdict,
) -> Result<u64, StoreError> {
    let columns = Columns::from(verdict);
    let query = sqlx::query(SETTLE_SQLITE)
        .bind(&id.scope)
        .bind(&id.key)
        .bind(epoch)
        .bind(columns.status)
        .bind(columns.answer.map(|answer| i32::from(answer.status)))
        .bind(columns.answer.map(|answer| answer.headers.as_bytes()))
        .bind(columns.answer.and_then(|answer| answer.body.as_deref()))
        .bind(columns.failure);
    Ok(query.execute(executor).await?.rows_affected())
}

fn settled(rows: u64) -> KeySettled {
    if rows == 1 { KeySettled::Done } else { KeySettled::LeaseLost }
}
