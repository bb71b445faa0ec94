//! Replays of many deliveries: a row that says how far it is, and a bounded batch a step.
//!
//! A step is one transaction: it locks the run's row, looks at the next rows behind its cursor, opens what
//! is to be opened, and moves the cursor. So a run that is interrupted anywhere, or driven by two at once,
//! opens each delivery once. What becomes of a row is decided by one pure function, which a dry run asks too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use entity::{Name, State};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::LanePlace;
use super::clock::{ID_SLACK, id_edge};
use crate::received::Headers;

mod decide;
mod page;
mod postgres;
mod rows;
mod sqlite;
mod step;
mod walk;

pub(crate) use rows::tallies_of;
pub use rows::{Begun, NewRun};
pub use step::{Act, StepBy, Stepped};

/// Rows that one step looks at, at most.
const STEP_ROWS_MAX: u32 = 500;

/// How long a run that was stopped may be carried on by asking for the same again.
const RESUMABLE: Duration = Duration::from_secs(86_400);

/// How long finished runs are kept.
const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// Which deliveries are replayed, and how. Every condition must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// Only those that stand so. `None` is dead ones, and with `again` delivered ones too.
    pub state: Option<State>,
    /// Only events of this source.
    pub source: Option<String>,
    /// Only deliveries of this handler.
    pub handler: Option<String>,
    /// Only events of this type; a trailing `*` matches any rest.
    pub kind: Option<String>,
    /// Only events recorded at or after.
    pub since: Option<DateTime<Utc>>,
    /// Only events recorded before.
    pub until: Option<DateTime<Utc>>,
    /// To this handler, whether it had the event or not, as far as it gets such events.
    pub to_handler: Option<Name>,
    /// Also what was delivered, in a new round under a new id.
    pub again: bool,
}

/// A handler to which events may go.
#[derive(Clone)]
pub struct Target {
    /// Its name.
    pub handler: Name,
    /// Whether it gets events of this source and type.
    pub takes: Takes,
    /// How it puts an event into a lane, from headers and body; `None` when it has no lanes.
    pub lane: Option<LaneOf>,
}

/// Whether events of a source and of a type are meant.
pub type Takes = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// From headers and body to a place in line.
pub type LaneOf = Arc<dyn Fn(Headers, Bytes) -> LanePlace + Send + Sync>;

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("handler", &self.handler).finish_non_exhaustive()
    }
}

/// Everything that a step must know.
#[derive(Debug, Clone)]
pub struct ReplayPlan {
    /// Which deliveries.
    pub replay: Replay,
    /// The handlers that there are; deliveries of others are passed over.
    pub targets: Arc<[Target]>,
}

/// What was done, or would be, by handler.
pub type Tallies = BTreeMap<String, Tally>;

/// What was done, or would be, for one handler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Dead ones that are pending again, under their id.
    pub reopened: u64,
    /// New rounds of what was delivered, or cancelled, under a new id.
    pub new_round: u64,
    /// First deliveries of events that the handler never had.
    pub backfilled: u64,
    /// What was passed over.
    pub skipped: Skipped,
}

/// Why deliveries were passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Skipped {
    /// Pending or leased: it will be tried anyway.
    pub open: u64,
    /// Delivered, and a new round wasn't asked for.
    pub delivered: u64,
    /// Cancelled, and that state wasn't asked for.
    pub cancelled: u64,
    /// Retention dropped the event's body.
    pub no_body: u64,
    /// The config has no such handler any more.
    pub no_handler: u64,
    /// The event was held back when it came, for a reason of safety: replay it by its id.
    pub held: u64,
}

impl Tally {
    /// Deliveries that are pending by it.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.reopened + self.new_round + self.backfilled
    }

    fn add(&mut self, other: &Self) {
        self.reopened += other.reopened;
        self.new_round += other.new_round;
        self.backfilled += other.backfilled;
        let (skipped, more) = (&mut self.skipped, &other.skipped);
        skipped.open += more.open;
        skipped.delivered += more.delivered;
        skipped.cancelled += more.cancelled;
        skipped.no_body += more.no_body;
        skipped.no_handler += more.no_handler;
        skipped.held += more.held;
    }

    fn count(&mut self, done: &Done) {
        match done {
            Done::Reopened => self.reopened += 1,
            Done::NewRound => self.new_round += 1,
            Done::Backfilled => self.backfilled += 1,
            Done::Skipped(why) => match why {
                Why::Open => self.skipped.open += 1,
                Why::Delivered => self.skipped.delivered += 1,
                Why::Cancelled => self.skipped.cancelled += 1,
                Why::NoBody => self.skipped.no_body += 1,
                Why::NoHandler => self.skipped.no_handler += 1,
                Why::Held => self.skipped.held += 1,
            },
        }
    }
}

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Reopened,
    NewRound,
    Backfilled,
    Skipped(Why),
}

/// Why one was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Open,
    Delivered,
    Cancelled,
    NoBody,
    NoHandler,
    Held,
}

impl Replay {
    /// Why this can't be asked for, in a sentence; `Ok` when it can.
    pub fn check(&self) -> Result<(), String> {
        if self.handler.is_some() && self.to_handler.is_some() {
            return Err(
                "either the deliveries that a handler had, or those to a handler, not both"
                    .to_owned(),
            );
        }
        match self.state {
            Some(state @ (State::Pending | State::Leased)) => Err(format!(
                "what is {} will be tried anyway: replay dead, delivered or cancelled ones",
                state.as_str()
            )),
            Some(state @ (State::Delivered | State::Cancelled)) if !self.again => Err(format!(
                "what is {} is replayed in a new round only: say `again`",
                state.as_str()
            )),
            _ => Ok(()),
        }
    }

    /// Whether dead deliveries are all that can come of it: they have an index of their own.
    fn walks_the_dead(&self) -> bool {
        match self.state {
            Some(state) => state == State::Dead,
            None => !self.again && self.to_handler.is_none(),
        }
    }

    /// The only handler that is looked at.
    fn only(&self) -> Option<&str> {
        self.to_handler.as_ref().map(Name::as_str).or(self.handler.as_deref())
    }
}

/// Between which rows a run walks, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Walk {
    /// The handler behind which it goes on; empty on a walk over events.
    handler: String,
    /// The delivery, or the event, behind which it goes on.
    id: Uuid,
    /// The last event.
    upper: Uuid,
    /// Events recorded after this are not touched.
    made_at: DateTime<Utc>,
}

impl Walk {
    fn begin(replay: &Replay, newest: Option<Uuid>, now: DateTime<Utc>) -> Self {
        let newest = newest.unwrap_or(Uuid::nil());
        let by_time = replay.until.map(|until| id_edge(until + ID_SLACK, 0xff));
        let upper = by_time.map_or(newest, |edge| edge.min(newest));
        let dead = replay.walks_the_dead();
        let lower = replay.since.filter(|_| !dead).map(|since| id_edge(since - ID_SLACK, 0));
        Self {
            handler: replay.only().filter(|_| dead).unwrap_or_default().to_owned(),
            id: lower.unwrap_or(Uuid::nil()),
            upper,
            made_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let replay = Replay { state: Some(State::Pending), ..Replay::default() };
        assert!(replay.check().is_err());
        let replay = Replay { state: Some(State::Delivered), ..Replay::default() };
        assert!(replay.check().is_err());
        assert!(Replay { again: true, ..replay }.check().is_ok());
        assert!(Replay::default().check().is_ok());
    }
}
