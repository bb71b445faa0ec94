//! The statement that lets one of many run.

use sqlx::postgres::Postgres as Pg;
use sqlx::{Executor, Sqlite as Lite};

use super::read::leased;
use super::{KeyClaim, KeyLease};
use crate::store::error::StoreError;
use crate::store::row::seconds;

const CLAIM_POSTGRES: &str = include_str!("../sql/key_claim.postgres.sql");
const CLAIM_SQLITE: &str = include_str!("../sql/key_claim.sqlite.sql");

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
