//! Idempotency-Key: the same request under the same key runs once, and every retry gets its answer.
//!
//! An [`Engine`] decides what a request with a key may do; two doors use it: the gateway, for services
//! in any language, and the middleware, for Rust services. `docs/idempotency.md` has the tables.
//!
//! What holds: at most one run of a key at a time, also with any number of replicas, unless a lease was lost
//! and the settings let another run in; a run that lost its lease changes nothing of the key; a retry never runs what may already have had its effect, unless the settings
//! say that this does no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entity::Name;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::metric::Metrics;
use crate::store::idempotency::{
    KeyAnswer, KeyBid, KeyClaim, KeyFound, KeyLease, KeyState, KeyVerdict,
};
use crate::store::{Store, StoreError};

pub mod cache;
mod canonical;
pub mod fingerprint;
mod gather;
pub mod key;
pub mod middleware;
mod open_keys;
pub mod policy;
mod refusal;
mod renewal;
mod run;
mod transaction;
mod unclaimed;

pub use crate::redis_address::RedisAddress;
pub use cache::Cache;
pub use fingerprint::Compare;
pub use policy::{Answer, AnswerBody, Effect, Ended, OnUnknown};
pub use refusal::Refusal;
pub use run::{Concluded, Run};

use gather::Gatherer;
use open_keys::OpenKeys;
use unclaimed::Unclaimed;

/// How long a request waits for the store before it is refused.
const STORE_PATIENCE: Duration = Duration::from_millis(2500);

/// Between the first two looks at a run that a request waits for; doubled up to [`LOOK_AGAIN_MAX`].
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(400);

/// How often a decision is begun anew because the key changed under it.
const ROUNDS: u32 = 5;

/// How a route treats its keys.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The route's name, in metrics and in the log.
    pub name: Name,
    /// From the first claim until the key means nothing again.
    pub ttl: Duration,
    /// How long a claim holds without renewal; it is renewed every third of it.
    pub lease: Duration,
    /// Where a run has its effect.
    pub effect: Effect,
    /// What to do when nobody knows whether it had it.
    pub on_unknown: OnUnknown,
    /// How long a retry waits for a run before it gets a 409.
    pub wait: Duration,
    /// Whether requests run unguarded while the store is away.
    pub fail_open: bool,
    /// The largest answer that is kept, in bytes.
    pub answer_max: usize,
    /// Headers that are kept beside the usual ones, in lower case.
    pub kept_headers: Vec<String>,
}

impl Rules {
    /// The usual rules for a name: a day, a minute's lease, external effects, answers up to 1 MiB.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name,
            ttl: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(60),
            effect: Effect::External,
            on_unknown: OnUnknown::Keep,
            wait: Duration::ZERO,
            fail_open: false,
            answer_max: 1 << 20,
            kept_headers: Vec::new(),
        }
    }
}

/// What a request may do.
#[derive(Debug)]
pub enum Begun {
    /// Run, and conclude. Dropped without that, the key stays taken until its lease is over.
    Run(Box<Run>),
    /// This is the answer, from an earlier run.
    Replay(Box<KeyAnswer>),
    /// Neither.
    Refused(Refusal),
    /// The store is away and the rules say to run all the same: nothing is promised.
    Unguarded,
}

/// Decides about requests with keys. Cheap to clone; clones gather what they ask of the database.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Store,
    gatherer: Gatherer,
    unclaimed: Unclaimed,
    open_keys: OpenKeys,
    metrics: Metrics,
    runtime: Handle,
    cache: Option<Cache>,
    patience: Duration,
}

impl Engine {
    /// An engine on these tables. Must be called on the runtime that outlives every run.
    #[must_use]
    pub fn new(store: Store, metrics: Metrics) -> Self {
        let runtime = Handle::current();
        let gatherer = Gatherer::start(store.clone(), &runtime);
        let unclaimed = Unclaimed::start(store.clone(), &runtime);
        Self {
            store,
            gatherer,
            unclaimed,
            open_keys: OpenKeys::default(),
            metrics,
            runtime,
            cache: None,
            patience: STORE_PATIENCE,
        }
    }

