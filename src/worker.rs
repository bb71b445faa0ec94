//! Claims what is due, calls its handler, settles what came of it.
//!
//! Correct by polling alone: a wake-up only shortens the wait. Deliveries that were born leased to this
//! worker come in by a channel and need no claim; what gets lost on that way lapses and is rescued.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::Name;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handler::answers::Answers;
use crate::handler::control::Control;
use crate::handler::seats::{Seat, Seating, Seats, Taken};
use crate::handler::shape::Shape;
use crate::handler::version::Versions;
use crate::metric::Metrics;
use crate::retry::RetryPolicy;
use crate::store::claim::Room;
use crate::store::{Claimed, Store};

mod answer;
mod attempt;
mod births;
mod control;
pub mod effect;
mod leases;
pub mod settle;
mod settler;
mod staleness;
mod turns;
mod work;

use control::Controls;
use effect::Effect;
use leases::Leases;
use settler::Settler;
use turns::Turns;

/// How long the worker sleeps at most when nothing is due: what another replica made is found by then.
const POLL: Duration = Duration::from_secs(1);

/// Having slept so long, it asks before it claims. A claim looks everywhere once a second, and after one that did the
/// next such look is what it sleeps for.
const QUIET: Duration = Duration::from_millis(500);

/// How long it sleeps at least when something is due that could not be claimed: another replica is
/// just taking it, or somebody holds its row locked.
const PAUSE_WHEN_TAKEN: Duration = Duration::from_millis(20);

/// How long it sleeps after the database failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// The most deliveries of one handler in one claim.
const CLAIM_MAX: usize = 256;

/// Calls that may have ended and wait for their settlement to be durable. A database that takes none
/// stops the calls when so many wait, and with them the claiming.
const UNSETTLED_MAX: usize = 1024;

/// A handler and how the worker calls it.
#[derive(Clone)]
pub struct Callee {
    /// Its name.
    pub name: Name,
    /// What to do.
    pub effect: Effect,
    /// Which events it is done for, and in what form; `None`: for all, as they came.
    pub shape: Option<Arc<Shape>>,
    /// How long one call may take.
    pub timeout: Duration,
    /// How many calls at once, on this replica.
    pub concurrency: u16,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long a claim holds without renewal.
    pub lease: Duration,
    /// How the events of a lane are compared.
    pub versions: Option<Versions>,
    /// What holds it back.
    pub control: Control,
    /// Whether it answers for a source.
    pub responds: bool,
}

/// What the worker needs.
pub struct WorkerParts {
    /// Where deliveries are.
    pub store: Store,
    /// The handlers of this replica. Deliveries of others are left alone.
    pub callees: Vec<Callee>,
    /// The seats of these handlers, made by [`seats`]. Intake may take some for what it records.
    pub seats: Arc<Seats>,
    /// Deliveries that were born leased to this worker.
    pub births: mpsc::UnboundedReceiver<Birth>,
    /// Tells that something may be due.
    pub wake: Arc<Notify>,
    /// Who waits for the answers of those that answer for a source.
    pub answers: Answers,
    /// Counts what was settled.
    pub metrics: Metrics,
    /// Names this replica in `delivery.leased_by`.
    pub id: String,
}

/// A durable delivery that is leased to this worker since it was recorded.
#[derive(Debug)]
pub struct Birth {
    /// As if it had been claimed.
    pub claimed: Claimed,
    /// Its seat.
    pub seat: Seat,
    /// Its lease runs at least from here.
    pub since: Instant,
}

/// The seats of these handlers.
#[must_use]
pub fn seats(callees: &[Callee]) -> Arc<Seats> {
    Arc::new(Seats::new(callees.iter().map(|it| Seating {
        handler: it.name.clone(),
        calls: it.concurrency,
        lease: it.lease,
        rate: it.control.rate,
    })))
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
    callees: HashMap<Name, Callee>,
    seats: Arc<Seats>,
    controls: Controls,
    answers: Answers,
    /// Names this replica.
    id: String,
    /// See [`UNSETTLED_MAX`].
    unsettled: Arc<Semaphore>,
    effects: Turns,
    wake: Arc<Notify>,
    stop: WorkerStop,
}

