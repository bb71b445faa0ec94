//! Where events go, and what would be sent.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A handler in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandlerItem {
    /// Its name.
    pub name: String,
    /// `http`, `exec`, `log` or `function`.
    pub kind: String,
    /// The sources whose events it gets.
    pub from: Vec<String>,
    /// The patterns of types that it gets.
    pub events: Vec<String>,
    /// Its table of the effective config, secrets hidden. In `show` only, and not of a function.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settings: Option<serde_json::Value>,
    /// The pause that holds, if any.
    #[serde(default)]
    pub paused: Option<PausedItem>,
}

/// A pause that holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PausedItem {
    /// `hand`, `breaker` or `answer`.
    pub cause: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// RFC 3339, UTC.
    pub since: DateTime<Utc>,
    /// In how many seconds a breaker tries again; `null` when somebody must resume it.
    pub tries_again_in_seconds: Option<f64>,
}

/// Body of `POST handlers/{name}/pause`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    /// Why, for whoever finds it paused.
    pub reason: Option<String>,
}

/// What pausing or resuming did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PauseDone {
    /// The handler.
    pub handler: String,
    /// False when it was so already.
    pub changed: bool,
    /// The pause that holds now, if any.
    pub paused: Option<PausedItem>,
}

/// Body of `POST handlers/{name}/test`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandlerTestRequest {
    /// A recorded event: our id or the provider's.
    pub event: String,
}

/// What a handler would do with an event. Nothing was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandlerTest {
    /// The handler.
    pub handler: String,
    /// Our id of the event.
    pub event: Uuid,
    /// Whether the handler gets events of this source and type.
    pub matches: bool,
    /// Why it doesn't.
    pub unmatched: Option<String>,
    /// What `when` gives; `null` without one, or when it fails.
    pub when: Option<bool>,
    /// What an expression failed with. May quote the event.
    pub error: Option<String>,
    /// HTTP's method.
    pub method: Option<String>,
    /// Where to, without user, password and query.
    pub url: Option<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `[name, value]`: headers of the request, or variables of the program. Secrets are hidden;
    /// the delivery's id is a zero one.
    pub headers: Vec<(String, String)>,
    /// The body that would be sent, when it is text.
    pub body: Option<String>,
    /// Bytes of that body; `null` when nothing would be sent.
    pub size: Option<usize>,
}
