//! Group commit: claims of concurrent requests in one statement, ends of concurrent runs in another.
//!
//! Take one, drain what waits, commit, answer, as recording and settling do. No artificial delay: while a batch
//! commits, the next one gathers, and a lone request is a batch of one.
//!
//! What a batch doesn't answer, and each of a batch that was refused, is asked for by itself, by its own
//! caller: one row that the database won't take, or that somebody holds, costs the others a round trip.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::store::idempotency::{
    KEY_BATCH_MAX, KeyBid, KeyFound, KeyId, KeyLease, KeySettled, KeyVerdict,
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
    /// When nobody waits for it any longer; `None` for what has to be done however late.
    until: Option<Instant>,
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

    /// Claims a key, as [`Store::bid_for_key`] does. What isn't on its way to the database at `until` doesn't go any
    /// more: then the store is crowded. Sets `heard` when the database said anything of it, however little.
    pub(super) async fn claim(
        &self,
        bid: KeyBid,
        until: Instant,
        heard: &AtomicBool,
    ) -> Result<KeyFound, StoreError> {
        // Once it is sent it is waited for: what it came to must be known, so that it can be given back.
        let found = match tokio::time::timeout_at(until, self.bids.reserve()).await {
            Ok(Ok(room)) => sent(room, bid.clone(), Some(until)).await,
            Ok(Err(_)) => None,
            Err(_) => return Err(StoreError::crowded()),
        };
        if let Some(found) = found {
            return found;
        }
        heard.store(true, Ordering::Relaxed);
        // A batch may have committed it all the same: then it is known by its epoch.
        self.store.bid_for_key(bid, true).await
    }

    /// Ends a run, as [`Store::settle_key`] does.
    pub(super) async fn settle(
        &self,
        lease: KeyLease,
        verdict: KeyVerdict,
    ) -> Result<KeySettled, StoreError> {
        let settled = match self.ends.reserve().await {
            Ok(room) => sent(room, (lease.clone(), verdict.clone()), None).await,
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
    until: Option<Instant>,
) -> Option<Result<T, StoreError>> {
    let (answer, answered) = oneshot::channel();
    room.send(Waiting { wish, until, answer });
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
        Ok(found) => deal_out(first, others, found),
        Err(error) => {
            tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), keys = first.len(), "idempotency keys can't be claimed together");
            fail(first.into_iter().chain(others.into_iter().map(|(_, other)| other)), &error);
            Vec::new()
        }
    }
}

/// Tells each what was found, and returns who has to come again.
fn deal_out(
    first: Vec<Bidding>,
    others: Vec<(usize, Bidding)>,
    found: Vec<Option<KeyFound>>,
) -> Vec<Bidding> {
    let mut left = Vec::new();
    for (at, other) in others {
        match found.get(at) {
            // The statement began after all of them had come, so what it found holds for each.
            Some(Some(KeyFound::Row(row))) if !row.is_free_for(&other.wish.claim) => {
                tell(other.answer, Some(Ok(KeyFound::Row(row.clone()))));
            }
            // They find the run that begins, or get the key themselves.
            Some(Some(_)) => left.push(other),
            // No batch would have an answer for them either, and they would take the others' places in it.
            Some(None) | None => tell(other.answer, None),
        }
    }
    for (one, found) in first.into_iter().zip(found) {
        tell(one.answer, found.map(Ok));
    }
    left
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

/// Who was left of the batch before, or else the next one, with what waits. Whom nobody waits for any longer is told
/// that it is crowded. `None` when all callers are gone.
async fn gather<W, T>(
    left: Vec<Waiting<W, T>>,
    waiting: &mut mpsc::Receiver<Waiting<W, T>>,
    size: impl Fn(&W) -> usize,
) -> Option<Vec<Waiting<W, T>>> {
    let mut batch: Vec<_> = left.into_iter().filter_map(in_time).collect();
    while batch.is_empty() {
        batch.extend(in_time(waiting.recv().await?));
    }
    let mut bytes: usize = batch.iter().map(|one| size(&one.wish)).sum();
    while batch.len() < KEY_BATCH_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        let Some(next) = in_time(next) else { continue };
        bytes += size(&next.wish);
        batch.push(next);
    }
    Some(batch)
}

/// Itself while somebody waits for it; else it is told so.
fn in_time<W, T>(one: Waiting<W, T>) -> Option<Waiting<W, T>> {
    if one.until.is_none_or(|until| Instant::now() < until) {
        return Some(one);
    }
    tell(one.answer, Some(Err(StoreError::crowded())));
    None
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

#[cfg(test)]
mod tests;
