//! From verified to durable: [`Recorder::submit`] answers only after COMMIT.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::handler::Routes;
use crate::metric::Metrics;
use crate::store::{LanePlace, NewDelivery, NewEvent, Recorded, Retention, Store, StoreError};
use crate::verify::Verified;

mod batch;
mod births;
mod captures;
mod desk;
mod near;
mod pressure;
pub mod readmit;
mod rejections;

pub use births::{Birth, Births};
pub use captures::{Captures, Capturing, POLL};
pub use desk::Desk;
pub use near::NearCommits;
pub use rejections::RejectionKeeper;

use near::{Counted, Near, Pending};
use pressure::{Limit, Pressure};

/// How much may wait for the database.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Events that may wait, those of one request as one; full means 503. Fewer while the database doesn't keep up.
    pub queue_events: usize,
    /// Bytes of bodies that may wait at once; full means 503.
    pub queue_bytes: usize,
    /// From the whole body to the answer.
    pub ack_deadline: Duration,
}

/// Hands verified events to the one task that commits them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Waiting>,
    /// Tighter than the queue while it stands.
    limit: Limit,
    bytes: Arc<Semaphore>,
    budget: usize,
    pending: Pending,
    parts: Arc<RecorderParts>,
    near: NearCommits,
    deadline: Duration,
}

/// What waits for its commit, and who waits with it.
#[derive(Debug)]
struct Waiting {
    submitted: Submitted,
    /// Where its answer goes.
    desk: Desk,
    since: Instant,
    held: Held,
}

/// Given back when the answer is on its way.
#[derive(Debug)]
struct Held {
    _bytes: OwnedSemaphorePermit,
    _pending: Counted,
}

/// What was submitted, and who waits for the answer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are one: a box for each would cost more")]
enum Submitted {
    One(NewEvent, oneshot::Sender<Result<Recorded, StoreError>>),
    /// Recorded together or not at all.
    Many(Vec<NewEvent>, oneshot::Sender<Result<Vec<Recorded>, StoreError>>),
}

/// Why an event is not durable, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full or we shut down: nothing was stored.
    #[error("too much is waiting for the database")]
    Overloaded,
    /// The database is away or too slow; it may have been stored, which a retry will find out.
    #[error("the database did not confirm in time")]
    Unavailable,
    /// This event can't be stored.
    #[error("the database refused this event")]
    Refused(#[source] StoreError),
}

/// What the recorder's task needs.
#[derive(Debug, Clone)]
pub struct RecorderParts {
    /// Where to record.
    pub store: Store,
    /// Which handlers get an event.
    pub routes: Arc<Routes>,
    /// How long keys and bodies live.
    pub retention: Retention,
    /// Where deliveries may be born leased; without it all are born pending.
    pub births: Option<Births>,
    /// Told when pending deliveries were made; the worker is correct without it.
    pub wake: Arc<Notify>,
    /// Counts commits.
    pub metrics: Metrics,
}

impl Recorder {
    /// Starts the recording task on `tracker`. It ends after `closing`, when all that was submitted
    /// before is recorded and answered.
    #[must_use]
    pub fn start(
        settings: &IntakeSettings,
        parts: RecorderParts,
        tracker: &TaskTracker,
        closing: CancellationToken,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(settings.queue_events.max(1));
        let budget = settings.queue_bytes.min(Semaphore::MAX_PERMITS);
        let pressure = Pressure::new(Instant::now());
        let parts = Arc::new(parts);
        let recorder = Self {
            queue,
            limit: pressure.limit(),
            bytes: Arc::new(Semaphore::new(budget)),
            budget,
            pending: Pending::default(),
            parts: Arc::clone(&parts),
            near: NearCommits::new(),
            deadline: settings.ack_deadline,
        };
        tracker.spawn(batch::run(waiting, pressure, parts, closing));
        recorder
    }

    /// Opens a desk for the thread that this is called on, and its runtime: what hands out the answers is to be run
    /// there as a task.
    pub fn desk(&self) -> (Desk, impl Future<Output = ()> + 'static) {
        Desk::open(Near::new(&self.parts, &self.near))
    }

