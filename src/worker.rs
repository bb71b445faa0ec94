//! Claims what is due, calls its handler, settles what came of it.
//!
//! Correct by polling alone: a wake-up only shortens the wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use entity::Name;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handler::Handler;
use crate::metric::Metrics;
use crate::retry::RetryPolicy;
use crate::store::Store;
use crate::store::claim::Room;

mod attempt;
mod leases;
pub mod settle;
mod settler;

use leases::Leases;
use settler::Settler;

/// How long the worker sleeps at most when nothing is due: what another replica made is found by then.
const POLL: Duration = Duration::from_secs(1);

/// How long it sleeps at least when something is due that could not be claimed: another replica is
/// just taking it, or somebody holds its row locked.
const PAUSE_WHEN_TAKEN: Duration = Duration::from_millis(20);

/// How long it sleeps after the database failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// The most deliveries of one handler in one claim.
const CLAIM_MAX: usize = 64;

/// A handler and how the worker calls it.
#[derive(Clone)]
pub struct Callee {
    /// Its name.
    pub name: Name,
    /// What to call.
    pub handler: Arc<dyn Handler>,
    /// How long one call may take.
    pub timeout: Duration,
    /// How many calls at once, on this replica.
    pub concurrency: u16,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long a claim holds without renewal.
    pub lease: Duration,
}

/// What the worker needs.
pub struct WorkerParts {
    /// Where deliveries are.
    pub store: Store,
    /// The handlers of this replica. Deliveries of others are left alone.
    pub callees: Vec<Callee>,
    /// Tells that something may be due.
    pub wake: Arc<Notify>,
    /// Counts what was settled.
    pub metrics: Metrics,
    /// Names this replica in `delivery.leased_by`.
    pub id: String,
}

/// When to stop, in two steps.
#[derive(Debug, Clone, Default)]
pub struct WorkerStop {
    /// Claim nothing more.
    pub claiming: CancellationToken,
    /// Cut off the calls that still run, and give their deliveries back uncounted.
    pub calls: CancellationToken,
}

/// What all parts of a worker share.
struct Shared {
    store: Store,
    metrics: Metrics,
    settler: Settler,
    leases: Leases,
    wake: Arc<Notify>,
    stop: WorkerStop,
}

/// A handler with the number of calls that it may still take.
struct Slot {
    callee: Callee,
    free: Arc<Semaphore>,
}

/// Runs until `stop.claiming`, then until every call has ended and is settled. Returns when nothing
/// of it is left running.
pub async fn run(parts: WorkerParts, stop: WorkerStop) {
    let tracker = TaskTracker::new();
    let settler_tracker = TaskTracker::new();
    let settler = Settler::start(parts.store.clone(), parts.metrics.clone(), &settler_tracker);
    let leases = Leases::default();
    let renewing = CancellationToken::new();
    settler_tracker.spawn(leases::renew(
        leases.clone(),
        parts.store.clone(),
        parts.metrics.clone(),
        renewing.clone(),
    ));
    let shared = Arc::new(Shared {
        store: parts.store,
        metrics: parts.metrics,
        settler,
        leases,
        wake: parts.wake,
        stop,
    });
    let slots: HashMap<Name, Slot> = parts
        .callees
        .into_iter()
        .map(|callee| {
            let free = Arc::new(Semaphore::new(usize::from(callee.concurrency.max(1))));
            (callee.name.clone(), Slot { callee, free })
        })
        .collect();

    if slots.is_empty() {
        shared.stop.claiming.cancelled().await;
    } else {
        claim_until_stopped(&shared, &slots, &parts.id, &tracker).await;
    }

    // Leases stay renewed until the last call has ended and is settled.
    tracker.close();
    tracker.wait().await;
    drop(shared);
    renewing.cancel();
    settler_tracker.close();
    settler_tracker.wait().await;
}

async fn claim_until_stopped(
    shared: &Arc<Shared>,
    slots: &HashMap<Name, Slot>,
    worker: &str,
    tracker: &TaskTracker,
) {
    while !shared.stop.claiming.is_cancelled() {
        let rooms = rooms(slots);
        let least = rooms.iter().map(|room| room.free as usize).min().unwrap_or(0);
        let sleep = if rooms.is_empty() {
            // Every handler is busy; a call that ends wakes us.
            POLL
        } else {
            match shared.store.claim(worker, rooms).await {
                Ok(claims) => {
                    let claimed = claims.len();
                    begin(shared, slots, claims, tracker);
                    // Less than the least room: nothing more was due, for any handler.
                    if claimed < least { until_due(shared, slots).await } else { Duration::ZERO }
                }
                Err(error) => {
                    tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "nothing could be claimed now");
                    PAUSE_AFTER_ERROR
                }
            }
        };
        if sleep.is_zero() {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = shared.wake.notified() => {}
            () = shared.stop.claiming.cancelled() => {}
        }
    }
}

/// What each handler may take now; handlers that are full are left out.
fn rooms(slots: &HashMap<Name, Slot>) -> Vec<Room> {
    slots
        .values()
        .filter_map(|slot| {
            let free = slot.free.available_permits().min(CLAIM_MAX);
            (free > 0).then(|| Room {
                handler: slot.callee.name.clone(),
                free: u32::try_from(free).unwrap_or(u32::MAX),
                lease: slot.callee.lease,
            })
        })
        .collect()
}

async fn until_due(shared: &Shared, slots: &HashMap<Name, Slot>) -> Duration {
    // Only handlers with room: one that is full and overdue must not make the loop spin.
    let handlers: Vec<Name> = slots
        .values()
        .filter(|slot| slot.free.available_permits() > 0)
        .map(|slot| slot.callee.name.clone())
        .collect();
    match shared.store.next_due(handlers).await {
        Ok(Some(Duration::ZERO)) => PAUSE_WHEN_TAKEN,
        Ok(Some(until)) => until.clamp(Duration::from_millis(1), POLL),
        Ok(None) => POLL,
        Err(error) => {
            tracing::debug!(error = %error, "the next due time is unknown");
            POLL
        }
    }
}

fn begin(
    shared: &Arc<Shared>,
    slots: &HashMap<Name, Slot>,
    claims: Vec<crate::store::Claimed>,
    tracker: &TaskTracker,
) {
    for claim in claims {
        let Some(slot) = slots.get(&claim.handler) else {
            tracing::error!(handler.name = %claim.handler, "claimed for a handler that nobody asked for");
            continue;
        };
        // There is a permit: this loop is the only one who takes them, and it claimed no more.
        let Ok(permit) = Arc::clone(&slot.free).try_acquire_owned() else {
            tracing::error!(handler.name = %claim.handler, "claimed more than there was room for");
            continue;
        };
        tracker.spawn(attempt::run(Arc::clone(shared), slot.callee.clone(), claim, permit));
    }
}
