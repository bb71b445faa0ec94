//! Measuring: how much waits, how large the tables are, and whether cleanup keeps up.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};

use super::cleanup::CHORE;
use super::{UpkeepParts, lateness};
use crate::metric::Backlog;

pub(super) async fn backlog(parts: Arc<UpkeepParts>) {
    parts.metrics.upkeep();
    let handlers: Vec<_> = parts.handlers.iter().map(|(name, _)| name.clone()).collect();
    if handlers.is_empty() {
        return;
    }
    match parts.store.backlog(handlers).await {
        Ok(backlogs) => {
            for found in backlogs {
                let backlog =
                    Backlog { pending: found.pending, oldest: found.oldest, dead: found.dead };
                parts.metrics.backlog(&found.handler, backlog);
            }
        }
        Err(error) => tracing::debug!(error = %error, "the backlog could not be measured now"),
    }
}

pub(super) async fn sizes(parts: Arc<UpkeepParts>) {
    match parts.store.table_sizes().await {
        Ok(sizes) => {
            for size in sizes {
                parts.metrics.table(size.table, size.rows, size.bytes);
            }
        }
        Err(error) => tracing::debug!(error = %error, "the tables could not be measured now"),
    }
    match parts.store.expired_left(parts.retention).await {
        Ok(left) => {
            for (table, rows) in left {
                parts.metrics.expired(table, rows);
            }
        }
        Err(error) => tracing::debug!(error = %error, "expired rows could not be counted now"),
    }
}

/// `since` is the database's time at the first look that reached it.
pub(super) async fn cleanup(parts: Arc<UpkeepParts>, since: Arc<OnceLock<DateTime<Utc>>>) {
    let looked = async {
        let now = parts.store.probe().await?.now;
        Ok::<_, crate::store::StoreError>((now, parts.store.runs(CHORE, lateness::RUNS).await?))
    };
    let (now, runs) = match looked.await {
        Ok(looked) => looked,
        Err(error) => {
            tracing::debug!(error = %error, "the runs of cleanup could not be looked at now");
            return;
        }
    };
    let since = *since.get_or_init(|| now);
    let standing = lateness::judge(&parts.cleanup, &runs, since, now);
    if let Some(last_success) = standing.last_success {
        parts.metrics.cleanup_succeeded(last_success);
    }
    parts.metrics.cleanup_overdue(standing.overdue);
    (parts.tell.0)(standing.fault);
}
