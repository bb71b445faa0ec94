//! Table `attempt`: one try, its result and time.

use sea_orm::entity::prelude::*;

use crate::state::TryOutcome;

/// A row of `attempt`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempt")]
pub struct Model {
    /// The delivery.
    #[sea_orm(primary_key, auto_increment = false)]
    pub delivery_id: Uuid,
    /// 1 is the first try.
    #[sea_orm(primary_key, auto_increment = false)]
    pub n: i32,
    /// The lease epoch under which it ran.
    pub epoch: i64,
    /// When it began, in database time.
    pub started_at: DateTimeUtc,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// How it ended.
    pub outcome: TryOutcome,
    /// The handler's status: HTTP status or exit code.
    pub status: Option<i32>,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// The first bytes of the handler's answer, or all of it where `content_type` is set.
    pub response: Option<Vec<u8>>,
    /// The type of an answer that is passed on to the sender; empty when it has none.
    pub content_type: Option<String>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