    /// Asks this cache, of the same store, for completed answers before the database.
    #[must_use]
    pub fn cached(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// How long a request waits for the store before it is refused as unavailable; 2.5 s by default.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Claims the key, or says why the request may not run. Counts what it decides.
    ///
    /// A caller that goes away meanwhile leaves nothing behind: what was claimed for it is given back,
    /// because nothing was begun. A store that doesn't answer in
    /// [`Engine::patient`]'s time is away.
    pub async fn begin(&self, claim: KeyClaim, rules: &Arc<Rules>) -> Begun {
        if let Some(begun) = self.look(&claim, rules).await {
            return begun;
        }
        let (answer, mut asked) = oneshot::channel();
        let (engine, its_rules) = (self.clone(), Arc::clone(rules));
        let meanwhile = Arc::new(Meanwhile::default());
        let seen = Arc::clone(&meanwhile);
        self.runtime.spawn(async move {
            let begun = Some(engine.decide(claim, &its_rules, &seen.heard).await);
            // Whoever drops it unread gives the key back.
            let handed = Handed { begun, runtime: engine.runtime.clone(), meanwhile: seen };
            if answer.send(handed).is_err() {
                tracing::debug!("whoever asked for a key went away");
            }
        });
        let patience = self.patience + rules.wait;
        let begun = match tokio::time::timeout(patience, &mut asked).await {
            Ok(Ok(mut handed)) => handed.begun.take().unwrap_or_else(|| away(rules)),
            Ok(Err(_)) => {
                tracing::error!("deciding about an idempotency key panicked: this is a bug");
                self.metrics.invariant_violated();
                Begun::Refused(Refusal::Unavailable)
            }
            // Not away: it may be that somebody's open transaction holds this key.
            Err(_) if meanwhile.heard.load(Ordering::Relaxed) => {
                Begun::Refused(Refusal::Unavailable)
            }
            Err(_) => away(rules),
        };
        // Before what was decided, or will be, finds nobody to take it.
        meanwhile.unguarded.store(matches!(begun, Begun::Unguarded), Ordering::Release);
        drop(asked);
        self.metrics.idempotency(&rules.name, word(&begun));
        begun
    }

    /// The answer that the cache has for this very request. Counts what it says.
    async fn look(&self, claim: &KeyClaim, rules: &Rules) -> Option<Begun> {
        let (looked, answer) = self.cache.as_ref()?.look(claim).await;
        self.metrics.idempotency_cache(&rules.name, looked.word());
        let begun = Begun::Replay(Box::new(answer?));
        self.metrics.idempotency(&rules.name, word(&begun));
        Some(begun)
    }

    /// What stands for the cache now: to be taken before the answer is read or written that is cached.
    fn cache_view(&self) -> Option<Arc<cache::View>> {
        self.cache.as_ref().and_then(Cache::view)
    }

    /// Caches what a run came to, once that is durable.
    fn cache_run(&self, view: Option<Arc<cache::View>>, lease: &KeyLease, verdict: &KeyVerdict) {
        if let (Some(cache), KeyVerdict::Completed(answer)) = (&self.cache, verdict) {
            cache.fill_run(view, lease, answer);
        }
    }

    /// Counts a request that was refused before its key was looked up.
    pub fn refused(&self, rules: &Rules, refusal: &Refusal) {
        self.metrics.idempotency(&rules.name, refusal.code());
    }

    async fn decide(&self, claim: KeyClaim, rules: &Arc<Rules>, heard: &AtomicBool) -> Begun {
        let deadline = Instant::now() + rules.wait;
        let mut rounds = 0;
        let mut look_again = LOOK_AGAIN;
        loop {
            let view = self.cache_view();
            let (asked, bid) = (Instant::now(), KeyBid::new(claim.clone()));
            let row = match self.gatherer.claim(bid.clone(), asked + self.patience, heard).await {
                Ok(KeyFound::Claimed(lease)) => return self.run(lease, rules, asked),
                Ok(KeyFound::Row(row)) => row,
                Err(error) => {
                    tracing::warn!(gateway = %rules.name, error = %error, cause = ?std::error::Error::source(&error), "an idempotency key can't be claimed");
                    // Whoever runs unguarded may run now: then nobody knows what became of this key.
                    if error.is_fate_unknown() && !rules.fail_open {
                        self.unclaimed.note(bid.claim.id, bid.epoch);
                    }
                    return undecided(&error, rules);
                }
            };
            heard.store(true, Ordering::Relaxed);
            if row.request_hash != claim.request_hash {
                return Begun::Refused(Refusal::Reused);
            }
            match row.state {
                KeyState::Completed(answer) if answer.body.is_none() => {
                    return Begun::Refused(Refusal::NotStored(answer.status));
                }
                KeyState::Completed(answer) => {
                    if let Some(cache) = &self.cache {
                        cache.fill_row(view, &claim, row.expires_at, &answer);
                    }
                    return Begun::Replay(Box::new(answer));
                }
                KeyState::Running { .. } => {
                    if Instant::now() + look_again >= deadline {
                        return Begun::Refused(Refusal::InProgress);
                    }
                    tokio::time::sleep(look_again).await;
                    look_again = (look_again * 2).min(LOOK_AGAIN_MAX);
                    continue;
                }
                KeyState::Lapsed | KeyState::Uncertain if may_take_over(rules) => {
                    let asked = Instant::now();
                    match self.store.take_key_over(claim.clone(), row.epoch).await {
                        Ok(Some(lease)) => return self.run(lease, rules, asked),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(gateway = %rules.name, error = %error, "an idempotency key can't be taken over");
                            return undecided(&error, rules);
                        }
                    }
                }
                KeyState::Uncertain => return Begun::Refused(Refusal::Uncertain),
                KeyState::Lapsed => {
                    let why = "its lease ended before its answer came".to_owned();
                    match self.store.doubt_key(claim.id.clone(), row.epoch, why).await {
                        Ok(true) => return Begun::Refused(Refusal::Uncertain),
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(gateway = %rules.name, error = %error, "an idempotency key can't be held for uncertain");
                            return Begun::Refused(Refusal::Uncertain);
                        }
                    }
                }
                // Released between two statements: the next round claims it.
                KeyState::Released => {}
            }
            rounds += 1;
            if rounds >= ROUNDS {
                return Begun::Refused(Refusal::InProgress);
            }
        }
    }

    fn run(&self, lease: KeyLease, rules: &Arc<Rules>, asked: Instant) -> Begun {
        Begun::Run(Box::new(Run::new(self.clone(), lease, Arc::clone(rules), asked)))
    }
}

