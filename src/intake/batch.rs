//! Group commit: take one, drain what waits, commit, answer. No artificial delay: while a batch
//! commits, the next one gathers.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::births::Cradle;
use super::desk::{Desk, Letter, Post};
use super::pressure::Pressure;
use super::{Held, RecorderParts, Submitted, Waiting};
use crate::store::record::BATCH_EVENTS_MAX;
use crate::store::{NewEvent, Recorded, StoreError};

/// A batch takes no further event once it holds this many bytes of bodies: a statement of many
/// large bodies would hold up the small ones behind it.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records what is submitted until `closing`, then what is left in the queue.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Waiting>,
    mut pressure: Pressure,
    parts: Arc<RecorderParts>,
    closing: CancellationToken,
) {
    // What didn't fit into the batch before.
    let mut next: Option<Waiting> = None;
    loop {
        let first = match next.take() {
            Some(first) => Some(first),
            None => tokio::select! {
                first = waiting.recv() => first,
                () = closing.cancelled() => break,
            },
        };
        let Some(first) = first else { return };
        let waited = first.since.elapsed();
        let batch = gather(first, &mut waiting, &mut next);
        let (size, left) = (batch.len(), next.is_some() || !waiting.is_empty());
        if commit(batch, &parts).await {
            pressure.committed(Instant::now(), size, waited, left);
        } else {
            pressure.forget();
        }
    }
    // Nothing new is taken, and what was taken is finished.
    waiting.close();
    loop {
        let first = match next.take() {
            Some(first) => Some(first),
            None => waiting.recv().await,
        };
        let Some(first) = first else { return };
        commit(gather(first, &mut waiting, &mut next), &parts).await;
    }
}

/// What goes into one commit. A submission of many events that would make it too large comes `next`:
/// one that is too large by itself has a commit of its own.
fn gather(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
    next: &mut Option<Waiting>,
) -> Vec<Waiting> {
    let (mut events, mut bytes) = first.submitted.size();
    let mut batch = vec![first];
    while events < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(other) = waiting.try_recv() else { break };
        let (more_events, more_bytes) = other.submitted.size();
        if events + more_events > BATCH_EVENTS_MAX {
            *next = Some(other);
            break;
        }
        events += more_events;
        bytes += more_bytes;
        batch.push(other);
    }
    batch
}

impl Submitted {
    /// Whether it is one event, and in no lane.
    pub(super) fn is_simple(&self) -> bool {
        let Self::One(event, _) = self else { return false };
        event.deliveries.iter().all(|delivery| delivery.lane.is_none())
    }

    /// How many events, and bytes of their bodies.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::One(event, _) => (1, event.verified.body().len()),
            Self::Many(events, _) => {
                (events.len(), events.iter().map(|event| event.verified.body().len()).sum())
            }
        }
    }
}

/// Who waits for events of a batch, and what begins when they are durable.
struct Waiter {
    answer: Answer,
    desk: Desk,
    /// Whether a delivery of them is born pending.
    waits: bool,
    _held: Held,
}

enum Answer {
    One(oneshot::Sender<Result<Recorded, StoreError>>, Option<Cradle>),
    Many(oneshot::Sender<Result<Vec<Recorded>, StoreError>>, Vec<Option<Cradle>>),
}

/// Commits what was submitted, answers it, and begins what is born leased. False when the database was away.
pub(super) async fn commit(batch: Vec<Waiting>, parts: &RecorderParts) -> bool {
    let mut events: Vec<NewEvent> = Vec::with_capacity(batch.len());
    let mut sizes = Vec::with_capacity(batch.len());
    let mut waiters = Vec::with_capacity(batch.len());
    let waits = |event: &NewEvent| event.deliveries.iter().any(|delivery| delivery.lease.is_none());
    let lease = |event: &mut NewEvent| parts.births.as_ref().and_then(|births| births.lease(event));
    for Waiting { submitted, desk, since: _, held } in batch {
        match submitted {
            Submitted::One(mut event, answer) => {
                let answer = Answer::One(answer, lease(&mut event));
                waiters.push(Waiter { answer, desk, waits: waits(&event), _held: held });
                sizes.push(1);
                events.push(event);
            }
            Submitted::Many(mut many, answer) => {
                let answer = Answer::Many(answer, many.iter_mut().map(lease).collect());
                let waits = many.iter().any(waits);
                waiters.push(Waiter { answer, desk, waits, _held: held });
                sizes.push(many.len());
                events.extend(many);
            }
        }
    }
    let rows = events.len();
    let begun = Instant::now();
    let recorded = parts.store.record_submissions(events, sizes).await;
    parts.metrics.commit(begun.elapsed(), rows);
    let there = recorded.iter().all(|one| !matches!(one, Err(StoreError::Transient(_))));
    let mut recorded = recorded.into_iter();

    let mut some_wait = false;
    let mut post = Post::default();
    let mut begins: Vec<(Cradle, Recorded)> = Vec::new();
    for Waiter { answer, desk, waits, _held } in waiters {
        let fresh = match answer {
            Answer::One(to, cradle) => {
                // There is an answer for each event. Without one nobody is told that it is durable.
                let Some(recorded) = recorded.next() else { break };
                let fresh = matches!(recorded, Ok(Recorded::Fresh { .. }));
                begins.extend(cradle.zip(recorded.as_ref().ok().copied()));
                note(parts, &recorded);
                post.add(desk, Letter::One(to, recorded));
                fresh
            }
            Answer::Many(to, cradles) => {
                let each: Vec<_> = recorded.by_ref().take(cradles.len()).collect();
                if each.len() < cradles.len() {
                    break;
                }
                let all: Result<Vec<Recorded>, StoreError> = each.into_iter().collect();
                let known = all.as_deref().unwrap_or_default();
                let fresh = known.iter().any(|one| matches!(one, Recorded::Fresh { .. }));
                let born = cradles.into_iter().zip(known);
                begins.extend(born.filter_map(|(cradle, recorded)| Some((cradle?, *recorded))));
                note(parts, &all);
                post.add(desk, Letter::Many(to, all));
                fresh
            }
        };
        some_wait |= fresh && waits;
    }
    // The senders first: their deadline is shorter than any handler's.
    post.send();
    begin(parts, begins);
    if some_wait {
        parts.wake.notify_one();
    }
    there
}

/// Logs what went wrong.
fn note<T>(parts: &RecorderParts, recorded: &Result<T, StoreError>) {
    match recorded {
        Ok(_) => {}
        Err(StoreError::Invariant(what)) => {
            parts.metrics.invariant_violated();
            tracing::error!(invariant = %what, "an invariant is violated: {what}");
        }
        Err(StoreError::Transient(error)) => {
            tracing::warn!(error = %error, "the database did not take an event now: {error}");
        }
        Err(
            error @ (StoreError::Broken(_)
            | StoreError::Unreadable(_)
            | StoreError::Invalid(_)
            | StoreError::Apart),
        ) => {
            tracing::error!(error = %error, cause = ?std::error::Error::source(error), "the database refused an event");
        }
    }
}

/// Begins what was born leased and is durable now.
fn begin(parts: &RecorderParts, begins: impl IntoIterator<Item = (Cradle, Recorded)>) {
    let Some(births) = &parts.births else { return };
    for (cradle, recorded) in begins {
        births.begin(cradle, &recorded);
    }
}
