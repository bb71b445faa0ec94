//! Scheduled chores.

use std::time::Duration;

use chrono::NaiveTime;

/// When and how expired rows are deleted.
#[derive(Debug, Clone)]
pub struct CleanupSettings {
    /// Cron with seconds, UTC, already normalised to six fields.
    pub schedule: String,
    /// Rows a statement.
    pub batch: u32,
    /// Between batches.
    pub pause: Duration,
    /// A run stops after this; the next goes on.
    pub max_run: Duration,
    /// Only between these times of day, UTC; may span midnight.
    pub window: Option<(NaiveTime, NaiveTime)>,
}
