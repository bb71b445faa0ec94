//! The end of a transaction that holds a key, the work and the answer.

use actix_web::HttpResponse;

use super::reply::refused;
use crate::idempotency::policy::verdict;
use crate::idempotency::{Ended, Engine, Refusal, Rules};
use crate::store::StoreError;
use crate::store::idempotency::{KeySettled, KeyTransaction};

/// Commits a transaction with its answer. What the client gets in place of that answer, when it does not stand.
pub(super) async fn commit(
    transaction: Option<KeyTransaction>,
    ended: &Ended,
    engine: &Engine,
    rules: &Rules,
) -> Option<HttpResponse> {
    let Some(transaction) = transaction else {
        tracing::error!("a handler took the transaction of its key away: nothing was committed");
        return Some(refused(&Refusal::Unavailable));
    };
    let lease = transaction.lease().clone();
    let verdict = verdict(ended, rules.effect, rules.on_unknown, &rules.kept_headers);
    let view = engine.cache_view();
    match transaction.settle(verdict.clone()).await {
        Ok(KeySettled::Done) => {
            engine.cache_run(view, &lease, &verdict);
            None
        }
        Ok(KeySettled::LeaseLost) => Some(refused(&Refusal::Unavailable)),
        Err(error @ StoreError::Apart) => {
            tracing::error!(gateway = %rules.name, error = %error, "a handler committed the transaction of its key: the key is uncertain");
            // The claim would have been committed with the work: without it there is nothing that keeps a retry away.
            let claimed = engine.doubt_committed(lease, error.to_string()).await;
            Some(refused(if claimed { &Refusal::Uncertain } else { &Refusal::Unconfirmed }))
        }
        // The database answered: it is rolled back.
        Err(error) if !error.is_fate_unknown() => {
            tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "a key's transaction was refused");
            Some(refused(&Refusal::Unavailable))
        }
        Err(error) => {
            tracing::warn!(error = %error, "a key's transaction was cut off; looking it up");
            // Committed or not: the row tells, once it can be seen.
            if engine.holds(&lease).await { None } else { Some(refused(&Refusal::Unconfirmed)) }
        }
    }
}
