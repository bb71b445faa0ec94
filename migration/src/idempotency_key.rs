//! Idempotency keys: who asked for what under which key, and the answer that it got.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct IdempotencyKey;

impl MigrationName for IdempotencyKey {
    fn name(&self) -> &str {
        "m20261126_000010_idempotency_key"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for IdempotencyKey {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("idempotency_key/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("idempotency_key/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("idempotency_key/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
