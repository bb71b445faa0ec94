//! Settling in group commit: take one, drain what waits, commit, answer.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::store::{Settled, Settlement, Store, StoreError};

/// The most settlements of one commit.
const BATCH_MAX: usize = 128;

/// Settlements that may wait; beyond it calls wait for room, which claims nothing more meanwhile.
const QUEUE_MAX: usize = 1024;

/// How long the settler waits before it tries a failed commit again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

struct Waiting {
    settlement: Settlement,
    answer: oneshot::Sender<Result<Settled, StoreError>>,
}

/// Hands settlements to the one task that commits them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Settler {
    queue: mpsc::Sender<Waiting>,
}

impl Settler {
    /// Starts the task; it ends when every clone is dropped and the queue is empty.
    pub(super) fn start(store: Store, tracker: &TaskTracker) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tracker.spawn(run(waiting, store));
        Self { queue }
    }

    /// Settles, and returns when it is durable. Tries again while the database takes nothing: only
    /// then is the work of the handler not lost.
    pub(super) async fn settle(&self, settlement: Settlement) -> Result<Settled, StoreError> {
        let mut pauses = PAUSES.iter().chain(std::iter::repeat(&PAUSES[3]));
        loop {
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting { settlement: settlement.clone(), answer };
            let settled = match self.queue.send(waiting).await {
                Ok(()) => answered.await.unwrap_or_else(|_| Err(gone())),
                Err(_) => Err(gone()),
            };
            // What waited for a row that is held comes behind those that were only in its batch.
            let held_up = settled.as_ref().is_err_and(StoreError::is_held_up);
            match settled {
                Err(StoreError::Transient(error)) => {
                    tracing::warn!(delivery.id = %settlement.delivery, error = %error, "a delivery could not be settled now; trying again");
                    let pause = pauses.next().copied().filter(|_| !held_up).unwrap_or(PAUSES[3]);
                    tokio::time::sleep(pause).await;
                }
                settled => return settled,
            }
        }
    }
}

fn gone() -> StoreError {
    StoreError::Invariant("the settling task has ended before its callers".to_owned())
}

async fn run(mut waiting: mpsc::Receiver<Waiting>, store: Store) {
    while let Some(first) = waiting.recv().await {
        let mut answers = vec![first.answer];
        let mut batch = vec![first.settlement];
        while batch.len() < BATCH_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            answers.push(next.answer);
            batch.push(next.settlement);
        }
        let settled = store.settle_batch(batch).await;
        for (answer, settled) in answers.into_iter().zip(settled) {
            if answer.send(settled).is_err() {
                tracing::debug!("a call did not wait for its settlement");
            }
        }
    }
}
