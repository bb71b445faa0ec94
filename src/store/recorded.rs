//! What recording an event came to.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Durable. Made only after COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// This request made the row.
    Fresh {
        /// Our id.
        event: Uuid,
        /// The database's time of recording.
        received_at: DateTime<Utc>,
        /// The event that had the same signed bytes before, under another id: this may be a replay.
        replay_of: Option<Uuid>,
    },
    /// The row was there.
    Duplicate {
        /// The first copy's id.
        event: Uuid,
        /// This copy's body differs from the first one's.
        conflict: bool,
    },
    /// The same signed bytes were there under another id, and the source refuses that: nothing is
    /// recorded.
    Replay {
        /// The event that had them.
        of: Uuid,
    },
}

impl Recorded {
    /// The id under which it is durable, or what it replays.
    #[must_use]
    pub fn event(&self) -> Uuid {
        match self {
            Self::Fresh { event, .. } | Self::Duplicate { event, .. } => *event,
            Self::Replay { of } => *of,
        }
    }
}
