//! What lets replicas trust a cache of answers that nobody else can write, and that no changed answer outlives.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct IdempotencyCache;

impl MigrationName for IdempotencyCache {
    fn name(&self) -> &str {
        "m20261126_000014_idempotency_cache"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for IdempotencyCache {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("idempotency_cache/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("idempotency_cache/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("idempotency_cache/down.postgres.sql"),
            DbBackend::Sqlite => include_str!("idempotency_cache/down.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
