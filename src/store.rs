//! Our tables: the only room that knows SQL on them.
//!
//! A concrete struct, no trait: tests run it on a real PostgreSQL and on a real SQLite. Whatever is
//! compared with the clock is compared with the database's clock, so that replicas with skewed
//! clocks agree.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use entity::{Name, State, TryOutcome};
use uuid::Uuid;

use crate::event::Event;
use crate::verify::Verified;

pub mod browse;
pub mod error;

pub use browse::{
    DeliveryDetail, DeliveryFilter, DeliveryRow, EventDetail, EventFilter, EventRow, Page,
    RejectionFilter,
};
pub use error::{OpenError, StoreError};

/// Where the tables are, and how long the database may take.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `postgres://…` or `sqlite://…`.
    pub url: String,
    /// What to do with migrations when opening.
    pub migrate: Migrate,
    /// Connections that workers, upkeep and admin share (PostgreSQL), or readers (SQLite).
    pub connections: u32,
    /// How long one statement may run on the server.
    pub statement_timeout: Duration,
}

/// What to do with migrations when opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Apply what is missing, guarded against two replicas.
    Auto,
    /// Refuse to open when something is missing.
    Check,
    /// Don't look.
    Off,
}

/// How long each kind of row lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// From recording to `expires_at`.
    pub keys: Duration,
    /// From recording until the body may go.
    pub bodies: Duration,
    /// How long an event with a dead delivery stays.
    pub dead: Duration,
    /// How long a rejection stays.
    pub rejections: Duration,
}

/// A verified event on its way into the tables.
#[derive(Debug)]
pub struct NewEvent {
    /// Ours, UUIDv7, made before the statement: after a lost connection it tells whether it was us.
    pub id: Uuid,
    /// What to record.
    pub verified: Verified,
    /// The handlers that get a delivery.
    pub handlers: Vec<Name>,
    /// From recording to `expires_at`.
    pub keys: Duration,
    /// From recording until the body may go.
    pub bodies: Duration,
}

/// Durable. Made only after COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// This request made the row.
    Fresh {
        /// Our id.
        event: Uuid,
    },
    /// The row was there.
    Duplicate {
        /// The first copy's id.
        event: Uuid,
        /// This copy's body differs from the first one's.
        conflict: bool,
    },
}

/// Leased to this worker under `epoch`, until the lease lapses.
#[derive(Debug)]
#[must_use]
pub struct Claimed {
    /// The delivery.
    pub delivery: Uuid,
    /// The handler.
    pub handler: Name,
    /// Guards everything that is done under this claim.
    pub epoch: i64,
    /// Which try this is, over all openings; 1 is the first.
    pub attempt: u32,
    /// Which try this is since the delivery was last opened.
    pub tried: u32,
    /// How long ago the delivery was opened.
    pub open_for: Duration,
    /// What to handle; `None` when its body is gone, which is a fault of ours.
    pub event: Option<Event>,
}

/// What becomes of a leased delivery.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The delivery.
    pub delivery: Uuid,
    /// The claim's epoch.
    pub epoch: i64,
    /// What it becomes.
    pub verdict: Verdict,
    /// The try to keep.
    pub attempt: AttemptRecord,
}

/// What a leased delivery becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// Due again after this; the try counts.
    Pending {
        /// From now, in database time.
        after: Duration,
        /// Why.
        cause: String,
    },
    /// Due again after this; the try does not count.
    Released {
        /// From now, in database time.
        after: Duration,
        /// Why.
        cause: String,
    },
    /// Given up.
    Dead {
        /// Why.
        cause: String,
    },
}

/// One try, as it is kept.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// Which try, over all openings.
    pub n: u32,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: TryOutcome,
    /// HTTP status or exit code.
    pub status: Option<i32>,
    /// What went wrong.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub response: Option<Bytes>,
}

/// Durable next state of a delivery. Made only after COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The verdict stands.
    Done,
    /// Somebody else has it; nothing was changed.
    LeaseLost,
}

/// A refused request on its way into the ring.
#[derive(Debug, Clone)]
pub struct NewRejection {
    /// The source whose door it came to.
    pub source: Name,
    /// The stable code.
    pub code: &'static str,
    /// The reason.
    pub detail: String,
    /// The request.
    pub received: crate::received::Received,
}

/// What reopening did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reopened {
    /// The dead delivery is pending again under its id.
    Reopened(Uuid),
    /// A new delivery was made.
    New(Uuid),
    /// Nothing to do: it is in this state.
    Skipped(Uuid, State),
}

/// What a cleanup did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Swept {
    /// Events deleted, with their bodies, deliveries and attempts.
    pub events: u64,
    /// Bodies deleted, whose events stay.
    pub bodies: u64,
    /// Rejections deleted.
    pub rejections: u64,
}

/// A moment of the database's clock.
pub type DatabaseTime = DateTime<Utc>;
