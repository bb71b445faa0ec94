//! No foreign key from a kept conflict to its event: the trigger that watches over the other tables does.
//!
//! PostgreSQL asks a foreign key for each row that is deleted: a cleanup, which deletes millions of events and
//! hardly ever one with a conflict, spent half of its time on it. `lean` says the same of the others. Whoever
//! keeps a conflict locks its event meanwhile, as the key did.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct ConflictWatch;

impl MigrationName for ConflictWatch {
    fn name(&self) -> &str {
        "m20261128_000019_conflict_watch"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for ConflictWatch {
    /// A key that is gone before its trigger is there would leave nothing to watch over a cleanup.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, include_str!("conflict_watch/up.postgres.sql")).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, include_str!("conflict_watch/down.postgres.sql")).await
    }
}

async fn run(manager: &SchemaManager<'_>, postgres: &str) -> Result<(), DbErr> {
    match manager.get_database_backend() {
        DbBackend::Postgres => {
            manager.get_connection().execute_unprepared(postgres).await.map(drop)
        }
        // Cheap there, and there are no triggers of whole statements.
        DbBackend::Sqlite => Ok(()),
        other => Err(DbErr::Migration(format!("{other:?} is not supported"))),
    }
}
