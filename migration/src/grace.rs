//! How long what has expired is spared by the row-wise cleanup: not at all, until tables are kept by the day.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(Debug)]
pub(crate) struct Grace;

impl MigrationName for Grace {
    fn name(&self) -> &str {
        "m20261126_000016_grace"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Grace {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up = "CREATE FUNCTION hookonce_grace() RETURNS interval LANGUAGE sql STABLE AS $$ SELECT interval '0' $$";
        run(manager, up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP FUNCTION hookonce_grace()").await
    }
}

/// On PostgreSQL only: SQLite keeps no tables by the day.
async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    match manager.get_database_backend() {
        DbBackend::Postgres => manager.get_connection().execute_unprepared(sql).await.map(drop),
        DbBackend::Sqlite => Ok(()),
        other => Err(DbErr::Migration(format!("{other:?} is not supported"))),
    }
}
