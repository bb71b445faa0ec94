//! Completed answers in Redis: asked before the database, filled after its COMMIT. Changes latency, and nothing else.
//!
//! What Redis says is believed only when it opens under a key that the database holds and Redis doesn't,
//! for this very scope and key, in the generation that stands, before the answer's own end by the database's
//! clock, and when the same was asked for. Everything else is the database's to decide, refusals included.
//!
//! Redis is never asked to forget. An answer that is taken back turns the generation (`store::idempotency`);
//! an entry is sealed under the generation that was seen before its answer was read or written, so one that
//! is filled late is void, too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::redis_address::RedisAddress;
use crate::secret::Fingerprint;
use crate::store::Store;
use crate::store::idempotency::{
    CACHE_VIEW_HOLDS, KeyAnswer, KeyCacheView, KeyClaim, KeyId, KeyLease,
};

mod seal;
mod wire;

use seal::{Entry, Place};
use wire::Wire;

/// The largest answer that is cached: headers and body, in bytes.
pub const CACHED_MAX: usize = 256 << 10;

/// How often the generation is read: a view that failed once or twice still holds.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Answers that wait to be cached; what comes on top isn't cached. 16 MiB at most.
const FILLS: usize = 64;

/// A cache of answers for one store. Cheap to clone; clones share one connection.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wire: Arc<Wire>,
    view: RwLock<Option<Arc<View>>>,
    fills: mpsc::Sender<Fill>,
}

/// The generation, and until when it may be used.
#[derive(Debug)]
pub(super) struct View {
    read: KeyCacheView,
    since: Instant,
}

/// An answer on its way into the cache.
#[derive(Debug)]
struct Fill {
    view: Arc<View>,
    id: KeyId,
    entry: Entry,
}

/// What asking came to, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// Its answer is the request's.
    Hit,
    /// No entry, or one for another request.
    Miss,
    /// Redis failed, or took longer than 50 ms.
    Error,
    /// An entry that isn't ours, or is over.
    Rejected,
    /// Not asked: Redis failed a moment ago, or the database doesn't say what stands.
    Skipped,
}

impl Looked {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Error => "error",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
        }
    }
}

impl Cache {
    /// A cache of this store's answers. Connects in the background, and again whenever it must; nothing waits
    /// for it. Must be called on the runtime that outlives every run.
    #[must_use]
    pub fn new(address: &RedisAddress, store: Store) -> Self {
        let (fills, waiting) = mpsc::channel(FILLS);
        let wire = Arc::new(Wire::new(address));
        let inner = Inner { wire: Arc::clone(&wire), view: RwLock::new(None), fills };
        let cache = Self(Arc::new(inner));
        let runtime = Handle::current();
        runtime.spawn(keep_looking(Arc::downgrade(&cache.0), store));
        runtime.spawn(keep_filling(wire, waiting));
        cache
    }

    /// What stands now; `None` while the database doesn't say.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        let view = self.0.view.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        view.holds().then_some(view)
    }

    /// The answer to this very request, when the cache has it.
    pub(super) async fn look(&self, claim: &KeyClaim) -> (Looked, Option<KeyAnswer>) {
        let Some(view) = self.view() else { return (Looked::Skipped, None) };
        let place = Place::of(&view.read, &claim.id);
        let bytes = match self.0.wire.get(place.name(), seal::SEALED_MAX).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return (Looked::Miss, None),
            Err(wire::Silent::Rests) => return (Looked::Skipped, None),
            Err(wire::Silent::Failed) => return (Looked::Error, None),
        };
        let Some(entry) = place.open(bytes) else { return (Looked::Rejected, None) };
        // The generation may have turned while Redis took its time.
        if entry.expires_at <= view.now() || !view.holds() {
            return (Looked::Rejected, None);
        }
        if entry.request_hash != claim.request_hash {
            return (Looked::Miss, None);
        }
        (Looked::Hit, Some(entry.answer))
    }

    /// Caches an answer that is durable, in the background. `view` was taken before the answer was written
    /// or read.
    fn fill(&self, view: Option<Arc<View>>, id: &KeyId, entry: Entry) {
        let Some(view) = view else { return };
        let KeyAnswer { headers, body, note, .. } = &entry.answer;
        let Some(body) = body else { return };
        if note.is_some() || headers.as_bytes().len() + body.len() > CACHED_MAX {
            return;
        }
        if self.0.fills.try_send(Fill { view, id: id.clone(), entry }).is_err() {
            tracing::debug!("an answer is not cached: too many wait for it");
        }
    }

    /// Caches the answer that a run came to.
    pub(super) fn fill_run(&self, view: Option<Arc<View>>, lease: &KeyLease, answer: &KeyAnswer) {
        let (request_hash, expires_at) = (lease.request_hash, lease.expires_at);
        self.fill(view, &lease.id, Entry { request_hash, expires_at, answer: answer.clone() });
    }

    /// Caches the answer that a row had.
    pub(super) fn fill_row(
        &self,
        view: Option<Arc<View>>,
        claim: &KeyClaim,
        expires_at: i64,
        answer: &KeyAnswer,
    ) {
        let request_hash = claim.request_hash;
        self.fill(view, &claim.id, Entry { request_hash, expires_at, answer: answer.clone() });
    }
}

impl View {
    fn holds(&self) -> bool {
        self.since.elapsed() < CACHE_VIEW_HOLDS
    }

    /// The database's clock, at the earliest a little ahead: an answer never outlives its key. Milliseconds
    /// since 1970.
    fn now(&self) -> i64 {
        let since = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.read.now.saturating_add(since).saturating_add(2)
    }
}

/// Caches by where they are: gateways with one address share one.
#[derive(Debug, Default)]
pub struct Caches(HashMap<Fingerprint, Cache>);

impl Caches {
    /// The cache at an address, made when it is asked for first; see [`Cache::new`].
    pub fn at(&mut self, address: &RedisAddress, store: &Store) -> Cache {
        let cache = self.0.entry(address.fingerprint());
        cache.or_insert_with(|| Cache::new(address, store.clone())).clone()
    }
}

/// Reads the generation until nobody holds the cache.
async fn keep_looking(cache: Weak<Inner>, store: Store) {
    let mut failed = false;
    while cache.strong_count() > 0 {
        let since = Instant::now();
        match tokio::time::timeout(CACHE_VIEW_HOLDS, store.key_cache_view()).await {
            Ok(Ok(read)) => {
                let Some(cache) = cache.upgrade() else { return };
                let view = Arc::new(View { read, since });
                *cache.view.write().unwrap_or_else(PoisonError::into_inner) = Some(view);
                failed = false;
            }
            Ok(Err(error)) if !failed => {
                tracing::warn!(error = %error, "the database doesn't say which cached answers stand: the cache isn't asked meanwhile");
                failed = true;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Fills until nobody holds the cache.
async fn keep_filling(wire: Arc<Wire>, mut waiting: mpsc::Receiver<Fill>) {
    while let Some(Fill { view, id, entry }) = waiting.recv().await {
        let left = u64::try_from(entry.expires_at.saturating_sub(view.now())).unwrap_or(0);
        if left == 0 || !view.holds() {
            continue;
        }
        let place = Place::of(&view.read, &id);
        let Some(bytes) = place.seal(&entry) else {
            tracing::error!("an answer can't be sealed for the cache");
            continue;
        };
        match wire.set(place.name(), &bytes, Duration::from_millis(left)).await {
            Ok(()) | Err(wire::Silent::Rests) => {}
            Err(wire::Silent::Failed) => tracing::debug!("an answer is not cached: Redis failed"),
        }
    }
}
