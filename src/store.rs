//! Our tables: the only room that knows SQL on them.
//!
//! A concrete struct, no trait: tests run it on a real PostgreSQL and on a real SQLite. Whatever is
//! compared with the clock is compared with the database's clock, so that replicas with skewed
//! clocks agree.

use std::sync::Arc;
use std::time::Duration;

use entity::{Name, State};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::event::Event;
use crate::verify::Verified;

pub mod answer;
pub mod browse;
pub mod captured;
mod checkpoint;
pub mod claim;
pub mod cleanup;
mod clock;
mod connect;
pub mod effect;
pub mod error;
mod fate;
pub mod gauge;
mod group;
mod hot;
pub mod idempotency;
mod lock;
pub mod migrate;
pub mod partition;
pub mod pause;
pub mod pg_cron;
mod pool;
pub mod record;
pub mod recorded;
pub mod rejection;
pub mod replay;
pub mod replay_run;
pub mod rescue;
mod row;
mod safety;
pub mod settle;
pub mod stats;
pub mod upkeep_run;
pub mod version;

pub use browse::{
    DeliveryDetail, DeliveryFilter, DeliveryRow, EventDetail, EventFilter, EventRow, Page,
    RejectionFilter,
};
pub use clock::Probe;
pub use error::{OpenError, StoreError};
/// The driver of [`effect::Tx`], in the version that it has here.
pub use sqlx;

pub use connect::{CLEANUP_PLANNING, HOT_PLANNING};
pub use migrate::Migrate;
pub use recorded::Recorded;
pub use settle::AttemptRecord;

use claim::Fronts;
use connect::Database;
use group::KnownGroups;

/// The tables. Cheap to clone.
///
/// Every function runs its statements in a task of the runtime on which the store was opened, and
/// nobody cancels that task: dropping a future of this room abandons the answer, never a statement
/// half-way. (sqlx is not cancel-safe there, and an HTTP worker's runtime may end early.)
#[derive(Debug, Clone)]
pub struct Store {
    database: Arc<Database>,
    groups: Arc<KnownGroups>,
    fronts: Arc<Fronts>,
    runtime: Handle,
}

impl Store {
    /// Opens the database as the daemon does: checks its settings, takes the lock on a SQLite file,
    /// and migrates as the settings say.
    ///
    /// Must be called on the runtime that will outlive every use of the store.
    pub async fn open(settings: &StoreSettings) -> Result<Self, OpenError> {
        Self::open_as(settings, true).await
    }

    /// Opens the database beside a daemon that may be running: takes no lock, migrates nothing, and
    /// refuses a schema that this program doesn't know.
    pub async fn open_beside(settings: &StoreSettings) -> Result<Self, OpenError> {
        let settings = StoreSettings { migrate: Migrate::Check, ..settings.clone() };
        Self::open_as(&settings, false).await
    }

    async fn open_as(settings: &StoreSettings, exclusive: bool) -> Result<Self, OpenError> {
        match settings.migrate {
            Migrate::Off => {}
            // Opening a SQLite file would create it; someone who only checks must not.
            Migrate::Check => migrate::require_current(settings).await?,
            Migrate::Auto => {}
        }
        let database = Arc::new(Database::open(settings, exclusive).await?);
        if settings.migrate == Migrate::Auto {
            migrate::apply(settings).await?;
        }
        Ok(Self {
            database,
            groups: Arc::default(),
            fronts: Arc::default(),
            runtime: Handle::current(),
        })
    }

