//! Commits on the thread that received.
//!
//! Where little comes, each event is a batch of its own, and to hand it to the recorder's task and its answer back
//! wakes three threads. So while nothing else waits or is being committed, the
//! thread that has the event commits it itself, over a connection of its own. What comes meanwhile waits for the
//! recorder, as ever; so does what goes into a lane, which is in the order in which it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// The threads that may still get a connection of their own.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(THREADS_MAX))
}

/// What a thread needs to commit by itself.
#[derive(Debug)]
pub(super) struct Near {
    parts: RecorderParts,
    _place: OwnedSemaphorePermit,
}

impl Near {
    /// For the runtime on which this is called. `None` where there is one writer anyway, or no place.
    pub(super) fn new(parts: &RecorderParts, places: &Arc<Semaphore>) -> Option<Self> {
        let store = parts.store.near()?;
        let place = Arc::clone(places).try_acquire_owned().ok()?;
        Some(Self { parts: RecorderParts { store, ..parts.clone() }, _place: place })
    }

    /// Commits it, in a task that only the end of this thread's runtime ends: a thread that has answered all its senders
    /// may be gone before a commit that outlived the ack's deadline. Such an event is as after a crash: it may be there,
    /// nobody was told so, and what was born leased with it is claimed when its lease lapses.
    pub(super) fn commit(self: &Arc<Self>, alone: Waiting) {
        let near = Arc::clone(self);
        tokio::spawn(async move { batch::commit(vec![alone], &near.parts).await });
    }
}
