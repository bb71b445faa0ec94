//! The names of dedupe groups, by which an id is found without an index over all ids.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct DedupeGroup;

impl MigrationName for DedupeGroup {
    fn name(&self) -> &str {
        "m20261127_000018_dedupe_group"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for DedupeGroup {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("dedupe_group/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("dedupe_group/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(up).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let down = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("dedupe_group/down.postgres.sql"),
            DbBackend::Sqlite => include_str!("dedupe_group/down.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(down).await.map(drop)
    }
}
