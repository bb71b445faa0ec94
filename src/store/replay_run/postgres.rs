//! A step on PostgreSQL. It locks events, then lanes, and then deliveries without waiting for any: a row that
//! changed in between stays locked although it isn't meant any more, and whoever hands its lane on waits for it.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::step::{Make, Progress, StepBy, Work};
use super::{ReplayPlan, STEP_ROWS_MAX, page};
use crate::received::Headers;
use crate::store::connect::Postgres;
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};

const LOCK_RUN: &str =
    "SELECT cursor_handler, cursor_id, upper_id, made_at, looked_at, counts FROM replay_run
     WHERE id = $1 AND state = 'running' FOR UPDATE";

/// A cleanup passes locked events over.
const LOCK_EVENTS: &str = "SELECT id FROM event WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE";

/// What somebody holds, he is about to reopen or to take away himself.
const LOCK_DEAD: &str =
    "SELECT id FROM delivery WHERE id = ANY ($1) AND state = 'dead' FOR NO KEY UPDATE SKIP LOCKED";

/// All at once and in their order, as recording takes them row by row.
const LOCK_LANES: &str = "SELECT hookonce_lane_lock(locks.lock) FROM (
        SELECT DISTINCT hookonce_lane_lock_of(handler, lane) AS lock
          FROM (SELECT UNNEST($1::text[]) AS handler, UNNEST($2::text[]) AS lane) AS lanes
         ORDER BY 1) AS locks";

const REOPEN: &str = "UPDATE delivery
       SET state = 'pending', due_at = clock_timestamp(), opened_at = clock_timestamp(), attempts_before = attempts,
           cause = NULL, settled_at = NULL
     WHERE id = ANY ($1) AND state = 'dead' RETURNING id";

/// A cleanup of bodies that began before the new delivery can't see it, but looks at this again.
const KEEP_BODIES: &str =
    "UPDATE event_body SET expires_at = greatest(expires_at, clock_timestamp() + interval '1 hour')
     WHERE event_id = ANY ($1) RETURNING event_id";

const CONTENT: &str = "SELECT headers, body FROM event_body WHERE event_id = $1";

const MAKE: &str = "INSERT INTO delivery (id, event_id, handler, round, state, opened_at, due_at, lane, lane_skip)
    SELECT id, event_id, handler, round, 'pending', clock_timestamp(), clock_timestamp(), lane, skip
      FROM (SELECT UNNEST($1::uuid[]) AS id, UNNEST($2::uuid[]) AS event_id, UNNEST($3::text[]) AS handler,
                   UNNEST($4::int4[]) AS round, UNNEST($5::text[]) AS lane, UNNEST($6::bool[]) AS skip) AS made
     ORDER BY hookonce_lane_lock_of(handler, lane) NULLS FIRST, event_id
        ON CONFLICT (event_id, handler, round) DO NOTHING
    RETURNING id";

const SAVE: &str = "UPDATE replay_run
       SET cursor_handler = COALESCE($2, cursor_handler), cursor_id = COALESCE($3, cursor_id), looked_at = $4, counts = $5,
           worker = $6, lease_until = clock_timestamp() + make_interval(secs => $7),
           state = CASE WHEN $3 IS NULL THEN 'done' ELSE state END,
           finished_at = CASE WHEN $3 IS NULL THEN clock_timestamp() END
     WHERE id = $1";

/// Gives how many deliveries it opened; nothing is done when the run doesn't run.
pub(super) async fn step(
    postgres: &Postgres,
    run: Uuid,
    plan: &ReplayPlan,
    by: &StepBy,
) -> Result<u64, StoreError> {
    // Given up half-way by nobody but the store itself, for a server that is silent; the pool rolls back
    // what it finds open.
    #[expect(clippy::disallowed_methods, reason = "nobody drops this future")]
    let mut transaction = postgres.shared.begin().await?;
    let Some(mut progress) = lock_run(&mut transaction, run).await? else { return Ok(0) };
    let mut page =
        page::postgres(&mut transaction, &plan.replay, &progress.walk, STEP_ROWS_MAX).await?;
    let mut work = Work::of(&mut page, plan, &progress.walk, by.most.max(1) as usize);
    let done = apply(&mut transaction, &mut work).await?;
    let opened = work.finish(&done, &mut progress.tallies);
    let (handler, id) = page.next.unzip();
    sqlx::query(SAVE)
        .bind(run)
        .bind(handler)
        .bind(id)
        .bind(progress.looked_at.saturating_add_unsigned(page.looked_at))
        .bind(super::rows::counts(&progress.tallies)?)
        .bind(&by.worker)
        .bind(seconds(by.lease))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(opened)
}

