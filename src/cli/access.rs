//! What store verbs work on: the database itself, or the admin API of a running daemon. Both give
//! the same shapes.

use chrono::{DateTime, Utc};
use entity::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::replay::{NOT_OVER_THE_API, Rehearsal};
use super::{Failure, Global};
use crate::http::admin::shape::{
    Action, CleanupDone, DeliveryFull, EventFull, EventItem, HandlerItem, HandlerTest,
    IdempotencyKeyItem, List, PauseDone, ReadmitItem, ReadmitRequest, RejectionItem, ReplayReport,
    ReplaysRequest, SourceItem, Stats,
};
use crate::store::idempotency::KeyFilter;
use crate::store::{DeliveryFilter, EventFilter, RejectionFilter};

mod direct;
mod remote;

pub use direct::Direct;
pub use remote::Remote;

/// What an operator does to one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Reopen a dead one; make a pending one due now.
    Retry,
    /// Take an open one away.
    Cancel,
    /// Take a dead one away.
    Discard,
}

impl Act {
    /// The word in URLs and questions.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
        }
    }
}

/// The database, or a running daemon.
pub enum Access {
    /// The database of the config.
    Direct(Box<Direct>),
    /// `--url`.
    Remote(Remote),
}

/// Does the same on either.
macro_rules! either {
    ($self:expr, $it:ident => $call:expr) => {
        match $self {
            Access::Direct($it) => $call.await,
            Access::Remote($it) => $call.await,
        }
    };
}

impl Access {
    /// Opens what the options name: the admin API with `--url`, else the config's database, beside a
    /// daemon that may be running.
    pub async fn open(global: &Global) -> Result<Self, Failure> {
        match global.url() {
            Some(url) => Ok(Self::Remote(Remote::new(url.clone(), global.token())?)),
            None => Ok(Self::Direct(Box::new(Direct::open(global.load()?.config).await?))),
        }
    }

    /// A page of events.
    pub async fn events(&self, filter: &EventFilter) -> Result<List<EventItem>, Failure> {
        either!(self, it => it.events(filter))
    }

    /// One event: by our id or the provider's.
    pub async fn event(&self, id: &str) -> Result<EventFull, Failure> {
        either!(self, it => it.event(id))
    }

    /// An event's exact bytes.
    pub async fn event_body(&self, event: Uuid) -> Result<Vec<u8>, Failure> {
        either!(self, it => it.event_body(event))
    }

    /// Replays an event: to a handler, or to those that it had.
    pub async fn replay(
        &self,
        event: Uuid,
        to_handler: Option<&Name>,
        again: bool,
    ) -> Result<Vec<Action>, Failure> {
        either!(self, it => it.replay(event, to_handler, again))
    }

    /// Says what a replay of many would do, or begins it.
    pub async fn begin_replay(&self, wanted: &ReplaysRequest) -> Result<ReplayReport, Failure> {
        either!(self, it => it.begin_replay(wanted))
    }

    /// Runs the statements of SQL handlers for the first deliveries that a replay would open, and rolls them
    /// back. On the database only.
    pub async fn rehearse_replay(
        &self,
        wanted: &ReplaysRequest,
        most: usize,
    ) -> Result<Vec<Rehearsal>, Failure> {
        match self {
            Self::Direct(it) => it.rehearse_replay(wanted, most).await,
            Self::Remote(_) => Err(Failure::Usage(NOT_OVER_THE_API.to_owned())),
        }
    }

    /// Carries a stopped replay on, at another rate when one is given.
    pub async fn resume_replay(
        &self,
        id: Uuid,
        rate: Option<&str>,
    ) -> Result<ReplayReport, Failure> {
        either!(self, it => it.resume_replay(id, rate))
    }

