//! Replays of many deliveries.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::replay::{Asked, Filter};
use crate::store::replay_run::Skipped;

/// Body of `POST replays`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplaysRequest {
    /// Which deliveries. Every condition must hold.
    pub filter: Filter,
    /// To this handler, which need not have had the events, as far as it gets such ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_handler: Option<String>,
    /// Also what was delivered: a new round under a new id, which receivers won't dedupe.
    pub again: bool,
    /// Only say what would happen.
    pub dry_run: bool,
    /// At most so many deliveries in a time, such as `50/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Begin anew, also when an equal one with `again` was stopped before its end.
    pub restart: bool,
}

impl ReplaysRequest {
    /// What is asked for, apart from how.
    #[must_use]
    pub fn asked(&self) -> Asked {
        Asked {
            filter: self.filter.clone(),
            to_handler: self.to_handler.clone(),
            again: self.again,
        }
    }
}

/// Body of `POST replays/{id}/resume`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayResume {
    /// At most so many deliveries in a time from now on, such as `50/s`; as before when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
}

/// What a replay did so far, or would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Ours; `null` for what would be a new one.
    pub id: Option<Uuid>,
    /// `running`, `done`, `cancelled` (stopped before its end; may be carried on), or `planned`.
    pub state: String,
    /// Nothing was changed: `handlers` says what would be.
    pub dry_run: bool,
    /// Whether it was begun before this request.
    pub continued: bool,
    /// What was asked for.
    pub asked: Asked,
    /// Database time of its beginning; events recorded later are not touched.
    pub made_at: Option<DateTime<Utc>>,
    /// When it ended or was stopped.
    pub finished_at: Option<DateTime<Utc>>,
    /// Rows of the table to look at, counted at the beginning; `null` when there are very many.
    pub total: Option<u64>,
    /// Rows of the table looked at.
    pub looked_at: u64,
    /// Deliveries that are pending by it.
    pub opened: u64,
    /// What was done, or would be, by handler.
    pub handlers: Vec<ReplayTally>,
    /// By which fault it was stopped.
    pub error: Option<String>,
}

/// What was done, or would be, for one handler.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayTally {
    /// Its name.
    pub handler: String,
    /// Dead deliveries that are pending again, under their id.
    pub reopened: u64,
    /// New rounds under a new id.
    pub new_round: u64,
    /// First deliveries of events that it never had.
    pub backfilled: u64,
    /// What was passed over, by reason.
    pub skipped: Skipped,
}
