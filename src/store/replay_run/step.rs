//! One batch of a replay, and the same without doing it.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{Name, replay_run};
use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use super::decide::{Candidate, Decision, decide, handler_of};
use super::page::Page;
use super::{
    Done, LaneOf, ReplayPlan, STEP_ROWS_MAX, Tallies, Target, Walk, Why, page, postgres, sqlite,
};
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::row::get;
use crate::store::{LanePlace, Store};

/// What a step did.
#[derive(Debug, Clone)]
pub struct Stepped {
    /// Deliveries that are pending by it.
    pub opened: u64,
    /// The run after it.
    pub run: replay_run::Model,
}

/// One delivery that a replay would open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Our id of the event.
    pub event: Uuid,
    /// The handler.
    pub handler: String,
    /// The dead delivery; or the id of a new one, which another time is another.
    pub delivery: Uuid,
    /// The round of a new one; `None` for a dead one that is reopened.
    pub round: Option<i32>,
}

/// How a step is done.
#[derive(Debug, Clone)]
pub struct StepBy {
    /// Deliveries opened at most, but for those of the last event.
    pub most: u32,
    /// Who drives the run.
    pub worker: String,
    /// How long nobody else does.
    pub lease: Duration,
}

/// How far a run is, as its locked row says.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) walk: Walk,
    pub(super) looked_at: i64,
    pub(super) tallies: Tallies,
}

impl Progress {
    /// As a run's row says.
    pub(super) fn of<'r, R>(row: &'r R) -> Result<Self, StoreError>
    where
        R: Row,
        &'static str: ColumnIndex<R>,
        Uuid: Decode<'r, R::Database> + Type<R::Database>,
        &'r str: Decode<'r, R::Database> + Type<R::Database>,
        String: Decode<'r, R::Database> + Type<R::Database>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        DateTime<Utc>: Decode<'r, R::Database> + Type<R::Database>,
    {
        Ok(Self {
            walk: Walk {
                handler: get(row, "cursor_handler")?,
                id: get(row, "cursor_id")?,
                upper: get(row, "upper_id")?,
                made_at: get(row, "made_at")?,
            },
            looked_at: get(row, "looked_at")?,
            tallies: super::rows::tallies(get(row, "counts")?)?,
        })
    }
}

/// What is to be done with a page, and what was passed over in it.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) reopen: Vec<Reopen>,
    pub(super) make: Vec<Make>,
    pub(super) tallies: Tallies,
}

/// A dead delivery.
#[derive(Debug)]
pub(super) struct Reopen {
    pub(super) id: Uuid,
    pub(super) event: Uuid,
    pub(super) handler: String,
    pub(super) lane: Option<String>,
    lane_order: Option<i64>,
}

/// A new one.
pub(super) struct Make {
    pub(super) id: Uuid,
    pub(super) event: Uuid,
    pub(super) handler: String,
    pub(super) round: i32,
    pub(super) lane: Option<LanePlace>,
    /// Says the lane, when none is known yet.
    pub(super) lane_of: Option<LaneOf>,
}

impl std::fmt::Debug for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Make").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Work {
    /// What is to be done with a page, which is cut where `most` would be opened.
    pub(super) fn of(page: &mut Page, plan: &ReplayPlan, walk: &Walk, most: usize) -> Self {
        let mut work = Self::default();
        let mut cut = None;
        for (at, candidate) in page.candidates.iter().enumerate() {
            if work.reopen.len() + work.make.len() >= most && page.begins_at(at) {
                cut = Some(at);
                break;
            }
            work.add(candidate, plan, walk);
        }
        if let Some(at) = cut {
            page.cut(at);
        }
        // In a lane that passed them over they get in line again one by one: the oldest first.
        work.reopen.sort_by_key(|it| it.lane_order);
        work
    }

    fn add(&mut self, candidate: &Candidate, plan: &ReplayPlan, walk: &Walk) {
        let Some(handler) = handler_of(candidate, &plan.replay) else { return };
        let target = plan.targets.iter().find(|target| target.handler.as_str() == handler);
        match decide(candidate, &plan.replay, walk, target) {
            Decision::Ignore => {}
            Decision::Skip(why) => self.count(handler, Done::Skipped(why)),
            Decision::Reopen(id) => {
                let last = candidate.last.as_ref();
                self.reopen.push(Reopen {
                    id,
                    event: candidate.event,
                    handler: handler.to_owned(),
                    lane: last.and_then(|last| last.lane.as_ref()).map(|it| it.lane.clone()),
                    lane_order: last.and_then(|last| last.lane_order),
                });
            }
            Decision::New(round) => {
                let lane = candidate.last.as_ref().and_then(|last| last.lane.clone());
                let lane_of = target.and_then(|it: &Target| it.lane.clone());
                self.make.push(Make {
                    id: Uuid::now_v7(),
                    event: candidate.event,
                    handler: handler.to_owned(),
                    round,
                    lane_of: lane_of.filter(|_| lane.is_none()),
                    lane,
                });
            }
        }
    }

    fn count(&mut self, handler: &str, done: Done) {
        self.tallies.entry(handler.to_owned()).or_default().count(&done);
    }

    /// The events that something is to be done with.
    pub(super) fn events(&self) -> Vec<Uuid> {
        let reopen = self.reopen.iter().map(|it| it.event);
        let mut events: Vec<Uuid> = reopen.chain(self.make.iter().map(|it| it.event)).collect();
        events.sort_unstable();
        events.dedup();
        events
    }

    /// Leaves out what can't be delivered because the body went meanwhile.
    pub(super) fn keep_bodies(&mut self, there: &HashSet<Uuid>) {
        let (kept, gone) = std::mem::take(&mut self.make)
            .into_iter()
            .partition(|make| there.contains(&make.event));
        self.make = kept;
        let gone: Vec<Make> = gone;
        for make in gone {
            self.count(&make.handler, Done::Skipped(Why::NoBody));
        }
    }

    /// Counts what was done; the rest, somebody else was quicker with. Gives how many were opened.
    pub(super) fn finish(mut self, done: &HashSet<Uuid>, into: &mut Tallies) -> u64 {
        for it in std::mem::take(&mut self.reopen) {
            let opened = done.contains(&it.id);
            self.count(&it.handler, if opened { Done::Reopened } else { Done::Skipped(Why::Open) });
        }
        for it in std::mem::take(&mut self.make) {
            let opened = if it.round == 0 { Done::Backfilled } else { Done::NewRound };
            let opened = if done.contains(&it.id) { opened } else { Done::Skipped(Why::Open) };
            self.count(&it.handler, opened);
        }
        let mut opened = 0;
        for (handler, tally) in self.tallies {
            opened += tally.opened();
            into.entry(handler).or_default().add(&tally);
        }
        opened
    }

    /// What would be opened.
    fn acts(self) -> impl Iterator<Item = Act> {
        let reopen = self.reopen.into_iter().map(|it| Act {
            event: it.event,
            handler: it.handler,
            delivery: it.id,
            round: None,
        });
        reopen.chain(self.make.into_iter().map(|it| Act {
            event: it.event,
            handler: it.handler,
            delivery: it.id,
            round: Some(it.round),
        }))
    }

    /// As [`Work::finish`], if all of it were done.
    fn pretend(self, into: &mut Tallies) {
        let all = self.reopen.iter().map(|it| it.id).chain(self.make.iter().map(|it| it.id));
        let all: HashSet<Uuid> = all.collect();
        self.finish(&all, into);
    }
}

