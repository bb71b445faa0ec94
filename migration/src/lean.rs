//! PostgreSQL's references are checked where rows go, no longer where they come.
//!
//! A foreign key looks its parent up for each row that is inserted, and locks it: work that a
//! statement which has just written the parent itself does for nothing, three times an event. What
//! the keys are there for is the other end: no event may go while a delivery of it is there. Triggers
//! of whole statements say that, once a batch. SQLite has no triggers of whole statements, and its
//! keys are cheap: there everything stays.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Lean;

impl MigrationName for Lean {
    fn name(&self) -> &str {
        "m20261125_000002_lean"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Lean {
    /// A key that is gone before its trigger is there would leave nothing to watch over a cleanup.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, include_str!("lean/up.postgres.sql")).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, include_str!("lean/down.postgres.sql")).await
    }
}

async fn run(manager: &SchemaManager<'_>, postgres: &str) -> Result<(), DbErr> {
    match manager.get_database_backend() {
        DbBackend::Postgres => {
            manager.get_connection().execute_unprepared(postgres).await.map(drop)
        }
        DbBackend::Sqlite => Ok(()),
        other => Err(DbErr::Migration(format!("{other:?} is not supported"))),
    }
}
