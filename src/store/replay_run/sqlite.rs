//! A step on SQLite: a short `BEGIN IMMEDIATE` transaction, because it holds the only writer.

use std::collections::HashSet;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::step::{Make, Progress, StepBy, Work};
use super::{ReplayPlan, page};
use crate::received::Headers;
use crate::store::connect::Sqlite;
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};

/// Rows of one transaction: recording waits for it.
const STEP_ROWS: u32 = 100;

const RUN: &str =
    "SELECT cursor_handler, cursor_id, upper_id, made_at, looked_at, counts FROM replay_run
     WHERE id = ?1 AND state = 'running'";

const REOPEN: &str = "UPDATE delivery
       SET state = 'pending', due_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
           opened_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts_before = attempts, cause = NULL, settled_at = NULL
     WHERE id = ?1 AND state = 'dead'";

const CONTENT: &str = "SELECT headers, body FROM event_body WHERE event_id = ?1";

const MAKE: &str = "INSERT INTO delivery (id, event_id, handler, round, state, opened_at, due_at, lane, lane_skip)
    VALUES (?1, ?2, ?3, ?4, 'pending', strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'), ?5, ?6)
        ON CONFLICT (event_id, handler, round) DO NOTHING";

const SAVE: &str = "UPDATE replay_run
       SET cursor_handler = COALESCE(?2, cursor_handler), cursor_id = COALESCE(?3, cursor_id), looked_at = ?4, counts = ?5,
           worker = ?6, lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?7 || ' seconds'),
           state = CASE WHEN ?3 IS NULL THEN 'done' ELSE state END,
           finished_at = CASE WHEN ?3 IS NULL THEN strftime('%Y-%m-%d %H:%M:%f', 'now') END
     WHERE id = ?1";

/// Gives how many deliveries it opened; nothing is done when the run doesn't run.
pub(super) async fn step(
    sqlite: &Sqlite,
    run: Uuid,
    plan: &ReplayPlan,
    by: &StepBy,
) -> Result<u64, StoreError> {
    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
    let Some(mut progress) = read_run(&mut transaction, run).await? else {
        transaction.rollback().await?;
        return Ok(0);
    };
    let mut page = page::sqlite(&mut transaction, &plan.replay, &progress.walk, STEP_ROWS).await?;
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

async fn read_run(
    connection: &mut SqliteConnection,
    run: Uuid,
) -> Result<Option<Progress>, StoreError> {
    let Some(row) = sqlx::query(RUN).bind(run).fetch_optional(connection).await? else {
        return Ok(None);
    };
    Progress::of(&row).map(Some)
}

/// Opens what is to be opened, and gives the ids of what was. Nobody else writes meanwhile.
async fn apply(
    connection: &mut SqliteConnection,
    work: &mut Work,
) -> Result<HashSet<Uuid>, StoreError> {
    let mut done = HashSet::new();
    for it in &work.reopen {
        let opened = sqlx::query(REOPEN).bind(it.id).execute(&mut *connection).await?;
        if opened.rows_affected() == 1 {
            done.insert(it.id);
        }
    }
    for make in &mut work.make {
        find_lane(connection, make).await?;
        let made = sqlx::query(MAKE)
            .bind(make.id)
            .bind(make.event)
            .bind(&make.handler)
            .bind(make.round)
            .bind(make.lane.as_ref().map(|place| place.lane.as_str()))
            .bind(make.lane.as_ref().is_some_and(|place| place.skip_dead))
            .execute(&mut *connection)
            .await?;
        if made.rows_affected() == 1 {
            done.insert(make.id);
        }
    }
    Ok(done)
}

/// One body at a time: they may be large.
async fn find_lane(connection: &mut SqliteConnection, make: &mut Make) -> Result<(), StoreError> {
    let Some(lane_of) = make.lane_of.take() else { return Ok(()) };
    let row = sqlx::query(CONTENT).bind(make.event).fetch_one(connection).await?;
    let headers: Vec<u8> = get(&row, "headers")?;
    let body: Vec<u8> = get(&row, "body")?;
    make.lane = Some(lane_of(Headers::from_bytes(&headers), body.into()));
    Ok(())
}
