//! Table `delivery`: one event for one handler.

use sea_orm::entity::prelude::*;

use crate::state::State;

/// A row of `delivery`. Unique by (event, handler, round). Kept narrow: it is claimed and settled often.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery")]
pub struct Model {
    /// Ours, UUIDv7; the receiver's `webhook-id` and `Idempotency-Key`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The event.
    pub event_id: Uuid,
    /// The handler's name.
    pub handler: String,
    /// 0, and one more for each `--again`.
    pub round: i32,
    /// Where it stands.
    pub state: State,
    /// Tries begun, over all openings.
    pub attempts: i32,
    /// What `attempts` was when it was last opened: the retry policy counts from here.
    pub attempts_before: i32,
    /// When it was recorded or last reopened: `retry.for` counts from here.
    pub opened_at: DateTimeUtc,
    /// Not tried before this.
    pub due_at: DateTimeUtc,
    /// Increments with each claim; only its holder may settle.
    pub lease_epoch: i64,
    /// When it was last claimed.
    pub leased_at: Option<DateTimeUtc>,
    /// Set exactly while leased.
    pub lease_until: Option<DateTimeUtc>,
    /// The worker that holds the lease.
    pub leased_by: Option<String>,
    /// Set exactly in a final state.
    pub settled_at: Option<DateTimeUtc>,
    /// Why it is not delivered (yet).
    pub cause: Option<String>,
    /// The lane of its handler, when it is in one: what stands in one lane is handled one by one.
    pub lane: Option<String>,
    /// Its place in the lane: the smallest that waits is next.
    pub lane_order: Option<i64>,
    /// Whether its lane goes on when it is dead.
    pub lane_skip: bool,
    /// Whether it is its lane's turn, which it keeps until it is final. One a lane.
    pub lane_head: bool,
    /// Whether it waits for the one before it in its lane: then nobody claims it.
    pub lane_waits: bool,
    /// How new its event says that it is, in a form whose order as text is that of what it says.
    pub version: Option<String>,
    /// The source of its event; nothing for what a replay made.
    pub source: Option<String>,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
