//! Pauses of handlers: by hand, by a breaker, or by an answer; the open ones and those that were.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct HandlerPause;

impl MigrationName for HandlerPause {
    fn name(&self) -> &str {
        "m20261126_000012_handler_pause"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for HandlerPause {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("handler_pause/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("handler_pause/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("handler_pause/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
