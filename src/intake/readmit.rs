//! Refused requests, judged again with today's secrets, their freshness as of when they came.

use chrono::{DateTime, Utc};
use entity::rejection;
use uuid::Uuid;

use super::new_event;
use crate::handler::Routes;
use crate::received::{Headers, Received};
use crate::source::{Admitted, Sources};
use crate::store::{Recorded, RejectionFilter, Retention, Store, StoreError};
use crate::verify::{Code, Verified};

/// Rejections judged in one go; a longer list is read page by page.
const PAGE: u32 = 100;

/// Codes of requests whose body was never read: what is kept of them is no event, whatever it proves.
const BODY_UNREAD: [&str; 4] = ["ip_denied", "content_type", "body_too_large", "body_timeout"];

/// Which kept rejections to judge again; every condition must hold, and none means all of them.
#[derive(Debug, Clone, Default)]
pub struct ReadmitFilter {
    /// Only these; any when empty.
    pub ids: Vec<Uuid>,
    /// Only of this source.
    pub source: Option<String>,
    /// Kept at or after.
    pub since: Option<DateTime<Utc>>,
}

/// What became of one kept rejection.
#[derive(Debug, Clone)]
pub struct Readmitted {
    /// The rejection.
    pub rejection: Uuid,
    /// What became of it.
    pub outcome: ReadmitOutcome,
}

/// What became of one kept rejection.
#[derive(Debug, Clone)]
pub enum ReadmitOutcome {
    /// It passed and is recorded as this event; of a batch, its first.
    Accepted(Uuid),
    /// It passed; its event was known, or all of its events.
    Duplicate(Uuid),
    /// A dry run: it would pass.
    WouldPass,
    /// It still fails.
    Refused {
        /// The stable code.
        code: &'static str,
        /// Why.
        detail: String,
    },
}

/// What readmission works with.
#[derive(Debug, Clone, Copy)]
pub struct Readmission<'a> {
    /// The tables.
    pub store: &'a Store,
    /// Today's sources, with today's secrets.
    pub sources: &'a Sources,
    /// Which handlers get an event.
    pub routes: &'a Routes,
    /// How long keys and bodies live.
    pub retention: Retention,
}

impl Readmission<'_> {
    /// Judges kept rejections again and records those that pass. Those that were readmitted before
    /// are passed over unless their id is given. With `dry_run` nothing is recorded.
    ///
    /// Safe to interrupt and to repeat: an event that was recorded is a duplicate the next time.
    pub async fn run(
        &self,
        filter: &ReadmitFilter,
        dry_run: bool,
    ) -> Result<Vec<Readmitted>, StoreError> {
        let mut done = Vec::new();
        if !filter.ids.is_empty() {
            for id in &filter.ids {
                let Some(row) = self.store.rejection(*id).await? else {
                    done.push(refused(*id, "not_found", "no such rejection is kept"));
                    continue;
                };
                if wanted(&row, filter) {
                    done.push(self.one(row, dry_run).await?);
                }
            }
            return Ok(done);
        }
        let mut page = RejectionFilter {
            source: filter.source.clone(),
            since: filter.since,
            limit: Some(PAGE),
            ..RejectionFilter::default()
        };
        loop {
            let rows = self.store.rejections(&page).await?;
            for row in rows.items {
                if row.readmitted_as.is_none() {
                    done.push(self.one(row, dry_run).await?);
                }
            }
            match rows.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return Ok(done),
            }
        }
    }

    async fn one(&self, row: rejection::Model, dry_run: bool) -> Result<Readmitted, StoreError> {
        let id = row.id;
        let Some(source) = self.sources.named(&row.source) else {
            return Ok(refused(id, "unknown_source", "its source is no longer configured"));
        };
        if BODY_UNREAD.contains(&row.code.as_str()) {
            return Ok(refused(id, "body_not_kept", "it was refused before its body was read"));
        }
        let (received, arrived_at) = received(row);
        let verified = match source.admit(received, arrived_at) {
            Ok(Admitted::Event(verified)) => vec![verified],
            Ok(Admitted::Events(verified)) => verified,
            Ok(Admitted::Empty) => {
                return Ok(refused(id, "empty", "it is a batch without any event"));
            }
            Ok(Admitted::Handshake(_)) => {
                return Ok(refused(id, "handshake", "it is a handshake, which makes no event"));
            }
            Err(still) => {
                return Ok(refused(id, still.rejection.code.as_str(), &still.rejection.detail));
            }
        };
        if dry_run {
            return Ok(Readmitted { rejection: id, outcome: ReadmitOutcome::WouldPass });
        }
        let outcome = self.record(verified).await?;
        if let ReadmitOutcome::Accepted(event) | ReadmitOutcome::Duplicate(event) = &outcome {
            self.store.mark_readmitted(id, *event).await?;
        }
        Ok(Readmitted { rejection: id, outcome })
    }

    /// Records the events of one request, all of them or none.
    async fn record(&self, verified: Vec<Verified>) -> Result<ReadmitOutcome, StoreError> {
        let event = |one| new_event(one, self.routes, self.retention);
        let events: Vec<_> = verified.into_iter().map(event).collect();
        let sizes = vec![events.len()];
        let recorded = self.store.record_submissions(events, sizes).await;
        let recorded = recorded.into_iter().collect::<Result<Vec<Recorded>, StoreError>>()?;
        let Some(first) = recorded.first().map(Recorded::event) else {
            return Err(StoreError::Invariant("a request's events got no answer".to_owned()));
        };
        if recorded.iter().any(|one| matches!(one, Recorded::Replay { .. })) {
            return Ok(ReadmitOutcome::Refused {
                code: Code::ReplaySuspected.as_str(),
                detail: "the same signed bytes were recorded before under another id".to_owned(),
            });
        }
        let fresh = recorded.iter().any(|one| matches!(one, Recorded::Fresh { .. }));
        Ok(match fresh {
            true => ReadmitOutcome::Accepted(first),
            false => ReadmitOutcome::Duplicate(first),
        })
    }
}

fn wanted(row: &rejection::Model, filter: &ReadmitFilter) -> bool {
    filter.source.as_ref().is_none_or(|source| *source == row.source)
        && filter.since.is_none_or(|since| row.received_at >= since)
}

/// The request as it came, and when.
fn received(row: rejection::Model) -> (Received, DateTime<Utc>) {
    let received = Received {
        method: row.method,
        target: String::from_utf8_lossy(&row.target).into_owned(),
        headers: Headers::from_bytes(&row.headers),
        body: row.body.into(),
        peer: row.peer.and_then(|peer| peer.parse().ok()),
        arrived_at: row.arrived_at,
    };
    (received, row.arrived_at)
}

fn refused(rejection: Uuid, code: &'static str, detail: &str) -> Readmitted {
    Readmitted { rejection, outcome: ReadmitOutcome::Refused { code, detail: detail.to_owned() } }
}
