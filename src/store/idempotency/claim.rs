//! The statement that lets one of many run, and the one that finds who it was.

use sqlx::postgres::Postgres as Pg;
use sqlx::{Executor, Sqlite as Lite};

use super::read::{found, leased};
use super::{KeyBid, KeyClaim, KeyFound, KeyId, KeyLease, KeyRow, KeyState};
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::row::seconds;

const CLAIM_POSTGRES: &str = include_str!("../sql/key_claim.postgres.sql");
const CLAIM_SQLITE: &str = include_str!("../sql/key_claim.sqlite.sql");
const FIND_POSTGRES: &str = include_str!("../sql/key_find.postgres.sql");
const FIND_SQLITE: &str = include_str!("../sql/key_find.sqlite.sql");

/// How often a claim looks again when the row changed between its two statements.
const ROUNDS: u32 = 4;

/// Looks first, which keeps retries from writing: a refused upsert locks its row all the same.
pub(super) async fn claim_or_find(
    database: &Database,
    bid: &KeyBid,
    sent: bool,
) -> Result<KeyFound, StoreError> {
    let KeyBid { claim, epoch } = bid;
    for _ in 0..ROUNDS {
        if let Some(row) = find(database, &claim.id).await?
            && let Some(found) = decided(row, bid, sent)
        {
            return Ok(found);
        }
        let lease = match database {
            Database::Postgres(postgres) => claim_pg(&postgres.shared, claim, *epoch).await?,
            Database::Sqlite(sqlite) => claim_lite(&sqlite.writer, claim, *epoch).await?,
        };
        if let Some(lease) = lease {
            return Ok(KeyFound::Claimed(lease));
        }
    }
    Err(StoreError::Transient(sqlx::Error::Protocol(
        "the key changed faster than it could be claimed".to_owned(),
    )))
}

/// What a row says to a bid; `None` when the bid may have the key all the same. Under the bid's own epoch it may
/// be what the bid came to before, if it was `sent` before; else somebody else has an epoch alike.
pub(super) fn decided(row: KeyRow, bid: &KeyBid, sent: bool) -> Option<KeyFound> {
    let KeyBid { claim, epoch } = bid;
    if sent && row.epoch == *epoch && matches!(row.state, KeyState::Running { .. }) {
        return Some(KeyFound::Claimed(KeyLease {
            id: claim.id.clone(),
            request_hash: claim.request_hash,
            epoch: *epoch,
            expires_at: row.expires_at,
            attempts: row.attempts,
            recovery_point: row.recovery_point,
        }));
    }
    (!row.is_free_for(claim)).then(|| KeyFound::Row(Box::new(row)))
}

/// The key, when it means something now.
pub(super) async fn find(database: &Database, id: &KeyId) -> Result<Option<KeyRow>, StoreError> {
    match database {
        Database::Postgres(postgres) => {
            let row = sqlx::query(FIND_POSTGRES).bind(&id.scope).bind(&id.key);
            row.fetch_optional(&postgres.shared).await?.map(|row| found(&row)).transpose()
        }
        Database::Sqlite(sqlite) => find_lite(&sqlite.readers, id).await,
    }
}

/// The same on SQLite, on the readers or within a transaction.
pub(super) async fn find_lite(
    executor: impl Executor<'_, Database = Lite>,
    id: &KeyId,
) -> Result<Option<KeyRow>, StoreError> {
    let row = sqlx::query(FIND_SQLITE).bind(&id.scope).bind(&id.key);
    row.fetch_optional(executor).await?.map(|row| found(&row)).transpose()
}

/// Claims on PostgreSQL, on the pool or within a transaction.
pub(super) async fn claim_pg(
    executor: impl Executor<'_, Database = Pg>,
    claim: &KeyClaim,
    ours: i64,
) -> Result<Option<KeyLease>, StoreError> {
    let row = sqlx::query(CLAIM_POSTGRES)
        .bind(&claim.id.scope)
        .bind(&claim.id.key)
        .bind(&claim.request_hash[..])
        .bind(seconds(claim.lease))
        .bind(seconds(claim.ttl))
        .bind(ours)
        .fetch_optional(executor)
        .await?;
    row.map(|row| leased(&row, claim)).transpose()
}

/// Claims on SQLite, on the writer or within a transaction.
pub(super) async fn claim_lite(
    executor: impl Executor<'_, Database = Lite>,
    claim: &KeyClaim,
    ours: i64,
) -> Result<Option<KeyLease>, StoreError> {
    let row = sqlx::query(CLAIM_SQLITE)
        .bind(&claim.id.scope)
        .bind(&claim.id.key)
        .bind(&claim.request_hash[..])
        .bind(seconds(claim.lease))
        .bind(seconds(claim.ttl))
        .bind(ours)
        .fetch_optional(executor)
        .await?;
    row.map(|row| leased(&row, claim)).transpose()
}
