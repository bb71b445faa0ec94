//! Table `idempotency_key`: what was asked for under a client's key, who runs it, and the answer.

use sea_orm::entity::prelude::*;

/// A row of `idempotency_key`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_key")]
pub struct Model {
    /// Whose key it is: the gateway's name and a hash of the principal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    /// The client's key, normalised.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of what was asked for.
    pub request_hash: Vec<u8>,
    /// `processing`, `completed`, `failed` (released: may run again) or `uncertain`.
    pub status: String,
    /// Until when the claim holds; set exactly while processing.
    pub lease_until: Option<DateTimeUtc>,
    /// Guards everything that is done under a claim; grows with each.
    pub lease_epoch: i64,
    /// How many runs began.
    pub attempts: i32,
    /// The phase that a handler reached, to go on from after a crash.
    pub recovery_point: Option<String>,
    /// Set exactly when completed.
    pub response_status: Option<i32>,
    /// The headers that a replay carries, `name: value` lines.
    pub response_headers: Option<Vec<u8>>,
    /// `None` with a status: the answer was too large to keep.
    pub response_body: Option<Vec<u8>>,
    /// Why it was released or is uncertain, or what of the answer was not kept.
    pub failure: Option<String>,
    /// Database time of the first claim.
    pub created_at: DateTimeUtc,
    /// Set exactly when completed.
    pub completed_at: Option<DateTimeUtc>,
    /// From then on the key means nothing, unless a lease is live.
    pub expires_at: DateTimeUtc,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
