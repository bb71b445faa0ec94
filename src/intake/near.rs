//! Commits on the thread that received.
//!
//! Where little comes, each event is a batch of its own, and to hand it to the recorder's task and its answer back
//! wakes three threads. So while nothing else waits or is being committed, the
//! thread that has the event commits it itself, over a connection of its own. What comes meanwhile waits for the
//! recorder, as ever; so does what goes into a lane, which is in the order in which it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{RecorderParts, Waiting, batch};

/// How many threads may have a connection of their own: more than a few are a machine where much comes.
const THREADS_MAX: usize = 4;

/// How many submissions wait or are being committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<AtomicUsize>);

/// One of them, until its answer is on its way.
#[derive(Debug)]
pub(super) struct Counted(Pending);

impl Pending {
    /// One more, and whether it is the only one.
    pub(super) fn begin(&self) -> (Counted, bool) {
        // One number, of which nothing else hangs: two that are both committed are no harm.
        let alone = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        (Counted(self.clone()), alone)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What threads commit by themselves: who may, and what is on its way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NearCommits {
    places: Arc<Semaphore>,
    running: TaskTracker,
}

impl NearCommits {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(THREADS_MAX)), running: TaskTracker::new() }
    }

    /// Leaves all that comes from now on to the recorder, and returns when no thread commits any more.
    ///
    /// To be waited for before those threads end: an answer has a deadline, its commit may outlive it, and it ends with
    /// its thread. Cancel-safe.
    pub async fn end(&self) {
        self.running.close();
        self.running.wait().await;
    }
}

/// What a thread needs to commit by itself.
#[derive(Debug)]
pub(super) struct Near {
    parts: RecorderParts,
    running: TaskTracker,
    _place: OwnedSemaphorePermit,
}

impl Near {
    /// For the runtime on which this is called. `None` where there is one writer anyway, or no place.
    pub(super) fn new(parts: &RecorderParts, commits: &NearCommits) -> Option<Self> {
        let store = parts.store.near()?;
        let place = Arc::clone(&commits.places).try_acquire_owned().ok()?;
        let parts = RecorderParts { store, ..parts.clone() };
        Some(Self { parts, running: commits.running.clone(), _place: place })
    }

    /// The right to commit one, unless threads are to end.
    pub(super) fn begin(&self) -> Option<TaskTrackerToken> {
        // Counted before it asks: who closes afterwards waits for it.
        let counted = self.running.token();
        (!self.running.is_closed()).then_some(counted)
    }

    /// Commits it in a task of this thread's runtime.
    pub(super) fn commit(self: &Arc<Self>, begun: TaskTrackerToken, alone: Waiting) {
        let near = Arc::clone(self);
        tokio::spawn(async move {
            batch::commit(vec![alone], &near.parts).await;
            drop(begun);
        });
    }
}
