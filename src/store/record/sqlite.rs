//! Recording on SQLite: one `BEGIN IMMEDIATE` transaction on the one writer.
//!
//! Each statement is a round trip to the driver's thread, so that rows go in many at a time: what a
//! statement costs there is many times what a row costs. For the same reason nothing returns a row for
//! each event: every row is a hand-over between two threads of its own.

use std::collections::HashSet;
use std::sync::LazyLock;

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    CONFLICTS_MAX, Known, Suspects, births, compare, is_guarded, is_laned, leaders, signed_digest,
    suspect,
};
use crate::store::clock::sqlite_text;
use crate::store::connect::Sqlite;
use crate::store::error::StoreError;
use crate::store::row::get;
use crate::store::{NewEvent, Recorded};

/// Rows of one statement, the largest that fits first. So few sizes that each is prepared once, and so many that
/// most batches are two statements.
const ROWS: [usize; SIZES] = [128, 91, 64, 45, 32, 23, 16, 11, 8, 6, 4, 3, 2, 1];
const SIZES: usize = 14;

static INSERT_EVENTS: LazyLock<[String; SIZES]> = LazyLock::new(|| {
    inserts(
        "event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at)",
        10,
        "ON CONFLICT (dedupe_key) DO NOTHING",
    )
});

/// Where a batch holds events that may be replays: a row whose signed bytes are there is passed over.
static INSERT_GUARDED: LazyLock<[String; SIZES]> = LazyLock::new(|| {
    inserts(
        "event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at, signed_digest, replay_of)",
        12,
        "ON CONFLICT DO NOTHING",
    )
});

static INSERT_BODIES: LazyLock<[String; SIZES]> =
    LazyLock::new(|| inserts("event_body (event_id, headers, body, expires_at)", 4, ""));

static INSERT_DELIVERIES: LazyLock<[String; SIZES]> = LazyLock::new(|| {
    inserts(
        "delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, leased_at, lease_until, leased_by, source)",
        12,
        "",
    )
});

/// Where a batch holds deliveries in lanes.
static INSERT_LANED: LazyLock<[String; SIZES]> = LazyLock::new(|| {
    inserts(
        "delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, leased_at, lease_until, leased_by, source, lane, lane_skip)",
        14,
        "",
    )
});

/// Which of these ids are there, in one row: the parameter and the answer are lists in hexadecimal.
const PRESENT: &str = "SELECT coalesce(group_concat(hex(id)), '') FROM event
     WHERE id IN (SELECT unhex(value) FROM json_each(?1))";

const KNOWN: &str = "SELECT id, event_id, digest, received_at FROM event WHERE dedupe_key = ?1";

/// The event that has these signed bytes in this source.
const EARLIER: &str =
    "SELECT id FROM event WHERE source = ?1 AND signed_digest = ?2 AND signed_digest IS NOT NULL";

const COUNT_COPY: &str =
    "UPDATE event SET duplicates = duplicates + 1, conflict = max(conflict, ?2) WHERE id = ?1";

const KEEP_CONFLICT: &str =
    "INSERT INTO event_conflict (event_id, digest, received_at, headers, body)
     SELECT ?1, ?2, strftime('%Y-%m-%d %H:%M:%f', 'now'), ?3, ?4
      WHERE (SELECT count(*) FROM event_conflict WHERE event_id = ?1) < ?5
         ON CONFLICT DO NOTHING";

/// The statement for each size of [`ROWS`].
fn inserts(table: &str, columns: usize, end: &str) -> [String; SIZES] {
    let row = format!("({})", vec!["?"; columns].join(", "));
    ROWS.map(|rows| {
        format!("INSERT INTO {table} VALUES {} {end}", vec![row.as_str(); rows].join(", "))
    })
}

/// Cuts `items` into pieces for which there is a statement; gives each with its statement.
fn pieces<'a, T>(
    mut items: &'a [T],
    statements: &'static [String; SIZES],
) -> impl Iterator<Item = (&'static str, &'a [T])> {
    std::iter::from_fn(move || {
        let at = ROWS.iter().position(|rows| *rows <= items.len())?;
        let (piece, rest) = items.split_at_checked(*ROWS.get(at)?)?;
        items = rest;
        Some((statements.get(at)?.as_str(), piece))
    })
}

/// Answers per input; `None` where it became a suspect and must come again. Nothing can be deleted in
/// between here.
pub(super) async fn record(
    sqlite: &Sqlite,
    batch: &[&NewEvent],
    suspects: &mut Suspects,
) -> Result<Vec<Option<Recorded>>, StoreError> {
    let leaders = leaders(batch);
    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
    // The database's clock is this machine's: read once, so that all rows of a batch agree, and as
    // precise as the table is, so that the first try sees the same time as the next ones.
    let now = Utc::now().trunc_subsecs(3);
    let fresh = insert(&mut transaction, &leaders, now, suspects).await?;
    let mut answers = Vec::with_capacity(batch.len());
    for event in batch {
        answers.push(if fresh.contains(&event.id) {
            let replay_of = suspects.get(&event.id).copied();
            Some(Recorded::Fresh { event: event.id, received_at: now, replay_of })
        } else {
            count_copy(&mut transaction, event, suspects).await?
        });
    }
    transaction.commit().await?;
    Ok(answers)
}

