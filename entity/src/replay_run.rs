//! Table `replay_run`: each replay of many deliveries, what was asked for, and how far it is.

use sea_orm::entity::prelude::*;

/// A row of `replay_run`. Its cursor and counts move in the transaction that opens the deliveries.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "replay_run")]
pub struct Model {
    /// Ours, UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What was asked for, as JSON. Unique while it runs.
    pub request: String,
    /// Who carries it on: `daemon` (any replica) or `command` (the command line that began it).
    pub driver: String,
    /// `running`, `done`, or `cancelled`: stopped before its end, and may be carried on.
    pub state: String,
    /// Database time of its beginning. Events recorded later are not touched.
    pub made_at: DateTimeUtc,
    /// Set exactly when it doesn't run.
    pub finished_at: Option<DateTimeUtc>,
    /// Only events recorded at or after.
    pub since: Option<DateTimeUtc>,
    /// Only events recorded before.
    pub until: Option<DateTimeUtc>,
    /// Deliveries opened in a second at most; no limit when `None`.
    pub per_second: Option<f64>,
    /// The last event that is looked at.
    pub upper_id: Uuid,
    /// Where it stands: the handler, when it walks over dead deliveries; else empty.
    pub cursor_handler: String,
    /// Where it stands: the delivery, when it walks over dead deliveries; else the event.
    pub cursor_id: Uuid,
    /// Rows to look at, counted at the beginning; `None` when there are very many.
    pub total: Option<i64>,
    /// Rows looked at.
    pub looked_at: i64,
    /// What was done, by handler, as JSON.
    pub counts: String,
    /// Who drives it now.
    pub worker: Option<String>,
    /// Until when nobody else drives it.
    pub lease_until: Option<DateTimeUtc>,
    /// Why it was stopped, when it was by a fault.
    pub error: Option<String>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