    /// Sees a replay to its end, or until `stop`. On the database, this is what carries it on.
    pub async fn follow_replay(
        &self,
        id: Uuid,
        stop: &CancellationToken,
        seen: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, Failure> {
        either!(self, it => it.follow_replay(id, stop, seen))
    }

    /// Stops a replay.
    pub async fn stop_replay(&self, id: Uuid) -> Result<ReplayReport, Failure> {
        either!(self, it => it.stop_replay(id))
    }

    /// A page of deliveries.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<List<DeliveryFull>, Failure> {
        either!(self, it => it.deliveries(filter))
    }

    /// One delivery with its tries.
    pub async fn delivery(&self, id: Uuid) -> Result<DeliveryFull, Failure> {
        either!(self, it => it.delivery(id))
    }

    /// Does something to a delivery.
    pub async fn act(&self, act: Act, id: Uuid) -> Result<Action, Failure> {
        either!(self, it => it.act(act, id))
    }

    /// A page of rejections.
    pub async fn rejections(
        &self,
        filter: &RejectionFilter,
    ) -> Result<List<RejectionItem>, Failure> {
        either!(self, it => it.rejections(filter))
    }

    /// One rejection with its bytes.
    pub async fn rejection(&self, id: Uuid) -> Result<RejectionItem, Failure> {
        either!(self, it => it.rejection(id))
    }

    /// Judges kept rejections again.
    pub async fn readmit(&self, wanted: &ReadmitRequest) -> Result<Vec<ReadmitItem>, Failure> {
        either!(self, it => it.readmit(wanted))
    }

    /// A page of idempotency keys.
    pub async fn keys(&self, filter: &KeyFilter) -> Result<List<IdempotencyKeyItem>, Failure> {
        either!(self, it => it.keys(filter))
    }

    /// Gives an idempotency key back.
    pub async fn release_key(&self, seen: &IdempotencyKeyItem) -> Result<(), Failure> {
        either!(self, it => it.release_key(seen))
    }

    /// Every source.
    pub async fn sources(&self) -> Result<List<SourceItem>, Failure> {
        either!(self, it => it.sources())
    }

    /// One source; with the secret that was captured for it, when it is to be revealed.
    pub async fn source(&self, name: &str, reveal: bool) -> Result<SourceItem, Failure> {
        either!(self, it => it.source(name, reveal))
    }

    /// Forgets the captured secret of a source.
    pub async fn reopen(&self, name: &str) -> Result<SourceItem, Failure> {
        either!(self, it => it.reopen(name))
    }

    /// Every handler.
    pub async fn handlers(&self) -> Result<List<HandlerItem>, Failure> {
        either!(self, it => it.handlers())
    }

    /// One handler with its settings.
    pub async fn handler(&self, name: &str) -> Result<HandlerItem, Failure> {
        either!(self, it => it.handler(name))
    }

    /// Pauses a handler on every replica.
    pub async fn pause(&self, name: &str, reason: Option<String>) -> Result<PauseDone, Failure> {
        either!(self, it => it.pause(name, reason))
    }

    /// Ends a handler's pause, whatever made it.
    pub async fn resume(&self, name: &str) -> Result<PauseDone, Failure> {
        either!(self, it => it.resume(name))
    }

    /// What a handler would do with an event.
    pub async fn test_handler(&self, name: &str, event: &str) -> Result<HandlerTest, Failure> {
        either!(self, it => it.test_handler(name, event))
    }

    /// Sums over what came since `since`, and how things stand now.
    pub async fn stats(&self, since: DateTime<Utc>) -> Result<Stats, Failure> {
        either!(self, it => it.stats(since))
    }

    /// What a cleanup would delete.
    pub async fn dry_cleanup(&self) -> Result<CleanupDone, Failure> {
        either!(self, it => it.dry_cleanup())
    }

    /// Runs one cleanup until its end or `stop`; one that a daemon runs goes on there.
    pub async fn cleanup(&self, stop: &CancellationToken) -> Result<CleanupDone, Failure> {
        either!(self, it => it.cleanup(stop))
    }

    /// Closes the database's connections.
    pub async fn close(self) {
        match self {
            Self::Direct(it) => it.close().await,
            Self::Remote(_) => {}
        }
    }
}
