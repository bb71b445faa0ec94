//! Deciding about a key whose run is one transaction with its claim and its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::open_keys::OpenKey;
use super::{Begun, Engine, LOOK_AGAIN, LOOK_AGAIN_MAX, Refusal, Rules, word};
use crate::store::idempotency::{
    KeyClaim, KeyLease, KeySettled, KeyState, KeyTransaction, KeyVerdict,
};

/// How long it is looked for whether a transaction was committed whose COMMIT got no answer.
const COMMIT_LOOK_FOR: Duration = Duration::from_secs(10);

impl Engine {
    /// Begins the transaction in which a request is to run, or says why it may not. Counts what it
    /// decides. A request whose key is open in this process waits for it as the rules say; one whose key another
    /// replica has open waits for that transaction, for the engine's patience at most. Never unguarded, whatever the rules
    /// say: without the store there is no transaction to run in.
    pub(super) async fn begin_transaction(
        &self,
        claim: KeyClaim,
        rules: &Arc<Rules>,
    ) -> Result<(KeyTransaction, OpenKey), Begun> {
        if let Some(begun) = self.look(&claim, rules).await {
            return Err(begun);
        }
        let patience = self.patience + rules.wait;
        // Whatever is begun after that is rolled back.
        let decided = tokio::time::timeout(patience, self.decide_transaction(claim, rules)).await;
        let decided = decided.unwrap_or_else(|_| Err(Begun::Refused(Refusal::Unavailable)));
        let outcome = decided.as_ref().map_or_else(word, |_| "run");
        self.metrics.idempotency(&rules.name, outcome);
        decided
    }

    async fn decide_transaction(
        &self,
        claim: KeyClaim,
        rules: &Rules,
    ) -> Result<(KeyTransaction, OpenKey), Begun> {
        let open = self.open_here(&claim, rules).await?;
        // The second look sees who was first.
        for _ in 0..2 {
            let view = self.cache_view();
            let row = self.store.find_key(claim.id.clone()).await;
            let row = row.map_err(|error| {
                tracing::warn!(gateway = %rules.name, error = %error, "an idempotency key can't be looked up");
                Begun::Refused(Refusal::Unavailable)
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
                Ok(Some(transaction)) => return Ok((transaction, open)),
                Ok(None) => {}
                Err(error) if error.is_lock_timeout() => {
                    return Err(Begun::Refused(Refusal::InProgress));
                }
                Err(error) => {
                    tracing::warn!(gateway = %rules.name, error = %error, "an idempotency key can't be claimed");
                    return Err(Begun::Refused(Refusal::Unavailable));
                }
            }
        }
        Err(Begun::Refused(Refusal::InProgress))
    }

    /// Opens the key in this process: many retries of one would each wait on a connection of the few that there are
    /// for transactions, and other keys would get none.
    async fn open_here(&self, claim: &KeyClaim, rules: &Rules) -> Result<OpenKey, Begun> {
        let deadline = Instant::now() + rules.wait;
        let mut look_again = LOOK_AGAIN;
        loop {
            match self.open_keys.open(claim) {
                Ok(open) => return Ok(open),
                Err(other) if other != claim.request_hash => {
                    return Err(Begun::Refused(Refusal::Reused));
                }
                Err(_) if Instant::now() + look_again >= deadline => {
                    return Err(Begun::Refused(Refusal::InProgress));
                }
                Err(_) => tokio::time::sleep(look_again).await,
            }
            look_again = (look_again * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// Holds a key for uncertain whose handler committed its transaction itself. Should this come to nothing, its claim
    /// stands until its lease is over, and then it is uncertain all the same. False when there is no such claim.
    pub(super) async fn doubt_committed(&self, lease: KeyLease, why: String) -> bool {
        let doubting = self.store.settle_key(lease, KeyVerdict::Uncertain(why));
        match tokio::time::timeout(COMMIT_LOOK_FOR, doubting).await {
            Ok(Ok(KeySettled::Done)) => {}
            Ok(Ok(KeySettled::LeaseLost)) => {
                tracing::warn!("a key to be held for uncertain is gone");
                return false;
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "a key can't be held for uncertain now")
            }
            Err(_) => tracing::warn!("a key can't be held for uncertain now: no answer"),
        }
        true
    }

    /// Whether the answer of this claim was committed, after its COMMIT got no answer. False doesn't say that it wasn't:
    /// it may be on its way, or the database away, for longer than it is looked for.
    pub(super) async fn holds(&self, lease: &KeyLease) -> bool {
        let deadline = Instant::now() + COMMIT_LOOK_FOR;
        let mut look_again = LOOK_AGAIN;
        loop {
            match tokio::time::timeout_at(deadline, self.store.find_key(lease.id.clone())).await {
                Ok(Ok(Some(row)))
                    if row.epoch == lease.epoch && matches!(row.state, KeyState::Completed(_)) =>
                {
                    return true;
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(error = %error, "a key can't be looked up"),
                Err(_) => return false,
            }
            if Instant::now() + look_again >= deadline {
                return false;
            }
            tokio::time::sleep(look_again).await;
            look_again = (look_again * 2).min(LOOK_AGAIN_MAX);
        }
    }
}
