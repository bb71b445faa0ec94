//! Asks the database, every few seconds, whether it takes writes and what its clock says.

use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use crate::http::{ClockSkew, Readiness};
use crate::store::Store;

/// How often while all is well.
const EVERY: Duration = Duration::from_secs(5);

/// How often while the database takes no writes: recovery should be seen soon.
const EVERY_WHILE_AWAY: Duration = Duration::from_millis(500);

/// A probe that takes longer than this has failed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Past this, a stale signature may be the clock's fault.
const SKEW_ALARM_MS: i64 = 30_000;

/// Probes once.
pub(super) async fn once(store: &Store, readiness: &Readiness, skew: &ClockSkew) -> bool {
    let before = Utc::now();
    let writable = match tokio::time::timeout(TIMEOUT, store.probe()).await {
        Ok(Ok(probe)) => {
            let after = Utc::now();
            let middle = before + (after - before) / 2;
            let ahead = probe.now - middle;
            skew.set(ahead);
            if ahead.num_milliseconds().abs() > SKEW_ALARM_MS {
                tracing::error!(
                    clock.ahead_ms = ahead.num_milliseconds(),
                    "the database's clock and ours differ by {} s; signatures may look stale",
                    ahead.num_seconds()
                );
            }
            probe.writable
        }
        Ok(Err(error)) => {
            tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "the database takes no writes now");
            false
        }
        Err(_) => {
            tracing::warn!("the database did not answer a probe within {TIMEOUT:?}");
            false
        }
    };
    readiness.set_writable(writable);
    writable
}

/// Probes until `stop`.
pub(super) async fn run(
    store: Store,
    readiness: Readiness,
    skew: ClockSkew,
    stop: CancellationToken,
) {
    let mut well = true;
    loop {
        let pause = if well { EVERY } else { EVERY_WHILE_AWAY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        let now = once(&store, &readiness, &skew).await;
        if now && !well {
            tracing::info!("the database takes writes again");
        }
        well = now;
    }
}
