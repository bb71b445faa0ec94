//! What an operator decides about events that contradict or repeat each other.

/// What to do when an id comes again with another body.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OnIdConflict {
    /// Answer 200; keep the other body, never run it.
    #[default]
    Flag,
    /// Answer 409.
    Reject,
}

/// What to do when the same signed bytes come again under another id, where the id isn't signed:
/// who captured a request can send it again as a new event.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OnReplay {
    /// Record and run it, and mark it.
    #[default]
    Flag,
    /// Answer 409; record nothing.
    Reject,
}
