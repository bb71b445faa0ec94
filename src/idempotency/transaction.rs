//! Deciding about a key whose run is one transaction with its claim and its answer.

use std::sync::Arc;

use super::{Begun, Engine, Refusal, Rules, away, word};
use crate::store::idempotency::{KeyClaim, KeyLease, KeyState, KeyTransaction};

impl Engine {
    /// Begins the transaction in which a request is to run, or says why it may not. Counts what it
    /// decides. A concurrent request of the same key waits for the other's transaction, five seconds at
    /// most.
    pub(super) async fn begin_transaction(
        &self,
        claim: KeyClaim,
        rules: &Arc<Rules>,
    ) -> Result<KeyTransaction, Begun> {
        if let Some(begun) = self.look(&claim, rules).await {
            return Err(begun);
        }
        let decided = self.decide_transaction(claim, rules).await;
        let outcome = decided.as_ref().map_or_else(word, |_| "run");
        self.metrics.idempotency(&rules.name, outcome);
        decided
    }

    async fn decide_transaction(
        &self,
        claim: KeyClaim,
        rules: &Rules,
    ) -> Result<KeyTransaction, Begun> {
        // The second look sees who was first.
        for _ in 0..2 {
            let view = self.cache_view();
            let row = self.store.find_key(claim.id.clone()).await;
            let row = row.map_err(|error| {
                tracing::warn!(gateway = %rules.name, error = %error, "an idempotency key can't be looked up");
                away(rules)
            })?;
            if let Some(row) = row {
                if row.request_hash != claim.request_hash {
                    return Err(Begun::Refused(Refusal::Reused));
                }
                match row.state {
                    KeyState::Completed(answer) if answer.body.is_none() => {
                        return Err(Begun::Refused(Refusal::NotStored(answer.status)));
                    }
                    KeyState::Completed(answer) => {
                        if let Some(cache) = &self.cache {
                            cache.fill_row(view, &claim, row.expires_at, &answer);
                        }
                        return Err(Begun::Replay(Box::new(answer)));
                    }
                    KeyState::Running { .. } => return Err(Begun::Refused(Refusal::InProgress)),
                    // Rows of another mode's runs.
                    KeyState::Lapsed | KeyState::Uncertain => {
                        return Err(Begun::Refused(Refusal::Uncertain));
                    }
                    KeyState::Released => {}
                }
            }
            match self.store.begin_with_key(claim.clone()).await {
                Ok(Some(transaction)) => return Ok(transaction),
                Ok(None) => {}
                Err(error) if error.is_lock_timeout() => {
                    return Err(Begun::Refused(Refusal::InProgress));
                }
                Err(error) => {
                    tracing::warn!(gateway = %rules.name, error = %error, "an idempotency key can't be claimed");
                    return Err(away(rules));
                }
            }
        }
        Err(Begun::Refused(Refusal::InProgress))
    }

    /// Whether the answer of this claim was committed.
    pub(super) async fn holds(&self, lease: &KeyLease) -> bool {
        match self.store.find_key(lease.id.clone()).await {
            Ok(row) => row.is_some_and(|row| {
                row.epoch == lease.epoch && matches!(row.state, KeyState::Completed(_))
            }),
            Err(error) => {
                tracing::warn!(error = %error, "a key can't be looked up");
                false
            }
        }
    }
}
