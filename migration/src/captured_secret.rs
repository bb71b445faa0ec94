//! Secrets that a provider handed to a source while the daemon ran.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct CapturedSecret;

impl MigrationName for CapturedSecret {
    fn name(&self) -> &str {
        "m20261125_000004_captured_secret"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CapturedSecret {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("captured_secret/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("captured_secret/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("captured_secret/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
