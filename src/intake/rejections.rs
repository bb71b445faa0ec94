//! Keeping refused requests: off the hot path, and bounded in number, rate and bytes, because whoever
//! sends them is not authenticated.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use entity::Name;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metric::Metrics;
use crate::source::{Source, Sources};
use crate::store::rejection::RING_BYTES_MAX;
use crate::store::{NewRejection, Store};
use crate::verify::Effort;

/// Rejections that may wait to be written.
const QUEUE_MAX: usize = 256;

/// Bytes of rejections that may wait to be written.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Rejections written a second, over all sources: a flood of forged requests must not take the
/// database from genuine ones.
const KEPT_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// A source's ring is trimmed after this many bytes were added to it.
const TRIM_AFTER_BYTES: i64 = 1024 * 1024;

/// The largest body that is looked into: each trial goes over all of it, and meanwhile nothing is kept.
const DIAGNOSED_BYTES_MAX: usize = 256 * 1024;

/// Diagnoses a second, over all sources, and of one source: each may cost tens of milliseconds of a
/// processor, and whoever sends forged requests would choose how many.
const DIAGNOSED_PER_SECOND: NonZeroU32 = NonZeroU32::new(4).unwrap();
const DIAGNOSED_OF_ONE_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// Keeps refused requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RejectionKeeper {
    queue: mpsc::Sender<Kept>,
    bytes: Arc<Semaphore>,
    rate: Arc<DefaultDirectRateLimiter>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Kept {
    rejection: NewRejection,
    /// Who can say why; `None` when the refusal says it all.
    source: Option<Refusing>,
    _bytes: OwnedSemaphorePermit,
}

/// The source that refused a request, and those that it may have been meant for.
#[derive(Debug)]
struct Refusing {
    source: Arc<Source>,
    all: Arc<Sources>,
}

impl RejectionKeeper {
    /// Starts the writing task on `tracker`. It ends after `closing`, when what waits is written.
    #[must_use]
    pub fn start(
        store: Store,
        metrics: Metrics,
        tracker: &TaskTracker,
        closing: CancellationToken,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tracker.spawn(run(waiting, store, closing));
        Self {
            queue,
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            rate: Arc::new(RateLimiter::direct(Quota::per_second(KEPT_PER_SECOND))),
            metrics,
        }
    }

    /// Keeps a refused request if there is room; never waits. What isn't kept is counted.
    pub fn keep(&self, rejection: NewRejection) {
        self.take(rejection, None);
    }

    /// As [`RejectionKeeper::keep`]; `source`, one of `all`, is asked why it refused the request, later, on
    /// another thread, and a few times a second only. What it says is kept behind the detail.
    pub fn keep_diagnosed(&self, rejection: NewRejection, source: Arc<Source>, all: Arc<Sources>) {
        self.take(rejection, Some(Refusing { source, all }));
    }

    fn take(&self, rejection: NewRejection, source: Option<Refusing>) {
        if self.try_keep(rejection, source).is_none() {
            self.metrics.rejection_dropped();
        }
    }

    fn try_keep(&self, rejection: NewRejection, source: Option<Refusing>) -> Option<()> {
        self.rate.check().ok()?;
        let size = u32::try_from(rejection.size()).ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size).ok()?;
        self.queue.try_send(Kept { rejection, source, _bytes: bytes }).ok()
    }
}

async fn run(mut waiting: mpsc::Receiver<Kept>, store: Store, closing: CancellationToken) {
    let mut added: HashMap<Name, i64> = HashMap::new();
    let doctor = Doctor::new();
    loop {
        let kept = tokio::select! {
            kept = waiting.recv() => kept,
            () = closing.cancelled() => {
                waiting.close();
                waiting.recv().await
            }
        };
        let Some(mut kept) = kept else { return };
        // While the daemon ends, writing what waits comes first.
        if let Some(source) = kept.source.take().filter(|_| !closing.is_cancelled()) {
            kept.rejection = doctor.see(kept.rejection, source).await;
        }
        write(kept, &store, &mut added).await;
    }
}

/// Finds out why requests were refused, at its own pace.
struct Doctor {
    all: DefaultDirectRateLimiter,
    each: DefaultKeyedRateLimiter<Name>,
}

impl Doctor {
    fn new() -> Self {
        Self {
            all: RateLimiter::direct(Quota::per_second(DIAGNOSED_PER_SECOND)),
            each: RateLimiter::keyed(Quota::per_second(DIAGNOSED_OF_ONE_PER_SECOND)),
        }
    }

    /// The rejection with its diagnosis, when there is time for one.
    async fn see(&self, rejection: NewRejection, refusing: Refusing) -> NewRejection {
        if rejection.received.body.len() > DIAGNOSED_BYTES_MAX {
            return rejection;
        }
        if self.each.check_key(&rejection.source).is_err() || self.all.check().is_err() {
            return rejection;
        }
        let received = rejection.received.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let Refusing { source, all } = refusing;
            all.diagnose(&source, &received, received.arrived_at, Effort::MODEST)
        });
        match looked.await {
            Ok(Some(diagnosis)) => {
                let detail = diagnosis.behind(&rejection.detail);
                NewRejection { detail, ..rejection }
            }
            Ok(None) => rejection,
            Err(error) => {
                tracing::error!(source.name = %rejection.source, error = %error, "a diagnosis failed: this is a bug");
                rejection
            }
        }
    }
}

async fn write(kept: Kept, store: &Store, added: &mut HashMap<Name, i64>) {
    let source = kept.rejection.source.clone();
    let size = i64::try_from(kept.rejection.size()).unwrap_or(i64::MAX);
    if let Err(error) = store.keep_rejections(vec![kept.rejection]).await {
        tracing::warn!(source.name = %source, error = %error, "a rejection was lost: the database takes none now");
        return;
    }
    let bytes = added.entry(source.clone()).or_default();
    *bytes = bytes.saturating_add(size);
    if *bytes < TRIM_AFTER_BYTES {
        return;
    }
    *bytes = 0;
    if let Err(error) = store.trim_rejections(source.clone(), RING_BYTES_MAX).await {
        tracing::warn!(source.name = %source, error = %error, "the ring of rejections could not be trimmed");
    }
}