impl Store {
    /// Does the next batch of a run: looks at 500 rows at most, opens what is to be opened and notes how far
    /// it is, all in one transaction. `None` when there is no such run; one that doesn't run any more is
    /// given as it is.
    pub async fn replay_step(
        &self,
        run: Uuid,
        plan: &ReplayPlan,
        by: StepBy,
    ) -> Result<Option<Stepped>, StoreError> {
        let plan = plan.clone();
        let opened = self
            .detached(move |database| async move {
                match &*database {
                    Database::Postgres(it) => postgres::step(it, run, &plan, &by).await,
                    Database::Sqlite(it) => sqlite::step(it, run, &plan, &by).await,
                }
            })
            .await?;
        Ok(self.replay_run(run).await?.map(|run| Stepped { opened, run }))
    }

    /// What a replay would do now. Changes nothing. It reads page by page, so that a long one is no long
    /// statement; dropping the future ends it.
    pub async fn count_replay(
        &self,
        plan: &ReplayPlan,
        going_on: Option<&replay_run::Model>,
    ) -> Result<Tallies, StoreError> {
        let mut walk = match going_on {
            Some(run) => Walk::of(run),
            None => self.walk(&plan.replay).await?,
        };
        let mut tallies = Tallies::new();
        loop {
            let mut page = self.replay_page(plan, &walk).await?;
            Work::of(&mut page, plan, &walk, usize::MAX).pretend(&mut tallies);
            match page.next {
                Some((handler, id)) => (walk.handler, walk.id) = (handler, id),
                None => return Ok(tallies),
            }
        }
    }

    /// The first deliveries that a replay would open now for these handlers, `most` at most. Changes nothing.
    pub async fn replay_acts(
        &self,
        plan: &ReplayPlan,
        going_on: Option<&replay_run::Model>,
        handlers: &[Name],
        most: usize,
    ) -> Result<Vec<Act>, StoreError> {
        let mut walk = match going_on {
            Some(run) => Walk::of(run),
            None => self.walk(&plan.replay).await?,
        };
        let mut acts = Vec::new();
        loop {
            let mut page = self.replay_page(plan, &walk).await?;
            let found = Work::of(&mut page, plan, &walk, usize::MAX).acts();
            acts.extend(found.filter(|act| handlers.iter().any(|it| it.as_str() == act.handler)));
            acts.truncate(most);
            match page.next {
                Some((handler, id)) if acts.len() < most => {
                    (walk.handler, walk.id) = (handler, id);
                }
                _ => return Ok(acts),
            }
        }
    }

    async fn replay_page(&self, plan: &ReplayPlan, walk: &Walk) -> Result<Page, StoreError> {
        let (replay, walk) = (plan.replay.clone(), walk.clone());
        self.detached(move |database| async move {
            match &*database {
                Database::Postgres(it) => {
                    let mut connection = it.shared.acquire().await?;
                    page::postgres(&mut connection, &replay, &walk, STEP_ROWS_MAX).await
                }
                Database::Sqlite(it) => {
                    let mut connection = it.readers.acquire().await?;
                    page::sqlite(&mut connection, &replay, &walk, STEP_ROWS_MAX).await
                }
            }
        })
        .await
    }
}