async fn lock_run(
    connection: &mut PgConnection,
    run: Uuid,
) -> Result<Option<Progress>, StoreError> {
    let Some(row) = sqlx::query(LOCK_RUN).bind(run).fetch_optional(connection).await? else {
        return Ok(None);
    };
    Progress::of(&row).map(Some)
}

/// Opens what is to be opened, and gives the ids of what was.
async fn apply(
    connection: &mut PgConnection,
    work: &mut Work,
) -> Result<HashSet<Uuid>, StoreError> {
    let events = work.events();
    if events.is_empty() {
        return Ok(HashSet::new());
    }
    sqlx::query(LOCK_EVENTS).bind(events).execute(&mut *connection).await?;
    if !work.make.is_empty() {
        let bodies: Vec<Uuid> = work.make.iter().map(|make| make.event).collect();
        let there: Vec<Uuid> =
            sqlx::query_scalar(KEEP_BODIES).bind(bodies).fetch_all(&mut *connection).await?;
        work.keep_bodies(&there.into_iter().collect());
    }
    for make in &mut work.make {
        find_lane(connection, make).await?;
    }
    lock_lanes(connection, work).await?;
    let mut done = reopen(connection, work).await?;
    done.extend(make(connection, &work.make).await?);
    Ok(done)
}

async fn reopen(connection: &mut PgConnection, work: &Work) -> Result<HashSet<Uuid>, StoreError> {
    let mut done = HashSet::new();
    if work.reopen.is_empty() {
        return Ok(done);
    }
    let dead: Vec<Uuid> = work.reopen.iter().map(|it| it.id).collect();
    let held: Vec<Uuid> =
        sqlx::query_scalar(LOCK_DEAD).bind(dead).fetch_all(&mut *connection).await?;
    let held: HashSet<Uuid> = held.into_iter().collect();
    let (free, laned): (Vec<_>, Vec<_>) =
        work.reopen.iter().filter(|it| held.contains(&it.id)).partition(|it| it.lane.is_none());
    // In a lane one by one: its order is that in which they are opened.
    let laned = laned.iter().map(|it| vec![it.id]);
    for ids in std::iter::once(free.iter().map(|it| it.id).collect()).chain(laned) {
        let opened: Vec<Uuid> =
            sqlx::query_scalar(REOPEN).bind(ids).fetch_all(&mut *connection).await?;
        done.extend(opened);
    }
    Ok(done)
}

/// One body at a time: they may be large.
async fn find_lane(connection: &mut PgConnection, make: &mut Make) -> Result<(), StoreError> {
    let Some(lane_of) = make.lane_of.take() else { return Ok(()) };
    let row = sqlx::query(CONTENT).bind(make.event).fetch_one(connection).await?;
    let headers: Vec<u8> = get(&row, "headers")?;
    let body: Vec<u8> = get(&row, "body")?;
    make.lane = Some(lane_of(Headers::from_bytes(&headers), body.into()));
    Ok(())
}

async fn lock_lanes(connection: &mut PgConnection, work: &Work) -> Result<(), StoreError> {
    let old = work.reopen.iter().filter_map(|it| Some((it.handler.as_str(), it.lane.as_deref()?)));
    let new = work.make.iter().filter_map(|it| Some((it.handler.as_str(), it.lane.as_ref()?)));
    let new = new.map(|(handler, place)| (handler, place.lane.as_str()));
    let (handlers, lanes): (Vec<&str>, Vec<&str>) = old.chain(new).unzip();
    if !lanes.is_empty() {
        sqlx::query(LOCK_LANES).bind(handlers).bind(lanes).execute(connection).await?;
    }
    Ok(())
}

async fn make(connection: &mut PgConnection, make: &[Make]) -> Result<Vec<Uuid>, StoreError> {
    if make.is_empty() {
        return Ok(Vec::new());
    }
    let column = |lane: &Make| lane.lane.as_ref().map(|place| place.lane.clone());
    Ok(sqlx::query_scalar(MAKE)
        .bind(make.iter().map(|it| it.id).collect::<Vec<_>>())
        .bind(make.iter().map(|it| it.event).collect::<Vec<_>>())
        .bind(make.iter().map(|it| it.handler.as_str()).collect::<Vec<_>>())
        .bind(make.iter().map(|it| it.round).collect::<Vec<_>>())
        .bind(make.iter().map(column).collect::<Vec<_>>())
        .bind(
            make.iter()
                .map(|it| it.lane.as_ref().is_some_and(|place| place.skip_dead))
                .collect::<Vec<_>>(),
        )
        .fetch_all(connection)
        .await?)
}