/// Runs until `stop.claiming`, then until every call has ended and is settled. Returns when nothing
/// of it is left running.
pub async fn run(parts: WorkerParts, stop: WorkerStop) {
    let tracker = TaskTracker::new();
    let settler_tracker = TaskTracker::new();
    let settler = Settler::start(parts.store.clone(), &settler_tracker);
    let leases = Leases::default();
    let renewing = CancellationToken::new();
    settler_tracker.spawn(leases::renew(
        leases.clone(),
        parts.store.clone(),
        parts.metrics.clone(),
        renewing.clone(),
    ));
    let controls = Controls::new(parts.callees.iter());
    let with_effects: Vec<Name> = parts
        .callees
        .iter()
        .filter(|callee| matches!(callee.effect, Effect::InTransaction(_)))
        .map(|callee| callee.name.clone())
        .collect();
    let callees = parts.callees.into_iter().map(|callee| (callee.name.clone(), callee));
    let shared = Arc::new(Shared {
        effects: Turns::new(parts.store.effects_at_once(), &with_effects),
        store: parts.store,
        metrics: parts.metrics,
        settler,
        leases,
        controls,
        answers: parts.answers,
        id: parts.id,
        callees: callees.collect(),
        seats: parts.seats,
        unsettled: Arc::new(Semaphore::new(UNSETTLED_MAX)),
        wake: parts.wake,
        stop,
    });

    let watching = settler_tracker.spawn({
        let (shared, stop) = (Arc::clone(&shared), renewing.clone());
        async move { control::watch(&shared, stop).await }
    });
    let births = tokio::spawn(births::run(Arc::clone(&shared), parts.births, tracker.clone()));
    if shared.callees.is_empty() {
        shared.stop.claiming.cancelled().await;
    } else {
        claim_until_stopped(&shared, &tracker).await;
    }
    if let Err(error) = births.await {
        tracing::error!(error = %error, "the task for newborn deliveries failed; their leases will lapse");
    }

    // Leases stay renewed until the last call has ended and is settled.
    tracker.close();
    tracker.wait().await;
    renewing.cancel();
    // It holds the settler, which ends when nobody does.
    if let Err(error) = watching.await {
        tracing::error!(error = %error, "the task that looks at pauses failed");
    }
    drop(shared);
    settler_tracker.close();
    settler_tracker.wait().await;
}

async fn claim_until_stopped(shared: &Arc<Shared>, tracker: &TaskTracker) {
    // What is paused is known before anything is claimed.
    while let Err(error) = control::look(shared).await {
        tracing::warn!(error = %error, "the pauses of handlers can't be looked at now; nothing is claimed");
        tokio::select! {
            () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
            () = shared.stop.claiming.cancelled() => return,
        }
    }
    // After a quiet second one question will do in place of a claim.
    let mut rested = false;
    while !shared.stop.claiming.is_cancelled() {
        let mut sleep = match rested {
            true => until_due(shared).await.min(until_rate(shared)),
            false => Duration::ZERO,
        };
        if sleep.is_zero() {
            sleep = claim(shared, tracker).await;
        }
        if sleep.is_zero() {
            rested = false;
            continue;
        }
        rested = tokio::select! {
            () = tokio::time::sleep(sleep) => sleep >= QUIET,
            () = shared.wake.notified() => false,
            () = shared.stop.claiming.cancelled() => false,
        };
    }
}

