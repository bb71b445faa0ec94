//! What the admin API says and the command line prints: one shape for both.

use chrono::{DateTime, Utc};
use entity::{State, TryOutcome};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::Swept;

mod handler;
mod keys;
mod replay;
mod stats;

pub use handler::{
    HandlerItem, HandlerTest, HandlerTestRequest, PauseDone, PauseRequest, PausedItem,
};
pub use keys::{IdempotencyKeyItem, ReleaseKey};
pub use replay::{ReplayReport, ReplayResume, ReplayTally, ReplaysRequest};
pub use stats::{CleanupStanding, HandlerStats, SourceStats, Stats, TableStats};

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct List<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// `null` on the last page.
    pub next_cursor: Option<String>,
}

/// An event in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventItem {
    /// Ours.
    pub id: Uuid,
    /// The source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type.
    pub r#type: String,
    /// RFC 3339, UTC.
    pub received_at: DateTime<Utc>,
    /// Bytes of the body.
    pub size: i64,
    /// Copies after the first.
    pub duplicates: i64,
    /// Whether the id came with another body.
    pub conflict: bool,
    /// Why it was stored but not dispatched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<String>,
    /// Whether the same signed bytes came before under another id.
    #[serde(default)]
    pub replay_suspected: bool,
    /// Our id of the event that they came with; it may be gone by now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replay_of: Option<Uuid>,
    /// What became of it.
    pub deliveries: Vec<DeliveryBrief>,
}

/// A delivery beside its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryBrief {
    /// Ours; the receiver's `webhook-id`.
    pub id: Uuid,
    /// The handler.
    pub handler: String,
    /// Where it stands.
    pub state: State,
    /// Tries begun.
    pub attempts: i32,
    /// Next try not before.
    pub due_at: DateTime<Utc>,
}

/// One event with everything but its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventFull {
    /// What the list has; its `deliveries` are the fuller ones below.
    #[serde(flatten)]
    pub event: EventHead,
    /// `[name, value]` in order of arrival; bytes that aren't UTF-8 are replaced. Absent when retention dropped them.
    pub headers: Option<Vec<(String, String)>>,
    /// SHA-256 in hex.
    pub digest: String,
    /// When the key may be forgotten.
    pub expires_at: DateTime<Utc>,
    /// SHA-256 in hex of other bodies that came under this id.
    pub conflicts: Vec<String>,
    /// Its deliveries with their tries.
    pub deliveries: Vec<DeliveryFull>,
}

/// The scalar fields of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventHead {
    /// Ours.
    pub id: Uuid,
    /// The source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type.
    pub r#type: String,
    /// RFC 3339, UTC.
    pub received_at: DateTime<Utc>,
    /// Bytes of the body.
    pub size: i64,
    /// Copies after the first.
    pub duplicates: i64,
    /// Whether the id came with another body.
    pub conflict: bool,
    /// Why it was stored but not dispatched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<String>,
    /// Whether the same signed bytes came before under another id.
    #[serde(default)]
    pub replay_suspected: bool,
    /// Our id of the event that they came with; it may be gone by now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replay_of: Option<Uuid>,
}

/// A delivery in a list of its own, or under its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryFull {
    /// Ours; the receiver's `webhook-id`.
    pub id: Uuid,
    /// Our id of the event.
    pub event: Uuid,
    /// The source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type.
    pub r#type: String,
    /// The handler.
    pub handler: String,
    /// 0, and one more for each `--again`.
    pub round: i32,
    /// Where it stands.
    pub state: State,
    /// Tries begun.
    pub attempts: i32,
    /// Next try not before.
    pub due_at: DateTime<Utc>,
    /// When it came to its final state.
    pub settled_at: Option<DateTime<Utc>>,
    /// Why it is not delivered (yet).
    pub cause: Option<String>,
    /// The lane of its handler that it is in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lane: Option<String>,
    /// Whether it waits for the one before it in its lane.
    #[serde(default)]
    pub waits: bool,
    /// Its tries, oldest first; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tries: Option<Vec<Try>>,
}

/// One try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Try {
    /// 1 is the first.
    pub n: i32,
    /// RFC 3339, UTC.
    pub started_at: DateTime<Utc>,
    /// Milliseconds.
    pub duration_ms: i64,
    /// How it ended.
    pub outcome: TryOutcome,
    /// HTTP status or exit code.
    pub status: Option<i32>,
    /// What went wrong.
    pub error: Option<String>,
    /// The first bytes of the answer, as text.
    pub response: Option<String>,
}