/// Inserts events with all that belongs to them. Gives the ids of those that are new.
async fn insert(
    connection: &mut sqlx::SqliteConnection,
    first: &[&NewEvent],
    now: DateTime<Utc>,
    suspects: &Suspects,
) -> Result<HashSet<Uuid>, StoreError> {
    let mut fresh = HashSet::with_capacity(first.len());
    let text = sqlite_text(now);
    let guarded = is_guarded(first);
    let statements = if guarded { &INSERT_GUARDED } else { &INSERT_EVENTS };
    for (statement, piece) in pieces(first, statements) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for event in piece {
            let identity = event.verified.identity();
            query = query
                .bind(event.id)
                .bind(event.verified.source().as_str())
                .bind(identity.event_id.as_str())
                .bind(identity.dedupe_key)
                .bind(identity.kind.as_str())
                .bind(&identity.digest[..])
                .bind(i64::try_from(event.verified.body().len()).unwrap_or(i64::MAX))
                .bind(identity.held)
                .bind(text.as_str())
                .bind(after(now, event.keys));
            if guarded {
                query = query
                    .bind(signed_digest(event, suspects))
                    .bind(suspects.get(&event.id).copied());
            }
        }
        let inserted = query.execute(&mut *connection).await?.rows_affected();
        let ids = piece.iter().map(|event| event.id);
        if inserted == piece.len() as u64 {
            fresh.extend(ids);
        } else if inserted > 0 {
            fresh.extend(present(connection, ids).await?);
        }
    }
    let events: Vec<&NewEvent> =
        first.iter().filter(|event| fresh.contains(&event.id)).copied().collect();
    for (statement, piece) in pieces(&events, &INSERT_BODIES) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for event in piece {
            query = query
                .bind(event.id)
                .bind(event.verified.received().headers.as_bytes())
                .bind(&event.verified.body()[..])
                .bind(after(now, event.bodies));
        }
        query.execute(&mut *connection).await?;
    }
    let laned = is_laned(&events);
    let statements = if laned { &INSERT_LANED } else { &INSERT_DELIVERIES };
    for (statement, piece) in pieces(&births(&events), statements) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (event, delivery) in piece {
            let lease = delivery.lease.as_ref();
            query = query
                .bind(delivery.id)
                .bind(event.id)
                .bind(delivery.handler.as_str())
                .bind(if lease.is_some() { "leased" } else { "pending" })
                .bind(delivery.epoch())
                .bind(text.as_str())
                .bind(text.as_str())
                .bind(delivery.epoch())
                .bind(lease.map(|_| text.as_str()))
                .bind(lease.map(|lease| after(now, lease.length)))
                .bind(lease.map(|lease| &*lease.worker))
                .bind(event.verified.source().as_str());
            if laned {
                let lane = delivery.lane.as_ref();
                query = query
                    .bind(lane.map(|place| place.lane.as_str()))
                    .bind(lane.is_some_and(|place| place.skip_dead));
            }
        }
        query.execute(&mut *connection).await?;
    }
    Ok(fresh)
}

/// Those of `ids` that are in the table.
async fn present(
    connection: &mut sqlx::SqliteConnection,
    ids: impl Iterator<Item = Uuid>,
) -> Result<Vec<Uuid>, StoreError> {
    let ids: Vec<String> = ids.map(|id| format!("\"{}\"", id.simple())).collect();
    let found: String = sqlx::query_scalar(PRESENT)
        .bind(format!("[{}]", ids.join(",")))
        .fetch_one(&mut *connection)
        .await?;
    let unreadable = |error| StoreError::Unreadable(format!("an id of an event: {error}"));
    let found = found.split(',').filter(|id| !id.is_empty());
    found.map(|id| Uuid::try_parse(id).map_err(unreadable)).collect()
}

/// A century is for ever; the calendar ends far above it.
const SPAN_MAX: std::time::Duration = std::time::Duration::from_secs(100 * 366 * 86_400);

fn after(now: DateTime<Utc>, span: std::time::Duration) -> String {
    sqlite_text(now + span.min(SPAN_MAX))
}

async fn count_copy(
    connection: &mut sqlx::SqliteConnection,
    event: &NewEvent,
    suspects: &mut Suspects,
) -> Result<Option<Recorded>, StoreError> {
    let identity = event.verified.identity();
    let row = sqlx::query(KNOWN).bind(identity.dedupe_key).fetch_optional(&mut *connection).await?;
    let Some(row) = row else {
        // Not in the way by its key: then by its signed bytes.
        let earlier = sqlx::query_scalar(EARLIER)
            .bind(event.verified.source().as_str())
            .bind(signed_digest(event, suspects))
            .fetch_one(connection)
            .await?;
        return Ok(suspect(event, earlier, suspects));
    };
    let known = Known {
        id: get(&row, "id")?,
        event_id: get(&row, "event_id")?,
        digest: get(&row, "digest")?,
        received_at: get(&row, "received_at")?,
    };
    let recorded = compare(event, &known, suspects)?;
    if let Recorded::Duplicate { event: first, conflict } = recorded {
        sqlx::query(COUNT_COPY).bind(first).bind(conflict).execute(&mut *connection).await?;
        if conflict {
            sqlx::query(KEEP_CONFLICT)
                .bind(first)
                .bind(&identity.digest[..])
                .bind(event.verified.received().headers.as_bytes())
                .bind(&event.verified.body()[..])
                .bind(CONFLICTS_MAX)
                .execute(connection)
                .await?;
        }
    }
    Ok(Some(recorded))
}
