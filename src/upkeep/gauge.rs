//! Measuring: how much waits, and how large the tables are.

use std::sync::Arc;

use super::UpkeepParts;
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
}