/// What who decides and who waits for it tell each other.
#[derive(Default)]
struct Meanwhile {
    /// The database said something of the key.
    heard: AtomicBool,
    /// The request runs unguarded.
    unguarded: AtomicBool,
}

/// A decision on its way to who asked for it: dropped on the way, what was claimed is given back, because nothing was
/// begun. But not when the request runs unguarded: then the lease lapses, and the rules decide what that means.
struct Handed {
    begun: Option<Begun>,
    runtime: Handle,
    meanwhile: Arc<Meanwhile>,
}

impl Drop for Handed {
    fn drop(&mut self) {
        let Some(Begun::Run(run)) = self.begun.take() else { return };
        if self.meanwhile.unguarded.load(Ordering::Acquire) {
            tracing::warn!("a request runs unguarded whose key was claimed after all, too late");
            return;
        }
        let giving = async move { run.give_back("its caller went away before it began").await };
        self.runtime.spawn(giving);
    }
}

/// Whether a run that nobody heard of again may be run anew.
fn may_take_over(rules: &Rules) -> bool {
    rules.effect == Effect::Transactional || rules.on_unknown == OnUnknown::Rerun
}

/// What a failure of the store means for a request. Only a store that is away lets anybody run unguarded: a key that
/// somebody's open transaction holds may be being run, and of one that can't be read nobody knows.
fn undecided(error: &StoreError, rules: &Rules) -> Begun {
    if error.is_lock_timeout() {
        Begun::Refused(Refusal::InProgress)
    } else if error.is_transient() {
        away(rules)
    } else {
        Begun::Refused(Refusal::Unavailable)
    }
}

fn away(rules: &Rules) -> Begun {
    if rules.fail_open { Begun::Unguarded } else { Begun::Refused(Refusal::Unavailable) }
}

/// How a decision is counted.
fn word(begun: &Begun) -> &'static str {
    match begun {
        Begun::Run(_) => "run",
        Begun::Replay(_) => "replayed",
        Begun::Refused(refusal) => refusal.code(),
        Begun::Unguarded => "unguarded",
    }
}
