//! A try's response may be the answer to the sender: then it is whole, and its type is kept.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Answer;

impl MigrationName for Answer {
    fn name(&self) -> &str {
        "m20261126_000013_answer"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Answer {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("answer/up.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = include_str!("answer/down.sql");
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
