//! A batch that can't be settled as a whole: each of it alone, and within bounds.

use super::settle_together;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::{Settled, Settlement};

/// How many of a batch may use up the time that a statement has: what is settled next waits for all of them.
const HELD_UP_MAX: usize = 2;

pub(super) async fn settle(
    database: &Database,
    batch: &[Settlement],
    lapsed_only: bool,
) -> Vec<Result<Settled, StoreError>> {
    match settle_together(database, batch, lapsed_only).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if batch.len() == 1 => vec![Err(error)],
        // A row that somebody holds must not keep all the others from being settled for as long as he holds it.
        Err(error) if !error.is_transient() || error.is_held_up() => {
            one_by_one(database, batch, lapsed_only).await
        }
        Err(error) => batch.iter().map(|_| Err(error.again())).collect(),
    }
}

async fn one_by_one(
    database: &Database,
    batch: &[Settlement],
    lapsed_only: bool,
) -> Vec<Result<Settled, StoreError>> {
    let mut answers = Vec::with_capacity(batch.len());
    let (mut away, mut held_up) = (None, 0);
    for one in batch {
        let alone = match &away {
            None => settle_together(database, std::slice::from_ref(one), lapsed_only).await,
            Some(error) => Err(StoreError::again(error)),
        };
        if let (None, Err(error)) = (&away, &alone) {
            held_up += usize::from(error.is_held_up());
            // A database that says nothing would take its time for each of them, and so would each row that is held.
            if !error.is_refusal() || held_up == HELD_UP_MAX {
                away = Some(error.again());
            }
        }
        answers.push(alone.map(|settled| settled.first().copied().unwrap_or(Settled::LeaseLost)));
    }
    answers
}
