//! The version of an event in its lane, and the highest that was delivered.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Version;

impl MigrationName for Version {
    fn name(&self) -> &str {
        "m20261126_000015_version"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Version {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("version/up.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("version/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
