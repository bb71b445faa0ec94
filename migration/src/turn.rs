//! Whose turn it is: a handler's pending deliveries by the source of their events.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Turn;

impl MigrationName for Turn {
    fn name(&self) -> &str {
        "m20261126_000017_turn"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Turn {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("turn/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("turn/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(up).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("turn/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
