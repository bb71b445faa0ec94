//! A batch that can't be settled as a whole: without what is held, or each of it alone, and within bounds.

use std::time::Duration;

use tokio::time::Instant;

use super::{Rows, settle_together};
use crate::store::connect::{self, Database};
use crate::store::error::StoreError;
use crate::store::{Settled, Settlement};

/// How many of a batch may use up the time that a statement has: what is settled next waits for all of them.
const HELD_UP_MAX: usize = 2;

/// How long all of a batch that was held up may take together: a slow database would take its time for each.
const ALONE_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn settle(
    database: &Database,
    batch: &[Settlement],
    rows: Rows,
) -> Vec<Result<Settled, StoreError>> {
    match settle_together(database, batch, rows).await {
        Ok(answers) => answers.into_iter().map(|settled| told(settled, rows)).collect(),
        Err(error) if batch.len() == 1 => vec![Err(error)],
        // A row that somebody holds must not keep all the others from being settled for as long as he holds it.
        Err(error) if error.is_held_up() && rows == Rows::All => {
            Box::pin(settle(database, batch, Rows::Free)).await
        }
        Err(error) if !error.is_transient() || error.is_held_up() => {
            one_by_one(database, batch, rows).await
        }
        Err(error) => batch.iter().map(|_| Err(error.again())).collect(),
    }
}

async fn one_by_one(
    database: &Database,
    batch: &[Settlement],
    rows: Rows,
) -> Vec<Result<Settled, StoreError>> {
    let deadline = Instant::now() + ALONE_WITHIN;
    let mut answers = Vec::with_capacity(batch.len());
    let (mut away, mut held_up) = (None, 0);
    for one in batch {
        if away.is_none() && rows == Rows::Free && Instant::now() >= deadline {
            away = Some(StoreError::from(connect::no_answer()));
        }
        let alone = match &away {
            None => settle_together(database, std::slice::from_ref(one), rows).await,
            Some(error) => Err(StoreError::again(error)),
        };
        if let (None, Err(error)) = (&away, &alone) {
            held_up += usize::from(error.is_held_up());
            // A database that says nothing would take its time for each of them, and so would each that is held up.
            if !error.is_refusal() || held_up == HELD_UP_MAX {
                away = Some(error.again());
            }
        }
        let first = |settled: Vec<Settled>| settled.first().copied().unwrap_or(Settled::LeaseLost);
        answers.push(alone.map(first).and_then(|settled| told(settled, rows)));
    }
    answers
}

/// Who passes over what is held can't tell it from what is lost; only who waits for it can.
fn told(settled: Settled, rows: Rows) -> Result<Settled, StoreError> {
    match (settled, rows) {
        (Settled::LeaseLost, Rows::Free) => Err(StoreError::held()),
        (settled, _) => Ok(settled),
    }
}
