//! A try may end as `skipped`: the handler's condition was false.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Skipped;

impl MigrationName for Skipped {
    fn name(&self) -> &str {
        "m20261126_000008_skipped"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Skipped {
    /// SQLite copies the table: half of it would be lost tries.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = include_str!("skipped/up.postgres.sql");
        run(manager, postgres, include_str!("skipped/up.sqlite.sql")).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = include_str!("skipped/down.postgres.sql");
        run(manager, postgres, include_str!("skipped/down.sqlite.sql")).await
    }
}

async fn run(manager: &SchemaManager<'_>, postgres: &str, sqlite: &str) -> Result<(), DbErr> {
    let sql = match manager.get_database_backend() {
        DbBackend::Postgres => postgres,
        DbBackend::Sqlite => sqlite,
        other => return Err(DbErr::Migration(format!("{other:?} is not supported"))),
    };
    manager.get_connection().execute_unprepared(sql).await.map(drop)
}
