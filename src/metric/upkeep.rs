//! What grows, and what is deleted.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Metrics, names, to_f64, unix_seconds};

impl Metrics {
    /// Counts rows that a cleanup deleted from one table.
    pub fn cleanup_rows(&self, table: &'static str, rows: u64) {
        self.counter(names::CLEANUP_ROWS, &[("table", table)]).increment(rows);
    }

    /// A cleanup ended well then.
    pub fn cleanup_succeeded(&self, at: DateTime<Utc>) {
        self.0.cleanup_success.set(unix_seconds(at.into()));
    }

    /// Sets how long a strike of cleanup's schedule has waited for a run.
    pub fn cleanup_overdue(&self, overdue: Duration) {
        self.gauge(names::CLEANUP_OVERDUE, &[]).set(overdue.as_secs_f64());
    }

    /// Sets how many rows of a table have expired and are still there.
    pub fn expired(&self, table: &'static str, rows: u64) {
        self.gauge(names::EXPIRED_ROWS, &[("table", table)]).set(to_f64(rows));
    }

    /// Sets a table's size: rows (an estimate on PostgreSQL) and bytes on disk, where known.
    pub fn table(&self, table: &'static str, rows: Option<u64>, bytes: Option<u64>) {
        if let Some(rows) = rows {
            self.gauge(names::TABLE_ROWS, &[("table", table)]).set(to_f64(rows));
        }
        if let Some(bytes) = bytes {
            self.gauge(names::TABLE_BYTES, &[("table", table)]).set(to_f64(bytes));
        }
    }
}
