//! The next rows of a replay.

use chrono::{DateTime, Utc};
use entity::State;
use sqlx::{ColumnIndex, Decode, PgConnection, Row, SqliteConnection, Type};
use uuid::Uuid;

use super::decide::{Candidate, Last};
use super::{Replay, Walk};
use crate::store::LanePlace;
use crate::store::error::StoreError;
use crate::store::row::get;

const DEAD_POSTGRES: &str = include_str!("../sql/replay_dead.postgres.sql");
const EVENTS_POSTGRES: &str = include_str!("../sql/replay_events.postgres.sql");
const DEAD_SQLITE: &str = include_str!("../sql/replay_dead.sqlite.sql");
const EVENTS_SQLITE: &str = include_str!("../sql/replay_events.sqlite.sql");

/// Some rows, and where the next ones begin.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) candidates: Vec<Candidate>,
    /// Rows of the table that were passed.
    pub(super) looked_at: u64,
    /// `None` when there are no more.
    pub(super) next: Option<(String, Uuid)>,
    /// Whether they are dead deliveries; events with their deliveries else.
    dead: bool,
}

impl Page {
    /// Whether a row of the table begins at this candidate: there it may be cut.
    pub(super) fn begins_at(&self, at: usize) -> bool {
        let event = |at: usize| self.candidates.get(at).map(|it| it.event);
        at > 0 && (self.dead || event(at) != event(at - 1))
    }

    /// Leaves the candidates from here on to the next page.
    pub(super) fn cut(&mut self, at: usize) {
        self.candidates.truncate(at);
        self.looked_at = self.rows();
        self.next = self.end();
    }

    fn rows(&self) -> u64 {
        (0..self.candidates.len()).filter(|at| *at == 0 || self.begins_at(*at)).count() as u64
    }

    /// The last row.
    fn end(&self) -> Option<(String, Uuid)> {
        let last = self.candidates.last()?;
        match &last.last {
            Some(delivery) if self.dead => Some((delivery.handler.clone(), delivery.id)),
            _ => Some((String::new(), last.event)),
        }
    }
}

pub(super) async fn postgres(
    connection: &mut PgConnection,
    replay: &Replay,
    walk: &Walk,
    limit: u32,
) -> Result<Page, StoreError> {
    let limit = i64::from(limit);
    let rows = if replay.walks_the_dead() {
        sqlx::query(DEAD_POSTGRES).bind(&walk.handler).bind(walk.id).bind(limit)
    } else {
        sqlx::query(EVENTS_POSTGRES).bind(walk.id).bind(walk.upper).bind(limit).bind(replay.only())
    }
    .fetch_all(connection)
    .await?;
    let candidates = rows.iter().map(candidate).collect::<Result<_, _>>()?;
    Ok(page(candidates, replay, limit))
}

pub(super) async fn sqlite(
    connection: &mut SqliteConnection,
    replay: &Replay,
    walk: &Walk,
    limit: u32,
) -> Result<Page, StoreError> {
    let limit = i64::from(limit);
    let rows = if replay.walks_the_dead() {
        sqlx::query(DEAD_SQLITE).bind(&walk.handler).bind(walk.id).bind(limit)
    } else {
        sqlx::query(EVENTS_SQLITE).bind(walk.id).bind(walk.upper).bind(limit).bind(replay.only())
    }
    .fetch_all(connection)
    .await?;
    let candidates = rows.iter().map(candidate).collect::<Result<_, _>>()?;
    Ok(page(candidates, replay, limit))
}

/// Counts what was read and finds where the next page begins.
fn page(candidates: Vec<Candidate>, replay: &Replay, limit: i64) -> Page {
    let dead = replay.walks_the_dead();
    let mut page = Page { candidates, looked_at: 0, next: None, dead };
    let read = page.rows();
    if let Some(only) = replay.only().filter(|_| dead) {
        // They come handler by handler, beginning with this one.
        page.candidates.retain(|it| it.last.as_ref().is_some_and(|last| last.handler == only));
    }
    page.looked_at = page.rows();
    let is_last = page.looked_at < read || read < limit.unsigned_abs();
    page.next = page.end().filter(|_| !is_last);
    page
}

fn candidate<'r, R>(row: &'r R) -> Result<Candidate, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    Uuid: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i32: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    DateTime<Utc>: Decode<'r, R::Database> + Type<R::Database>,
{
    let last = match get::<_, Option<Uuid>>(row, "id")? {
        None => None,
        Some(id) => {
            let state: String = get(row, "state")?;
            let skip_dead = get(row, "lane_skip")?;
            Some(Last {
                id,
                handler: get(row, "handler")?,
                state: State::parse(&state).ok_or_else(|| {
                    StoreError::Unreadable(format!("a delivery is in the state {state:?}"))
                })?,
                round: get(row, "round")?,
                lane: get::<_, Option<String>>(row, "lane")?
                    .map(|lane| LanePlace { lane, skip_dead }),
                lane_order: get(row, "lane_order")?,
            })
        }
    };
    Ok(Candidate {
        event: get(row, "event_id")?,
        source: get(row, "source")?,
        kind: get(row, "type")?,
        received_at: get(row, "received_at")?,
        is_held: get(row, "held")?,
        has_body: get(row, "body")?,
        last,
    })
}