    /// Closes every connection after its statement. Statements begun later fail as transient.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Whether this is PostgreSQL, where any number of replicas may share the tables.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(*self.database, Database::Postgres(_))
    }

    /// The pool that workers, upkeep and the admin API share, for an embedder's own statements; `None`
    /// on SQLite. A connection that somebody left in a transaction is dropped before its next use, because
    /// `begin()` is not cancel-safe there. The ack path has a pool of its own, which nobody gets.
    #[must_use]
    pub fn postgres(&self) -> Option<&sqlx::PgPool> {
        match &*self.database {
            Database::Postgres(postgres) => Some(&postgres.shared),
            Database::Sqlite(_) => None,
        }
    }

    /// Runs `work` in a task that no caller cancels, on the store's own runtime.
    ///
    /// A server that falls silent for longer than it may take is given up as transient: TCP alone
    /// would wait for a quarter of an hour after its machine has died. The connection under it never
    /// serves again unless it answers at once.
    async fn detached<T, F, Fut>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Database>) -> Fut,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let Some(patience) = self.database.patience() else {
            return self.detached_long(work).await;
        };
        self.detached_long(|database| {
            let work = work(database);
            async move {
                let given_up = |_| Err(StoreError::Transient(connect::no_answer()));
                tokio::time::timeout(patience, work).await.unwrap_or_else(given_up)
            }
        })
        .await
    }

    /// [`Store::detached`] for what runs many statements and limits its own waiting.
    async fn detached_long<T, F, Fut>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Database>) -> Fut,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        match self.runtime.spawn(work(Arc::clone(&self.database))).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => {
                Err(StoreError::Invariant(format!("a statement's task panicked: {error}")))
            }
            Err(_) => Err(StoreError::Transient(sqlx::Error::PoolClosed)),
        }
    }
}

/// Where the tables are, and how long the database may take.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `postgres://…` or `sqlite://…`.
    pub url: String,
    /// What to do with migrations when opening.
    pub migrate: Migrate,
    /// Connections that workers, upkeep and admin share (PostgreSQL), or readers (SQLite).
    pub connections: u32,
    /// How long one statement may run on the server; on the ack path at most 5 s of it.
    pub statement_timeout: Duration,
    /// Whether bodies and attempts are kept in a table for each day (PostgreSQL).
    pub partition_bodies: bool,
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
    /// What is made with it, when it is the first copy.
    pub deliveries: Vec<NewDelivery>,
    /// From recording to `expires_at`.
    pub keys: Duration,
    /// From recording until the body may go.
    pub bodies: Duration,
}

/// A delivery that is made together with its event.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Ours, UUIDv7: the same however often the statement is tried.
    pub id: Uuid,
    /// Who gets it.
    pub handler: Name,
    /// Leased from birth to the worker of this process, as the first try; pending when `None`. Never
    /// together with a lane, whose turn only the database knows.
    pub lease: Option<BirthLease>,
    /// The lane in which it waits for its turn; `None` when it may run beside any other.
    pub lane: Option<LanePlace>,
}

/// Where a delivery stands in line. Of one handler's deliveries in one lane the next never begins before
/// the one before it is final, in the order of recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanePlace {
    /// The lane, without NUL and short enough for an index.
    pub lane: String,
    /// Whether a dead delivery lets the next one go; it stops its lane else.
    pub skip_dead: bool,
}

impl NewDelivery {
    /// One that any worker may claim.
    #[must_use]
    pub fn pending(handler: Name) -> Self {
        Self { id: Uuid::now_v7(), handler, lease: None, lane: None }
    }

    /// Its first epoch, which is also how many tries have begun.
    pub(crate) fn epoch(&self) -> i64 {
        if self.lease.is_some() { BIRTH_EPOCH } else { 0 }
    }
}

/// The lease of a delivery that is born leased.
#[derive(Debug, Clone)]
pub struct BirthLease {
    /// The worker's name.
    pub worker: Arc<str>,
    /// From recording.
    pub length: Duration,
}

/// The epoch of a lease from birth, which is also the number of its try.
pub const BIRTH_EPOCH: i64 = 1;

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
    /// The lane that it is in.
    pub lane: Option<String>,
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
    /// Nothing to do: the handler's condition is false.
    Skipped {
        /// Why.
        cause: String,
    },
    /// Given up.
    Dead {
        /// Why.
        cause: String,
    },
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
    /// The dead delivery is pending again under its id, or a pending one is due now.
    Reopened(Uuid),
    /// A new delivery was made.
    New(Uuid),
    /// Nothing to do: it is in this state.
    Skipped(Uuid, State),
}

/// What cancelling or discarding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is cancelled now.
    Done,
    /// Nothing to do: it is in this state.
    Skipped(State),
    /// There is no such delivery.
    NotFound,
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
    /// Idempotency keys deleted. Not kept in `upkeep_run`.
    #[serde(default)]
    pub idempotency_keys: u64,
}
