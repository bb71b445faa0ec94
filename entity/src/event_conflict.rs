//! Table `event_conflict`: another body that came under a known id. Kept, never run.

use sea_orm::entity::prelude::*;

/// A row of `event_conflict`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_conflict")]
pub struct Model {
    /// The event whose id was used again.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    /// SHA-256 of the other body, so that its retries are one row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: Vec<u8>,
    /// Database time of its first arrival.
    pub received_at: DateTimeUtc,
    /// As in `event_body`.
    pub headers: Vec<u8>,
    /// The other body, byte for byte.
    pub body: Vec<u8>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
