//! Replays of many deliveries: what was asked, and how far each is.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct ReplayRun;

impl MigrationName for ReplayRun {
    fn name(&self) -> &str {
        "m20261126_000011_replay_run"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for ReplayRun {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("replay_run/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("replay_run/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("replay_run/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
