//! Recording: the one place where an event becomes durable, and the one where a duplicate is known.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::checkpoint;
use super::connect::Database;
use super::error::StoreError;
use super::{NewDelivery, NewEvent, Recorded, Store};

mod postgres;
mod sqlite;

/// The most events of one statement, but for one larger submission by itself. Callers hand over no more.
pub const BATCH_EVENTS_MAX: usize = 256;

/// Other bodies kept for one id. A sender that signs endless different bodies under one id fills no disk.
const CONFLICTS_MAX: i64 = 8;

/// How often a batch is begun again because a known key was deleted between the two statements, or
/// because the connection was lost and the event turned out not to be stored.
const ROUNDS_MAX: u32 = 3;

/// Encodes a batch as the parameters of the PostgreSQL statement. Public for the micro-benchmarks.
pub fn encode_for_postgres(
    batch: &[&NewEvent],
) -> Result<sqlx::postgres::PgArguments, sqlx::error::BoxDynError> {
    postgres::arguments(batch, &Suspects::new())
}

/// The PostgreSQL statement that records such a batch. Public for the plan tests.
#[must_use]
pub fn statement_for_postgres(batch: &[&NewEvent]) -> &'static str {
    postgres::statement_for(batch)
}

/// A row that was there before this copy of its event.
#[derive(Debug, Clone)]
struct Known {
    id: Uuid,
    event_id: String,
    digest: Vec<u8>,
    received_at: DateTime<Utc>,
}

impl Store {
    /// The same tables for the runtime that this is called on, such as that of an HTTP worker's thread: what is recorded
    /// by it goes over a connection of its own, and no other thread is woken for it. `None` on SQLite, where one writer
    /// does everything.
    ///
    /// When that runtime ends early, what is under way fails as transient. Dropped, not closed.
    #[must_use]
    pub fn near(&self) -> Option<Self> {
        let Database::Postgres(postgres) = &*self.database else { return None };
        let database = Arc::new(Database::Postgres(Box::new(postgres.near())));
        Some(Self {
            database,
            groups: Arc::clone(&self.groups),
            fronts: Arc::clone(&self.fronts),
            runtime: Handle::current(),
        })
    }

    /// Records a batch in one commit and returns one answer per input, in order.
    ///
    /// As [`Store::record_submissions`], where each event was submitted by itself.
    pub async fn record_batch(&self, batch: Vec<NewEvent>) -> Vec<Result<Recorded, StoreError>> {
        let sizes = vec![1; batch.len()];
        self.record_submissions(batch, sizes).await
    }

    /// Records a batch in one commit and returns one answer per input, in order. `sizes` says how many
    /// events each submission has; those of one are recorded together or not at all.
    ///
    /// An `Ok` is durable. At most [`BATCH_EVENTS_MAX`] events, but for one larger submission by
    /// itself. Copies of one event within the batch become one row. When the database refuses the
    /// batch for what is in it, each submission is recorded alone, so that one with a bad row fails
    /// alone. When the connection is lost while the statement runs, the keys are looked up on a fresh
    /// one: what is found is durable, and what isn't is tried once more or reported as transient,
    /// never as recorded.
    ///
    /// Cancel-safe: dropping the future stops nothing; the batch is recorded whole or not at all.
    pub async fn record_submissions(
        &self,
        batch: Vec<NewEvent>,
        sizes: Vec<usize>,
    ) -> Vec<Result<Recorded, StoreError>> {
        let events = batch.len();
        let (groups, fronts) = (Arc::clone(&self.groups), Arc::clone(&self.fronts));
        let runtime = self.runtime.clone();
        let done = self
            .detached_long(|database| async move {
                let batch: Vec<&NewEvent> = batch.iter().collect();
                groups.keep(&database, &batch).await;
                let answers = record(&database, &batch, &sizes).await;
                if let Database::Postgres(_) = &*database {
                    fronts.recorded(&batch);
                }
                checkpoint::recorded(&database, &batch, &runtime);
                Ok(answers)
            })
            .await;
        match done {
            Ok(answers) => answers,
            Err(error) => {
                let text = error.to_string();
                let transient = error.is_transient();
                (0..events)
                    .map(|_| {
                        Err(if transient {
                            StoreError::Transient(sqlx::Error::PoolClosed)
                        } else {
                            StoreError::Invariant(text.clone())
                        })
                    })
                    .collect()
            }
        }
    }
}

async fn record(
    database: &Arc<Database>,
    batch: &[&NewEvent],
    sizes: &[usize],
) -> Vec<Result<Recorded, StoreError>> {
    match record_together(database, batch).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if !error.is_transient() && sizes.len() > 1 => {
            tracing::warn!(batch.events = batch.len(), error = %describe(&error),
                "the database refused a batch; recording what was submitted one by one");
            let mut answers = Vec::with_capacity(batch.len());
            let mut rest = batch;
            for size in sizes {
                let (submission, others) = rest.split_at((*size).min(rest.len()));
                rest = others;
                match record_together(database, submission).await {
                    Ok(recorded) => answers.extend(recorded.into_iter().map(Ok)),
                    Err(error) => answers.extend(share(error, submission.len())),
                }
            }
            answers
        }
        Err(error) => share(error, batch.len()),
    }
}