/// Why a request was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiagnosisItem {
    /// The stable word.
    pub cause: String,
    /// A second one, when only both together explain it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub also: Option<String>,
    /// The step that failed.
    pub step: String,
    /// What happened and what to do.
    pub sentence: String,
}

/// A refused request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RejectionItem {
    /// Ours.
    pub id: Uuid,
    /// The source.
    pub source: String,
    /// The stable code.
    pub code: String,
    /// The reason.
    pub detail: String,
    /// Why it failed, found by trying; absent where that says no more, and under a flood.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub diagnosis: Option<DiagnosisItem>,
    /// When it was kept.
    pub received_at: DateTime<Utc>,
    /// Who sent it.
    pub peer: Option<String>,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Bytes of its body.
    pub size: usize,
    /// The event that it became.
    pub readmitted_as: Option<Uuid>,
    /// In `show` only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub headers: Option<Vec<(String, String)>>,
    /// In `show` only: the body, bytes that aren't UTF-8 replaced.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<String>,
}

/// What a replay, retry, cancel or discard did to one delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    /// The delivery.
    pub delivery: Uuid,
    /// `reopened`, `new`, `skipped`, `cancelled`, `discarded`.
    pub action: String,
    /// The state in which it was skipped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<State>,
}

/// What a readmission did to one kept rejection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadmitItem {
    /// The rejection.
    pub rejection: Uuid,
    /// `accepted`, `duplicate`, `would_pass`, or the code with which it is still refused.
    pub outcome: String,
    /// The event that it became.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event: Option<Uuid>,
    /// Why it is still refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// A source in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceItem {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub path: String,
    /// The preset's slug.
    pub provider: Option<String>,
    /// How much of a request its scheme proves: `full`, `partial` or `none`.
    pub integrity: String,
    /// `active`, or `pending` while it waits for a handshake that hands it its secret.
    pub state: String,
    /// The URL to give to the provider, when the config says under which we are reached.
    pub url: Option<String>,
    /// The handler whose answer is the reply, if there is one.
    #[serde(default)]
    pub respond: Option<RespondItem>,
    /// When a handshake handed it its secret. In `show` only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub captured_at: Option<DateTime<Utc>>,
    /// The secret that a handshake handed it. Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub captured_secret: Option<String>,
}

/// Whose answer is a source's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RespondItem {
    /// The handler.
    pub handler: String,
    /// How long the sender waits for it, as the config writes times: `2s 500ms`.
    pub deadline: String,
}

/// The cleanup: its policy, and what it did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupStatus {
    /// When and what it deletes.
    pub policy: CleanupPolicy,
    /// When the schedule strikes next; the window may put the run off.
    pub next_run: Option<DateTime<Utc>>,
    /// The last runs, newest first.
    pub runs: Vec<CleanupRun>,
}

/// When and what the cleanup deletes. Durations are written like `5m`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupPolicy {
    /// Cron with seconds, UTC.
    pub schedule: String,
    /// Rows a statement.
    pub batch: u32,
    /// Between batches.
    pub pause: String,
    /// A run stops after this.
    pub max_run: String,
    /// Only between these times of day, UTC.
    pub window: Option<String>,
    /// How long ids are remembered.
    pub keys: String,
    /// How long bodies are kept.
    pub bodies: String,
    /// How long events with a dead delivery are kept.
    pub dead: String,
    /// How long rejections are kept.
    pub rejections: String,
}

/// One run of the cleanup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupRun {
    /// Ours.
    pub id: Uuid,
    /// Who ran it.
    pub worker: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; `null` while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// `running`, `done`, `partial`, `failed` or `lost`.
    pub outcome: String,
    /// Events deleted.
    pub events: i64,
    /// Bodies deleted.
    pub bodies: i64,
    /// Rejections deleted.
    pub rejections: i64,
    /// Why it failed.
    pub error: Option<String>,
}

/// What a cleanup that was asked for did, or would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupDone {
    /// Nothing was deleted.
    pub dry_run: bool,
    /// False when its time was up and more is left.
    pub complete: bool,
    /// What was deleted, or would be.
    pub swept: Swept,
}

/// Body of `POST events/{id}/replay`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayRequest {
    /// Only for this handler, which need not have had the event; else for those that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_handler: Option<String>,
    /// Also what was delivered, in a new round under a new id, which receivers won't dedupe.
    pub again: bool,
}

/// Body of `POST rejections/readmit`. Every condition must hold; none means all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadmitRequest {
    /// Only these; any when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Uuid>,
    /// Only of this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Kept since: RFC 3339, or how long ago, such as `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// Body of `POST cleanup`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanupRequest {
    /// Only say what would be deleted.
    pub dry_run: bool,
}
