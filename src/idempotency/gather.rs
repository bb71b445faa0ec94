//! Group commit: claims of concurrent requests in one statement, ends of concurrent runs in another.
//!
//! Take one, drain what waits, commit, answer, as recording and settling do. No artificial delay: while a batch
//! commits, the next one gathers, and a lone request is a batch of one.
//!
//! What a batch doesn't answer, and each of a batch that was refused, is asked for by itself, by its own
//! caller: one row that the database won't take, or that somebody holds, costs the others a round trip.

use std::collections::HashMap;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::store::idempotency::{
    KEY_BATCH_MAX, KeyBid, KeyClaim, KeyFound, KeyId, KeyLease, KeySettled, KeyVerdict,
};
use crate::store::{Store, StoreError};

/// A batch takes no further end once it holds this many bytes of answers: many large ones would hold up the
/// small ones behind them.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Claims, and ends, that may wait. Beyond it callers wait for room, for as long as they wait for the store.
const QUEUE_MAX: usize = 1024;

/// What a batch says to one of it; `None`: ask by yourself.
type Answer<T> = oneshot::Sender<Option<Result<T, StoreError>>>;

/// What waits for a batch.
#[derive(Debug)]
struct Waiting<W, T> {
    wish: W,
    answer: Answer<T>,
}

type Bidding = Waiting<KeyBid, KeyFound>;
type Ending = Waiting<(KeyLease, KeyVerdict), KeySettled>;

/// Hands claims and ends to the two tasks that commit them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Gatherer {
    store: Store,
    bids: mpsc::Sender<Bidding>,
    ends: mpsc::Sender<Ending>,
}

impl Gatherer {
    /// Starts the tasks; they end when every clone is dropped and their queues are empty.
    pub(super) fn start(store: Store, runtime: &Handle) -> Self {
        let (bids, bidding) = mpsc::channel(QUEUE_MAX);
        let (ends, ending) = mpsc::channel(QUEUE_MAX);
        runtime.spawn(claim(bidding, store.clone()));
        runtime.spawn(settle(ending, store.clone()));
        Self { store, bids, ends }
    }

    /// Claims a key, as [`Store::claim_key`] does, waiting at most `patience` for room.
    pub(super) async fn claim(
        &self,
        claim: KeyClaim,
        patience: Duration,
    ) -> Result<KeyFound, StoreError> {
        let bid = KeyBid::new(claim);
        // Once it is sent it is waited for: what it came to must be known, so that it can be given back.
        let found = match tokio::time::timeout(patience, self.bids.reserve()).await {
            Ok(Ok(room)) => sent(room, bid.clone()).await,
            Ok(Err(_)) => None,
            Err(_) => return Err(StoreError::crowded()),
        };
        match found {
            Some(found) => found,
            // A batch may have committed it all the same: then it is known by its epoch.
            None => self.store.bid_for_key(bid, true).await,
        }
    }

    /// Ends a run, as [`Store::settle_key`] does.
    pub(super) async fn settle(
        &self,
        lease: KeyLease,
        verdict: KeyVerdict,
    ) -> Result<KeySettled, StoreError> {
        let settled = match self.ends.reserve().await {
            Ok(room) => sent(room, (lease.clone(), verdict.clone())).await,
            Err(_) => None,
        };
        match settled {
            Some(settled) => settled,
            None => self.store.settle_key(lease, verdict).await,
        }
    }
}

/// What a batch says to a wish.
async fn sent<W, T>(
    room: mpsc::Permit<'_, Waiting<W, T>>,
    wish: W,
) -> Option<Result<T, StoreError>> {
    let (answer, answered) = oneshot::channel();
    room.send(Waiting { wish, answer });
    // A task that ended with its runtime says nothing.
    answered.await.ok().flatten()
}

async fn claim(mut waiting: mpsc::Receiver<Bidding>, store: Store) {
    let mut left = Vec::new();
    while let Some(batch) = gather(left, &mut waiting, |_| 0).await {
        left = claim_batch(batch, &store).await;
    }
}

