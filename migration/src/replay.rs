//! What shows that signed bytes came again under another id.
//!
//! Only sources whose ids aren't signed and that sign no time fill these columns: all other rows are in
//! no index of them. Unique, so that of two replicas that record the same bytes at once, one sees the
//! other.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Replay;

impl MigrationName for Replay {
    fn name(&self) -> &str {
        "m20261125_000003_replay"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Replay {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("replay/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("replay/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(up).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let down = include_str!("replay/down.sql");
        manager.get_connection().execute_unprepared(down).await.map(drop)
    }
}
