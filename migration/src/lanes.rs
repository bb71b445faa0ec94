//! Lanes: deliveries of one handler that are made one after the other.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Lanes;

impl MigrationName for Lanes {
    fn name(&self) -> &str {
        "m20261126_000006_lanes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Lanes {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("lanes/up.postgres.sql"),
            DbBackend::Sqlite => include_str!("lanes/up.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(up).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let down = match manager.get_database_backend() {
            DbBackend::Postgres => include_str!("lanes/down.postgres.sql"),
            DbBackend::Sqlite => include_str!("lanes/down.sqlite.sql"),
            other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
        };
        manager.get_connection().execute_unprepared(down).await.map(drop)
    }
}
