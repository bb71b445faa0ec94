//! Table `event`: one authentic thing, stored once.

use sea_orm::entity::prelude::*;

/// A row of `event`. It outlives its body: it is what a late retry is compared with.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// Ours, UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The configured source.
    pub source: String,
    /// The provider's id, as text.
    pub event_id: String,
    /// First 16 bytes of SHA-256 over dedupe group and id. Unique: this is what makes "once" true.
    pub dedupe_key: Uuid,
    /// The provider's type.
    pub r#type: String,
    /// SHA-256 over the body, without the fields that `conflict_ignore` names.
    pub digest: Vec<u8>,
    /// Bytes of the body.
    pub size: i64,
    /// Database time of recording.
    pub received_at: DateTimeUtc,
    /// Until when the id is remembered at least.
    pub expires_at: DateTimeUtc,
    /// Copies that came after the first.
    pub duplicates: i64,
    /// True once the same id came with another body.
    pub conflict: bool,
    /// Why no handler was called, when none was for a reason of safety.
    pub held: Option<String>,
    /// SHA-256 over the whole body, where a replay of it under another id must be seen. Unique in a
    /// source: what comes later with the same bytes has none.
    pub signed_digest: Option<Vec<u8>>,
    /// The event that had the same signed bytes before, under another id. It may be gone by now.
    pub replay_of: Option<Uuid>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