/// Records all or fails as a whole.
///
/// An event whose signed bytes are there under another id is not recorded in the first round, because
/// they are unique in their source, and so neither is the second of two that come at once. Marked, and
/// without them, it is recorded in the next.
async fn record_together(
    database: &Database,
    batch: &[&NewEvent],
) -> Result<Vec<Recorded>, StoreError> {
    let mut answers: Vec<Option<Recorded>> = vec![None; batch.len()];
    let mut suspects = Suspects::new();
    let mut round = 0;
    loop {
        let open: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter_map(|(at, answer)| answer.is_none().then_some(at))
            .collect();
        if open.is_empty() {
            break;
        }
        if round == ROUNDS_MAX {
            return Err(StoreError::Transient(sqlx::Error::Protocol(
                "a key was deleted again and again while its event came in".to_owned(),
            )));
        }
        round += 1;
        let events: Vec<&NewEvent> = open.iter().filter_map(|at| batch.get(*at).copied()).collect();
        let recorded = match database {
            Database::Postgres(it) => postgres::record(it, &events, &mut suspects).await,
            Database::Sqlite(it) => sqlite::record(it, &events, &mut suspects).await,
        };
        match recorded {
            Ok(recorded) => {
                for (at, answer) in open.into_iter().zip(recorded) {
                    if let Some(slot) = answers.get_mut(at) {
                        *slot = answer;
                    }
                }
            }
            // Whether it was committed is unknown. The next round finds our own ids when it was.
            Err(error) if error.is_fate_unknown() && round == 1 => {
                tracing::warn!(error = %describe(&error), batch.events = events.len(),
                    "the connection was lost while a batch was recorded; looking its keys up");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Events that may be replays, each with the event that had their signed bytes before.
type Suspects = HashMap<Uuid, Uuid>;

/// The digest under which a later event with the same signed bytes is known; a suspect has none, so
/// that the first one keeps it.
fn signed_digest<'a>(event: &'a NewEvent, suspects: &Suspects) -> Option<&'a [u8]> {
    let guard = event.verified.identity().replay.as_ref()?;
    (!suspects.contains_key(&event.id)).then_some(&guard.digest[..])
}

/// Whether one of these events may be a replay: the others need no look at the index of digests.
fn is_guarded(batch: &[&NewEvent]) -> bool {
    batch.iter().any(|event| event.verified.identity().replay.is_some())
}

/// What becomes of an event whose signed bytes `earlier` has: refused, or recorded in the next round.
fn suspect(event: &NewEvent, earlier: Uuid, suspects: &mut Suspects) -> Option<Recorded> {
    if event.verified.identity().replay.is_some_and(|guard| guard.reject) {
        return Some(Recorded::Replay { of: earlier });
    }
    suspects.insert(event.id, earlier);
    None
}

/// The first copy of each event, in the order of their keys.
fn leaders<'a>(batch: &[&'a NewEvent]) -> Vec<&'a NewEvent> {
    let mut first = batch.to_vec();
    // Stable: of several copies the first one in the batch stays in front, and is the one that is kept.
    first.sort_by_key(|event| event.verified.identity().dedupe_key);
    first.dedup_by_key(|event| event.verified.identity().dedupe_key);
    first
}

/// The deliveries that are made with these events, each with its event's id.
fn births<'a>(events: &[&'a NewEvent]) -> Vec<(&'a NewEvent, &'a NewDelivery)> {
    let of = |event: &&'a NewEvent| {
        let event = *event;
        event.deliveries.iter().map(move |delivery| (event, delivery))
    };
    let mut births: Vec<_> = events.iter().flat_map(of).collect();
    if births.iter().any(|(_, delivery)| delivery.lane.is_some()) {
        // Leaders come in the order of their keys; a lane is in the order in which its events came.
        births.sort_by_key(|(event, _)| event.id);
    }
    births
}

/// Whether one of these events has a delivery in a lane: the others need no look at lanes.
fn is_laned(batch: &[&NewEvent]) -> bool {
    batch.iter().flat_map(|event| &event.deliveries).any(|delivery| delivery.lane.is_some())
}

/// What a copy is, beside the row that was there.
///
/// The row may be our own: recorded by an earlier round whose answer was lost.
fn compare(event: &NewEvent, known: &Known, suspects: &Suspects) -> Result<Recorded, StoreError> {
    let identity = event.verified.identity();
    if known.event_id != identity.event_id {
        return Err(StoreError::Invariant(format!(
            "two ids share a dedupe key: {:?} came and {:?} was there",
            identity.event_id, known.event_id
        )));
    }
    if known.id == event.id {
        let replay_of = suspects.get(&event.id).copied();
        return Ok(Recorded::Fresh { event: event.id, received_at: known.received_at, replay_of });
    }
    Ok(Recorded::Duplicate { event: known.id, conflict: known.digest != identity.digest })
}

fn share(error: StoreError, events: usize) -> Vec<Result<Recorded, StoreError>> {
    let text = describe(&error);
    let transient = error.is_transient();
    let mut answers = vec![Err(error)];
    answers.extend((1..events).map(|_| {
        let inner = sqlx::Error::Protocol(text.clone());
        Err(if transient { StoreError::Transient(inner) } else { StoreError::Broken(inner) })
    }));
    answers
}

fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
