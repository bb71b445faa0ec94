//! Closed sets: the states of a delivery and the outcomes of a try.

use sea_orm::entity::prelude::*;

/// Where a delivery stands. `delivered`, `dead` and `cancelled` are final, but for an audited retry
/// of a dead one.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    EnumIter,
    DeriveActiveEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its `due_at`.
    Pending,
    /// Claimed by a worker until `lease_until`.
    Leased,
    /// The handler said that it is done.
    Delivered,
    /// Given up: a dead letter.
    Dead,
    /// Taken away by an operator, or skipped by the handler's condition.
    Cancelled,
}

impl State {
    /// The state as the column and the contract write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads what [`State::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Leased, Self::Delivered, Self::Dead, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// How one try ended.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    EnumIter,
    DeriveActiveEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum TryOutcome {
    /// Done.
    Delivered,
    /// Failed; may be tried again.
    Retry,
    /// Refused for good.
    Reject,
    /// Asked to be called later, not counted as a failure.
    Snooze,
    /// Cut off at its deadline.
    Timeout,
    /// The handler's code panicked.
    Panic,
    /// Not called: the handler's condition is false.
    Skipped,
    /// The worker was gone or too slow and its lease lapsed; whether the handler finished is unknown.
    Fenced,
}

impl TryOutcome {
    /// The outcome as the column, the metric label and the contract write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Snooze => "snooze",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Skipped => "skipped",
            Self::Fenced => "fenced",
        }
    }
}
