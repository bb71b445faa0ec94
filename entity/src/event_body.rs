//! Table `event_body`: the exact bytes; apart, so that retention drops bytes and keeps the key.

use sea_orm::entity::prelude::*;

/// A row of `event_body`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_body")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    /// `name: value` lines ended by CRLF, values byte for byte, names in lower case.
    pub headers: Vec<u8>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// From when cleanup may drop it.
    pub expires_at: DateTimeUtc,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
