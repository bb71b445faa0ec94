//! Group commit: take one, drain what waits, commit, answer. No artificial delay: while a batch
//! commits, the next one gathers.

use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::births::Cradle;
use super::{RecorderParts, Waiting};
use crate::store::record::BATCH_EVENTS_MAX;
use crate::store::{NewEvent, Recorded, StoreError};

/// A batch takes no further event once it holds this many bytes of bodies: a statement of many
/// large bodies would hold up the small ones behind it.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records what is submitted until `closing`, then what is left in the queue.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Waiting>,
    parts: RecorderParts,
    closing: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            first = waiting.recv() => first,
            () = closing.cancelled() => break,
        };
        let Some(first) = first else { return };
        commit(gather(first, &mut waiting), &parts).await;
    }
    // Nothing new is taken, and what was taken is finished.
    waiting.close();
    while let Some(first) = waiting.recv().await {
        commit(gather(first, &mut waiting), &parts).await;
    }
}

fn gather(first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut bytes = first.event.verified.body().len();
    let mut batch = vec![first];
    while batch.len() < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += next.event.verified.body().len();
        batch.push(next);
    }
    batch
}

/// Who waits for an event of a batch, and what begins when it is durable.
struct Waiter {
    answer: oneshot::Sender<Result<Recorded, StoreError>>,
    cradle: Option<Cradle>,
    /// Whether a delivery of it is born pending.
    waits: bool,
    _bytes: OwnedSemaphorePermit,
}

async fn commit(batch: Vec<Waiting>, parts: &RecorderParts) {
    let rows = batch.len();
    let mut events: Vec<NewEvent> = Vec::with_capacity(rows);
    let mut waiters = Vec::with_capacity(rows);
    for Waiting { mut event, answer, _bytes } in batch {
        let cradle = parts.births.as_ref().and_then(|births| births.lease(&mut event));
        let waits = event.deliveries.iter().any(|delivery| delivery.lease.is_none());
        events.push(event);
        waiters.push(Waiter { answer, cradle, waits, _bytes });
    }
    let begun = Instant::now();
    let recorded = parts.store.record_batch(events).await;
    parts.metrics.commit(begun.elapsed(), rows);

    let mut some_wait = false;
    for (waiter, recorded) in waiters.into_iter().zip(recorded) {
        match &recorded {
            Ok(Recorded::Fresh { .. }) => some_wait |= waiter.waits,
            Ok(Recorded::Duplicate { .. }) => {}
            Err(StoreError::Invariant(what)) => {
                parts.metrics.invariant_violated();
                tracing::error!(invariant = %what, "an invariant is violated: {what}");
            }
            Err(StoreError::Transient(error)) => {
                tracing::warn!(error = %error, "the database did not take an event now: {error}");
            }
            Err(
                error
                @ (StoreError::Broken(_) | StoreError::Unreadable(_) | StoreError::Invalid(_)),
            ) => {
                tracing::error!(error = %error, cause = ?std::error::Error::source(error), "the database refused an event");
            }
        }
        let begins = waiter.cradle.zip(recorded.as_ref().ok().copied());
        if waiter.answer.send(recorded).is_err() {
            tracing::debug!("the sender had left before its event was recorded");
        }
        if let (Some(births), Some((cradle, recorded))) = (&parts.births, begins) {
            births.begin(cradle, &recorded);
        }
    }
    if some_wait {
        parts.wake.notify_one();
    }
}
