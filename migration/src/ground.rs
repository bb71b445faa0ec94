//! The first tables: event, event_body, event_conflict, delivery, attempt, rejection, upkeep_run.
//!
//! Written as SQL, one file a database: named CHECK constraints, partial indexes and column
//! compression are what these tables are about, and the schema builder can say none of them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Ground;

impl MigrationName for Ground {
    fn name(&self) -> &str {
        "m20261123_000001_ground"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Ground {
    /// In one transaction on both databases: a daemon that is killed while it creates its tables must
    /// find none of them, or all, when it starts again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("ground/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("ground/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(include_str!("ground/down.sql")).await.map(drop)
    }
}