    /// What threads with a desk commit by themselves, to be ended before they are.
    pub fn near_commits(&self) -> NearCommits {
        self.near.clone()
    }

    /// Records an event and returns when it is durable. `desk` is that of the thread that waits.
    ///
    /// Waits at most the ack deadline. Cancel-safe: dropping the future does not stop the recording, as long as the
    /// thread's runtime outlives [`NearCommits::end`].
    pub async fn submit(&self, verified: Verified, desk: &Desk) -> Result<Recorded, SubmitError> {
        let bytes = verified.body().len();
        let event = new_event(verified, &self.parts.routes, self.parts.retention);
        let (answer, answered) = oneshot::channel();
        self.enqueue(Submitted::One(event, answer), desk, bytes)?;
        self.answer(answered).await
    }

    /// Records the events of one request and returns when all are durable, in their order. They are
    /// recorded together or not at all.
    ///
    /// As [`Recorder::submit`] else. Larger than the whole budget of bytes, they wait until nothing
    /// else does.
    pub async fn submit_all(
        &self,
        verified: Vec<Verified>,
        desk: &Desk,
    ) -> Result<Vec<Recorded>, SubmitError> {
        // Most batches have one event, and the usual way is the shortest.
        let verified = match <[Verified; 1]>::try_from(verified) {
            Ok([one]) => return self.submit(one, desk).await.map(|recorded| vec![recorded]),
            Err(several) => several,
        };
        let size = |one: &Verified| one.body().len() + one.received().headers.as_bytes().len();
        let bytes: usize = verified.iter().map(size).sum();
        let event = |one| new_event(one, &self.parts.routes, self.parts.retention);
        let events = verified.into_iter().map(event).collect();
        let (answer, answered) = oneshot::channel();
        self.enqueue(Submitted::Many(events, answer), desk, bytes.min(self.budget))?;
        self.answer(answered).await
    }

    fn enqueue(&self, submitted: Submitted, desk: &Desk, bytes: usize) -> Result<(), SubmitError> {
        if !self.limit.admits(self.queue.max_capacity() - self.queue.capacity()) {
            return Err(SubmitError::Overloaded);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes)
            .try_acquire_many_owned(bytes)
            .map_err(|_| SubmitError::Overloaded)?;
        let (pending, alone) = self.pending.begin();
        let held = Held { _bytes: bytes, _pending: pending };
        let waiting = Waiting { submitted, desk: desk.clone(), since: Instant::now(), held };
        if alone
            && waiting.submitted.is_simple()
            && let Some(near) = &desk.near
            && let Some(begun) = near.begin()
        {
            near.commit(begun, waiting);
            return Ok(());
        }
        self.queue.try_send(waiting).map_err(|_| SubmitError::Overloaded)
    }

    async fn answer<T>(
        &self,
        answered: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, SubmitError> {
        match tokio::time::timeout(self.deadline, answered).await {
            Ok(Ok(Ok(recorded))) => Ok(recorded),
            Ok(Ok(Err(StoreError::Transient(error)))) => {
                tracing::debug!(error = %error, "an event could not be recorded now");
                Err(SubmitError::Unavailable)
            }
            Ok(Ok(Err(error))) => Err(SubmitError::Refused(error)),
            // The task is gone, or the database takes too long: nobody knows, so no 2xx.
            Ok(Err(_)) | Err(_) => Err(SubmitError::Unavailable),
        }
    }
}

/// A verified event with its id, its handlers and its times.
fn new_event(verified: Verified, routes: &Routes, retention: Retention) -> NewEvent {
    let identity = verified.identity();
    // An event whose id two parsers could read differently is kept for people, not dispatched.
    let deliveries = if identity.held.is_some() {
        Vec::new()
    } else {
        let takers = routes.takers(verified.source(), &identity.kind);
        let delivery = takers.map(|(handler, lane)| NewDelivery {
            lane: lane
                .map(|lane| LanePlace { lane: lane.of(&verified), skip_dead: lane.skip_dead }),
            ..NewDelivery::pending(handler.clone())
        });
        delivery.collect()
    };
    NewEvent {
        id: Uuid::now_v7(),
        deliveries,
        keys: retention.keys,
        bodies: retention.bodies,
        verified,
    }
}
