//! Bringing SQLite's log into its file beside the writer.
//!
//! By itself SQLite does it in the commit that fills the log: whoever waits for that commit waits for thousands
//! of pages to be written, tens of milliseconds. Here a connection of its own does it earlier, while the writer
//! goes on; the writer's own threshold remains for what it leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::sqlite::SqlitePool;
use tokio::runtime::Handle;

use super::NewEvent;
use super::connect::Database;

/// After about how much log, in bytes: a third of what the writer waits for.
const LOG_MAX: u64 = 20 << 20;

/// What an event changes besides its body: a page of the index of keys, and its rows.
const EVENT: u64 = 9 << 10;

/// Counts what was recorded, and knows whether somebody is at it.
#[derive(Debug, Clone)]
pub(super) struct Checkpointer {
    pool: SqlitePool,
    log: Arc<AtomicU64>,
    busy: Arc<AtomicBool>,
}

impl Checkpointer {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool, log: Arc::default(), busy: Arc::default() }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether it is time to do it, after so many more bytes.
    fn is_due(&self, bytes: u64) -> bool {
        let log = self.log.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if log < LOG_MAX || self.busy.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.log.store(0, Ordering::Relaxed);
        true
    }

    /// Waits for nobody: what is still being read stays in the log.
    async fn run(self) {
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

/// Tells that these events were recorded. On PostgreSQL there is nothing to do.
pub(super) fn recorded(database: &Database, batch: &[&NewEvent], runtime: &Handle) {
    let Database::Sqlite(sqlite) = database else { return };
    let bytes = |event: &&NewEvent| EVENT + event.verified.body().len() as u64;
    if sqlite.checkpointer.is_due(batch.iter().map(bytes).sum()) {
        runtime.spawn(sqlite.checkpointer.clone().run());
    }
}
