//! Bringing SQLite's log into its file beside the writer.
//!
//! By itself SQLite does it in the commit that fills the log: whoever waits for that commit waits for thousands
//! of pages to be written, tens of milliseconds. Here a connection of its own does it earlier, while the writer
//! goes on; the writer's own threshold remains for what it leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::sqlite::SqlitePool;
use tokio::runtime::Handle;

use super::connect::Database;

/// After how many recorded events. An event changes some eleven KiB of pages: its body, its rows, and a page
/// of the index of keys.
const EVENTS: u64 = 2_000;

/// Counts what was recorded, and knows whether somebody is at it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    pool: SqlitePool,
    recorded: AtomicU64,
    busy: AtomicBool,
}

impl Checkpointer {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool, recorded: AtomicU64::new(0), busy: AtomicBool::new(false) }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether it is time to do it, after so many more events.
    fn is_due(&self, events: u64) -> bool {
        let recorded = self.recorded.fetch_add(events, Ordering::Relaxed) + events;
        if recorded < EVENTS || self.busy.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.recorded.store(0, Ordering::Relaxed);
        true
    }

    /// Waits for nobody: what is still being read stays in the log.
    async fn run(&self) {
        match sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&self.pool).await {
            Ok(_) | Err(sqlx::Error::PoolClosed) => {}
            // The writer does it at its threshold.
            Err(error) => {
                tracing::warn!(error = %error, "SQLite's log was not brought into its file")
            }
        }
        self.busy.store(false, Ordering::Relaxed);
    }
}

/// Tells that so many events were recorded. On PostgreSQL there is nothing to do.
pub(super) fn recorded(database: &Arc<Database>, events: usize, runtime: &Handle) {
    let Database::Sqlite(sqlite) = &**database else { return };
    if sqlite.checkpointer.is_due(events as u64) {
        let database = Arc::clone(database);
        runtime.spawn(async move {
            if let Database::Sqlite(sqlite) = &*database {
                sqlite.checkpointer.run().await;
            }
        });
    }
}
