//! Freeing deliveries whose worker died or hung.

use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::{Name, TryOutcome};
use tokio_util::sync::CancellationToken;

use super::UpkeepParts;
use crate::retry::{Next, OnUnknown, RetryPolicy};
use crate::store::rescue::Lapsed;
use crate::store::{AttemptRecord, Settled, Settlement, Store, StoreError, Verdict};

/// Leases rescued in one go; a longer list is finished at once by further goes.
const BATCH: u32 = 256;

/// How often lapsed leases are looked for.
const EVERY: Duration = Duration::from_secs(1);

/// A database that takes longer than this to answer was away.
const AWAY: Duration = Duration::from_secs(1);

/// After the database was away, whoever still holds a lease goes first: what a handler finished
/// meanwhile is known to its worker, which settles and renews as soon as it can. Longer than the
/// pauses of both, and short enough to be late by less than five seconds.
const HOLDERS_FIRST: Duration = Duration::from_secs(3);

/// Frees lapsed leases until `stop`.
pub(super) async fn run(parts: Arc<UpkeepParts>, stop: CancellationToken) {
    let names: Vec<Name> = parts.handlers.iter().map(|(name, _)| name.clone()).collect();
    let mut away = false;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = EVERY;
        let asked = Instant::now();
        match parts.store.lapsed(names.clone(), 1).await {
            Err(error) => {
                tracing::warn!(error = %error, "lapsed leases could not be looked for now");
                away = true;
            }
            Ok(_) if asked.elapsed() > AWAY => away = true,
            Ok(_) if away => {
                away = false;
                pause = HOLDERS_FIRST;
            }
            Ok(lapsed) if lapsed.is_empty() => {}
            Ok(_) => away = !free_all(&parts).await,
        }
    }
}

/// Rescues batch by batch; false when the database took no more.
async fn free_all(parts: &UpkeepParts) -> bool {
    loop {
        match rescue_once(&parts.store, &parts.handlers, rand::random()).await {
            Ok(0) => return true,
            Ok(rescued) => {
                tracing::warn!(rescued, "rescued {rescued} deliveries whose worker was gone");
                // Fewer than a batch are no end: of a full one some may be worked on, and are left.
                parts.wake.notify_one();
            }
            Err(error) => {
                tracing::warn!(error = %error, "lapsed leases could not be rescued now");
                return false;
            }
        }
    }
}

/// Judges each lapsed lease of these handlers as a failed try, and returns how many were settled.
///
/// A crash consumes the try; the handler may have finished, so the receiver's dedupe by delivery id
/// decides. `jitter` is a chance in `0.0..1.0`.
pub async fn rescue_once(
    store: &Store,
    handlers: &[(Name, RetryPolicy)],
    jitter: f64,
) -> Result<usize, StoreError> {
    let names = handlers.iter().map(|(name, _)| name.clone()).collect();
    let lapsed = store.lapsed(names, BATCH).await?;
    if lapsed.is_empty() {
        return Ok(0);
    }
    let paused = store.pause_history().await?;
    let settlements: Vec<Settlement> = lapsed
        .iter()
        .filter_map(|lapsed| {
            let (_, policy) = handlers.iter().find(|(name, _)| *name == lapsed.handler)?;
            let held = paused.within(&lapsed.handler, lapsed.open_for);
            Some(settlement(lapsed, lapsed.open_for.saturating_sub(held), policy, jitter))
        })
        .collect();
    let mut rescued = 0;
    for settled in store.settle_lapsed(settlements).await {
        match settled {
            Ok(Settled::Done) => rescued += 1,
            // Renewed, settled or rescued by somebody else meanwhile, or just worked on.
            Ok(Settled::LeaseLost) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(error = %error, "a lapsed lease can't be rescued and is left as it is")
            }
        }
    }
    Ok(rescued)
}

/// `open_for` is without the pauses of its handler.
fn settlement(
    lapsed: &Lapsed,
    open_for: Duration,
    policy: &RetryPolicy,
    jitter: f64,
) -> Settlement {
    let cause = "the worker was gone before it settled; whether the handler finished is unknown";
    let verdict = match policy.next(lapsed.tried, open_for, None, jitter) {
        _ if policy.on_unknown == OnUnknown::Park => Verdict::Dead { cause: cause.to_owned() },
        // The lease was the wait.
        Next::After(_) => Verdict::Pending { after: Duration::ZERO, cause: cause.to_owned() },
        Next::GiveUp => {
            Verdict::Dead { cause: format!("given up after {} tries: {cause}", lapsed.tried) }
        }
    };
    Settlement {
        delivery: lapsed.delivery,
        epoch: lapsed.epoch,
        verdict,
        attempt: AttemptRecord {
            n: lapsed.attempt,
            duration: lapsed.leased_for,
            outcome: TryOutcome::Fenced,
            status: None,
            error: Some(cause.to_owned()),
            response: None,
            content_type: None,
        },
    }
}
