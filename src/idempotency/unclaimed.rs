//! Claims that may have been committed without anybody's knowing: they are given back when the database answers again.
//!
//! Nothing ran under such a claim. Left alone, its key would be taken until its lease is over and uncertain from then on.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::store::Store;
use crate::store::idempotency::{KeyId, KeySettled};

/// The most that are remembered, and the most that wait to be.
const KEPT_MAX: usize = 4096;
const QUEUE_MAX: usize = 1024;

/// Between two tries of one, doubled each time that the database knows nothing of it; and before the first.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long after it a statement may still be done that was sent and not answered: it waits for a lock, or its
/// packets for a way. What nothing is known of for as long was never committed.
const DELAYED_MAX: Duration = Duration::from_secs(60);

/// Where such claims are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Unclaimed(mpsc::Sender<Claim>);

/// A key, and the epoch of the claim.
type Claim = (KeyId, i64);

struct Stray {
    claim: Claim,
    since: Instant,
    wait: Duration,
    next: Instant,
}

impl Unclaimed {
    /// Starts the task that gives them back; it ends with the last clone.
    pub(super) fn start(store: Store, runtime: &Handle) -> Self {
        let (hand_in, claims) = mpsc::channel(QUEUE_MAX);
        runtime.spawn(give_back(claims, store));
        Self(hand_in)
    }

    /// Remembers a claim whose commit nobody saw, and under which nothing ran or will run.
    pub(super) fn note(&self, key: KeyId, epoch: i64) {
        if self.0.try_send((key, epoch)).is_err() {
            tracing::warn!(
                "too many claims got no answer: a key may be taken until its lease is over, and uncertain from then on"
            );
        }
    }
}

async fn give_back(mut claims: mpsc::Receiver<Claim>, store: Store) {
    let mut kept: Vec<Stray> = Vec::new();
    loop {
        if kept.is_empty() {
            let Some(claim) = claims.recv().await else { return };
            kept.push(Stray::new(claim));
        }
        while kept.len() < KEPT_MAX
            && let Ok(claim) = claims.try_recv()
        {
            kept.push(Stray::new(claim));
        }
        if claims.is_closed() {
            tracing::warn!(
                keys = kept.len(),
                "the end came before some claims without an answer could be given back"
            );
            return;
        }
        tokio::time::sleep(TRY_AGAIN).await;
        kept = try_all(kept, &store).await;
    }
}

/// Tries those whose time has come, and returns who has to come again.
async fn try_all(kept: Vec<Stray>, store: &Store) -> Vec<Stray> {
    let mut left = Vec::with_capacity(kept.len());
    let mut kept = kept.into_iter();
    for stray in kept.by_ref() {
        if stray.next > Instant::now() {
            left.push(stray);
            continue;
        }
        match store.withdraw_key(stray.claim.0.clone(), stray.claim.1).await {
            Ok(KeySettled::Done) => {
                tracing::info!("a key was given back whose claim had got no answer");
            }
            Ok(KeySettled::LeaseLost) if stray.since.elapsed() >= DELAYED_MAX => {}
            Ok(KeySettled::LeaseLost) => left.push(stray.later()),
            // Somebody holds this one's row.
            Err(error) if error.is_lock_timeout() => left.push(stray.later()),
            // Still away: the others would wait in vain, too.
            Err(error) if error.is_transient() => {
                left.push(stray);
                break;
            }
            Err(error) => {
                tracing::warn!(error = %error, "a claim without an answer can't be given back");
            }
        }
    }
    left.extend(kept);
    left
}

impl Stray {
    fn new(claim: Claim) -> Self {
        let now = Instant::now();
        Self { claim, since: now, wait: TRY_AGAIN, next: now }
    }

    fn later(mut self) -> Self {
        self.wait *= 2;
        self.next = Instant::now() + self.wait;
        self
    }
}