/// Claims, and returns who has to come again.
async fn claim_batch(batch: Vec<Bidding>, store: &Store) -> Vec<Bidding> {
    let Split { first, others } = Split::of(batch, |bid| &bid.claim.id);
    let bids = first.iter().map(|one| one.wish.clone()).collect();
    match store.bid_for_keys(bids).await {
        Ok(found) => {
            let mut left = Vec::new();
            for (at, other) in others {
                match found.get(at) {
                    // The statement began after all of them had come, so what it found holds for each.
                    Some(Some(KeyFound::Row(row))) if !row.is_free_for(&other.wish.claim) => {
                        tell(other.answer, Some(Ok(KeyFound::Row(row.clone()))));
                    }
                    _ => left.push(other),
                }
            }
            for (one, found) in first.into_iter().zip(found) {
                tell(one.answer, found.map(Ok));
            }
            left
        }
        Err(error) => {
            tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), keys = first.len(), "idempotency keys can't be claimed together");
            fail(first.into_iter().chain(others.into_iter().map(|(_, other)| other)), &error);
            Vec::new()
        }
    }
}

async fn settle(mut waiting: mpsc::Receiver<Ending>, store: Store) {
    let mut left = Vec::new();
    while let Some(batch) = gather(left, &mut waiting, |(_, verdict)| size(verdict)).await {
        let Split { first, others } = Split::of(batch, |(lease, _)| &lease.id);
        let ends = first.iter().map(|one| one.wish.clone()).collect();
        match store.settle_keys(ends).await {
            Ok(settled) => {
                for (one, settled) in first.into_iter().zip(settled) {
                    tell(one.answer, settled.map(Ok));
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), keys = first.len(), "the ends of runs can't be written down together");
                fail(first, &error);
            }
        }
        left = others.into_iter().map(|(_, other)| other).collect();
    }
}

/// The bytes of the answer that a verdict writes.
fn size(verdict: &KeyVerdict) -> usize {
    match verdict {
        KeyVerdict::Completed(answer) => answer.body.as_ref().map_or(0, bytes::Bytes::len),
        KeyVerdict::Released(_) | KeyVerdict::Uncertain(_) => 0,
    }
}

/// Who was left of the batch before, or else the next one, with what waits. `None` when all callers are gone.
async fn gather<W, T>(
    left: Vec<Waiting<W, T>>,
    waiting: &mut mpsc::Receiver<Waiting<W, T>>,
    size: impl Fn(&W) -> usize,
) -> Option<Vec<Waiting<W, T>>> {
    let mut batch = left;
    if batch.is_empty() {
        batch.push(waiting.recv().await?);
    }
    let mut bytes: usize = batch.iter().map(|one| size(&one.wish)).sum();
    while batch.len() < KEY_BATCH_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += size(&next.wish);
        batch.push(next);
    }
    Some(batch)
}

/// A batch, each key once, and who wants one of these keys, too, with its place.
struct Split<W, T> {
    first: Vec<Waiting<W, T>>,
    others: Vec<(usize, Waiting<W, T>)>,
}

impl<W, T> Split<W, T> {
    fn of(batch: Vec<Waiting<W, T>>, id: fn(&W) -> &KeyId) -> Self {
        let mut places: HashMap<KeyId, usize> = HashMap::with_capacity(batch.len());
        let mut split = Self { first: Vec::with_capacity(batch.len()), others: Vec::new() };
        for one in batch {
            let next = split.first.len();
            let at = *places.entry(id(&one.wish).clone()).or_insert(next);
            if at == next {
                split.first.push(one);
            } else {
                split.others.push((at, one));
            }
        }
        split
    }
}

/// Each may still be done by itself, or the database is away for all of them.
fn fail<W, T>(batch: impl IntoIterator<Item = Waiting<W, T>>, error: &StoreError) {
    for one in batch {
        tell(one.answer, (!error.is_refusal()).then(|| Err(error.again())));
    }
}

fn tell<T>(to: Answer<T>, said: Option<Result<T, StoreError>>) {
    if to.send(said).is_err() {
        tracing::debug!("whoever handed in an idempotency key did not wait for it");
    }
}
