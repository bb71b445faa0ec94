//! Table `upkeep_run`: each run of a scheduled chore, its lease, and what it did.

use sea_orm::entity::prelude::*;

/// A row of `upkeep_run`. A partial unique index allows one unfinished run a chore.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upkeep_run")]
pub struct Model {
    /// Ours, UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Which chore, such as `cleanup`.
    pub chore: String,
    /// Who runs it.
    pub worker: String,
    /// Database time of the claim.
    pub started_at: DateTimeUtc,
    /// Until when the claim holds; renewed while the chore works.
    pub lease_until: DateTimeUtc,
    /// Set when it ended, well or not.
    pub finished_at: Option<DateTimeUtc>,
    /// `running`, `done`, `partial` (more is left), `failed` or `lost` (its worker went away).
    pub outcome: String,
    /// Events deleted.
    pub events: i64,
    /// Bodies deleted.
    pub bodies: i64,
    /// Rejections deleted.
    pub rejections: i64,
    /// Why it failed.
    pub error: Option<String>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