/// Claims for every handler that has room, and begins what it got. Gives how long to sleep.
async fn claim(shared: &Arc<Shared>, tracker: &TaskTracker) -> Duration {
    let mut taken = take_seats(shared);
    let rooms: Vec<Room> = taken
        .iter()
        .filter_map(|(name, taken)| {
            let lease = shared.callees.get(name)?.lease;
            Some(Room { handler: name.clone(), free: taken.left(), lease })
        })
        .collect();
    if rooms.is_empty() {
        // Every handler is busy or held back; a call that ends, or one that is resumed, wakes us.
        return until_rate(shared).min(POLL);
    }
    let claims = match shared.store.claim(&shared.id, rooms).await {
        Ok(claims) => claims,
        Err(error) => {
            tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "nothing could be claimed now");
            return PAUSE_AFTER_ERROR;
        }
    };
    let mut served = HashSet::new();
    for claimed in claims {
        let seat = taken.get_mut(&claimed.handler).and_then(Taken::one);
        served.insert(claimed.handler.clone());
        begin(shared, claimed, seat, tracker);
    }
    // Who got something may have more that is due, also with seats left: sources that left some of their shares.
    // Asked again, it gets nothing, and keeps up.
    let mut more = false;
    for (name, taken) in &taken {
        let behind = taken.left() == 0 || served.contains(name);
        shared.seats.set_behind(name, behind);
        more |= behind;
    }
    drop(taken);
    if more {
        return Duration::ZERO;
    }
    match until_due(shared).await {
        Duration::ZERO => PAUSE_WHEN_TAKEN,
        until => until.min(until_rate(shared)),
    }
}

/// How long until a handler that has more to do may begin it by its rate.
fn until_rate(shared: &Shared) -> Duration {
    let until = shared.seats.until_rate().unwrap_or(Duration::MAX);
    until.max(Duration::from_millis(1))
}

/// The seats that each handler has free now; handlers that are full are left out, and are behind until
/// a claim has shown otherwise.
fn take_seats(shared: &Shared) -> HashMap<Name, Taken> {
    let mut all = HashMap::new();
    for name in shared.callees.keys() {
        match shared.seats.take(name, CLAIM_MAX) {
            Some(taken) => {
                all.insert(name.clone(), taken);
            }
            None => shared.seats.set_behind(name, true),
        }
    }
    all
}

/// How long until something is due, at most [`POLL`]; zero when it is.
async fn until_due(shared: &Shared) -> Duration {
    // Only handlers with room: one that is full and overdue must not make the loop spin.
    let handlers: Vec<Name> =
        shared.callees.keys().filter(|name| shared.seats.has_free(name)).cloned().collect();
    match shared.store.next_due(handlers).await {
        Ok(Some(Duration::ZERO)) => Duration::ZERO,
        Ok(Some(until)) => until.clamp(Duration::from_millis(1), POLL),
        Ok(None) => POLL,
        Err(error) => {
            tracing::debug!(error = %error, "the next due time is unknown");
            POLL
        }
    }
}

/// Calls the handler of a claim. One for which there is no handler or no seat, which nobody asked for,
/// is given back.
fn begin(shared: &Arc<Shared>, claimed: Claimed, seat: Option<Seat>, tracker: &TaskTracker) {
    match (shared.callees.get(&claimed.handler), seat) {
        (Some(callee), Some(seat)) => {
            tracker.spawn(attempt::run(Arc::clone(shared), callee.clone(), claimed, seat));
        }
        _ => {
            tracing::error!(handler.name = %claimed.handler, delivery.id = %claimed.delivery,
                "leased a delivery for which there is no room; giving it back");
            tracker.spawn(give_back(Arc::clone(shared), claimed));
        }
    }
}

async fn give_back(shared: Arc<Shared>, claimed: Claimed) {
    let Claimed { delivery, epoch, .. } = claimed;
    if let Err(error) = shared.store.unclaim(vec![(delivery, epoch)]).await {
        tracing::warn!(delivery.id = %delivery, error = %error,
            "delivery {delivery} could not be given back; its lease will lapse");
    }
    shared.wake.notify_one();
}
