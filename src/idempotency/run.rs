//! A run under a claim: its lease is kept alive while it works, and its end is written down once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::policy::{Ended, verdict};
use super::renewal::Renewal;
use super::{Begun, Engine, Refusal, Rules};
use crate::store::StoreError;
use crate::store::idempotency::{KeyAnswer, KeyLease, KeySettled, KeyState, KeyVerdict};

/// The first wait between two tries to write the end of a run down; doubled up to [`SETTLE_WAIT_MAX`].
const SETTLE_WAIT: Duration = Duration::from_millis(100);
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long the end of a run is tried to be written down while the store is away.
const SETTLE_FOR: Duration = Duration::from_secs(60);

/// How long one try of that may take; what was sent may still be done afterwards.
const SETTLE_TRY: Duration = Duration::from_secs(5);

/// The right to run a request, and the duty to say how it ended.
#[derive(Debug)]
pub struct Run {
    engine: Engine,
    lease: KeyLease,
    renewal: Renewal,
    rules: Arc<Rules>,
}

/// How a run's end was written down.
#[derive(Debug)]
pub enum Concluded {
    /// It stands: the caller's own answer is what retries get, too, if it was one to keep.
    Stands,
    /// Another run took the key over meanwhile, and this is what it came to.
    Overtaken(Begun),
    /// The store took nothing for a minute: once the lease is over, retries are decided by `on_unknown`.
    Unwritten,
}

impl Run {
    /// Under a lease that was asked for at `asked`.
    pub(super) fn new(engine: Engine, lease: KeyLease, rules: Arc<Rules>, asked: Instant) -> Self {
        let renewal = Renewal::of(rules.lease, asked);
        Self { engine, lease, renewal, rules }
    }

    /// Which run of the key this is; 1 is the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.lease.attempts
    }

    /// The phase that an earlier run of the key reached, see [`Run::reached`].
    #[must_use]
    pub fn recovery_point(&self) -> Option<&str> {
        self.lease.recovery_point.as_deref()
    }

    /// The claim itself.
    #[must_use]
    pub fn lease(&self) -> &KeyLease {
        &self.lease
    }

    /// The route's rules.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Notes durably that a named phase is done, so that a later run can go on behind it. False when
    /// another run has the key by now: then stop.
    pub async fn reached(&self, point: &str) -> Result<bool, StoreError> {
        self.engine.store.reach_key_point(self.lease.clone(), point.to_owned()).await
    }

    /// Awaits `work` with the lease kept alive.
    ///
    /// A lease that was lost doesn't end the work: what it does elsewhere can't be taken back.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = self.kept_alive() => {}
        }
        self.engine.metrics.fenced();
        tracing::warn!(gateway = %self.rules.name, "a run lost the lease of its idempotency key");
        work.await
    }

    /// Keeps the lease alive; returns when it is lost.
    async fn kept_alive(&self) {
        let renew = |length| {
            let (store, lease) = (self.engine.store.clone(), self.lease.clone());
            async move { store.renew_key(lease, length).await }
        };
        self.renewal.keep(&self.rules.name, renew).await;
    }

    /// Writes down how the run ended, for every retry. Durable when it returns [`Concluded::Stands`].
    pub async fn conclude(&self, ended: &Ended) -> Concluded {
        let rules = &self.rules;
        let verdict = verdict(ended, rules.effect, rules.on_unknown, &rules.kept_headers);
        if let KeyVerdict::Uncertain(why) = &verdict {
            tracing::warn!(gateway = %rules.name, scope = self.lease.id.scope, key = self.lease.id.key, why, "nobody knows how the run of an idempotency key ended");
        }
        let written = tokio::time::timeout(SETTLE_FOR, async {
            let mut writing = std::pin::pin!(self.write_down(&verdict));
            // The lease is kept alive all the while: the answer is here, and nobody else should run. That it is no
            // longer there may be because the end is written down; writing it down tells.
            tokio::select! {
                concluded = &mut writing => return concluded,
                () = self.kept_alive() => {}
            }
            writing.await
        });
        written.await.unwrap_or_else(|_| {
            tracing::error!(gateway = %rules.name, scope = self.lease.id.scope, key = self.lease.id.key, "the end of a run was not written down: its retries are decided as if nobody knew it");
            Concluded::Unwritten
        })
    }

    async fn write_down(&self, verdict: &KeyVerdict) -> Concluded {
        let gateway = &self.rules.name;
        let mut wait = SETTLE_WAIT;
        // Before it is written: who takes the answer back afterwards ends what is cached of it.
        let view = self.engine.cache_view();
        loop {
            let settling = self.engine.gatherer.settle(self.lease.clone(), verdict.clone());
            match tokio::time::timeout(SETTLE_TRY, settling).await {
                Ok(Ok(KeySettled::Done)) => {
                    self.engine.cache_run(view, &self.lease, verdict);
                    return Concluded::Stands;
                }
                Ok(Ok(KeySettled::LeaseLost)) => return self.overtaken().await,
                Ok(Err(error)) => {
                    tracing::warn!(gateway = %gateway, error = %error, "the end of a run can't be written down now");
                }
                Err(_) => {
                    tracing::warn!(gateway = %gateway, "the store doesn't say whether the end of a run is written down");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(SETTLE_WAIT_MAX);
        }
    }

    /// Gives the key back, because nothing was begun.
    pub async fn give_back(&self, why: &str) {
        match self.conclude(&Ended::NotBegun(why.to_owned())).await {
            Concluded::Stands | Concluded::Overtaken(_) => {}
            Concluded::Unwritten => {
                self.engine.unclaimed.note(self.lease.id.clone(), self.lease.epoch);
            }
        }
    }

    /// Who has the key now? It may be us: a settlement whose answer was lost is tried again.
    async fn overtaken(&self) -> Concluded {
        let row = match self.engine.store.find_key(self.lease.id.clone()).await {
            Ok(Some(row)) => row,
            Ok(None) => return Concluded::Unwritten,
            Err(error) => {
                tracing::warn!(gateway = %self.rules.name, error = %error, "a key that was lost can't be looked up");
                return Concluded::Unwritten;
            }
        };
        if row.epoch == self.lease.epoch {
            return Concluded::Stands;
        }
        self.engine.metrics.fenced();
        Concluded::Overtaken(match row.state {
            KeyState::Completed(answer) => of(answer),
            _ => Begun::Refused(Refusal::InProgress),
        })
    }
}

fn of(answer: KeyAnswer) -> Begun {
    if answer.body.is_none() {
        Begun::Refused(Refusal::NotStored(answer.status))
    } else {
        Begun::Replay(Box::new(answer))
    }
}
