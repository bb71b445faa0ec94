//! Table `rejection`: a bounded ring of refused requests, for diagnosis.

use sea_orm::entity::prelude::*;

/// A row of `rejection`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rejection")]
pub struct Model {
    /// Ours, UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The source whose door it came to.
    pub source: String,
    /// The stable code, such as `signature_mismatch`.
    pub code: String,
    /// The reason in a sentence.
    pub detail: String,
    /// Database time of recording.
    pub received_at: DateTimeUtc,
    /// The wall clock when the request came: its freshness is judged as of this on readmission.
    pub arrived_at: DateTimeUtc,
    /// The sender's address, when known.
    pub peer: Option<String>,
    /// The request's method.
    pub method: String,
    /// Path and query, as sent.
    pub target: Vec<u8>,
    /// As in `event_body`.
    pub headers: Vec<u8>,
    /// The refused body, byte for byte.
    pub body: Vec<u8>,
    /// Bytes that this row counts against the ring's limit.
    pub size: i64,
    /// The event that it became when it was readmitted.
    pub readmitted_as: Option<Uuid>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
