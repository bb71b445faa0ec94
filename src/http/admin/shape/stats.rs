//! Sums over a time, and how things stand now.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What came, what was refused, what became of it, and what is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stats {
    /// Sums are over what was recorded or refused from here …
    pub since: DateTime<Utc>,
    /// … to here.
    pub until: DateTime<Utc>,
    /// By name; configured ones, and others that are in the tables.
    pub sources: Vec<SourceStats>,
    /// By name, likewise.
    pub handlers: Vec<HandlerStats>,
    /// How cleanup stands.
    pub cleanup: CleanupStanding,
    /// The tables.
    pub tables: Vec<TableStats>,
}

/// What came from a source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceStats {
    /// Its name.
    pub source: String,
    /// Events recorded.
    pub events: u64,
    /// Copies of them after the first.
    pub duplicates: u64,
    /// When the last of them was recorded.
    pub last_received_at: Option<DateTime<Utc>>,
    /// Refused requests that were kept, by code.
    pub rejected: BTreeMap<String, u64>,
}

/// What became of a handler's deliveries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandlerStats {
    /// Its name.
    pub handler: String,
    /// Deliveries of the events of this time, by state.
    pub deliveries: BTreeMap<String, u64>,
    /// Tries that they took.
    pub tries: u64,
    /// Pending now, of whatever time; counted up to a million.
    pub pending: u64,
    /// Dead letters now; counted up to a million.
    pub dead: u64,
    /// How long the oldest pending one is overdue.
    pub oldest_pending_seconds: f64,
}

/// How cleanup stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupStanding {
    /// When a run last ended well, of the last fifty.
    pub last_success_at: Option<DateTime<Utc>>,
    /// How long a strike of the schedule has waited for a run that serves it.
    pub overdue_seconds: u64,
    /// What is wrong, in a line.
    pub fault: Option<String>,
}

/// How large a table is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableStats {
    /// Its name; `all` for a whole SQLite file.
    pub table: String,
    /// An estimate on PostgreSQL.
    pub rows: Option<u64>,
    /// With indexes.
    pub bytes: Option<u64>,
    /// Expired and still there; counted up to 100,000.
    pub expired: Option<u64>,
}
