//! Recording on SQLite: one `BEGIN IMMEDIATE` transaction on the one writer.

use uuid::Uuid;

use super::{CONFLICTS_MAX, Known, compare};
use crate::store::connect::Sqlite;
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};
use crate::store::{NewEvent, Recorded};

const INSERT_EVENT: &str = "INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now', ?9 || ' seconds'))
         ON CONFLICT (dedupe_key) DO NOTHING";

const INSERT_BODY: &str = "INSERT INTO event_body (event_id, headers, body, expires_at)
     VALUES (?1, ?2, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now', ?4 || ' seconds'))";

const INSERT_DELIVERY: &str = "INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at)
     VALUES (?1, ?2, ?3, 'pending', strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'))";

const KNOWN: &str = "SELECT id, event_id, digest FROM event WHERE dedupe_key = ?1";

const COUNT_COPY: &str =
    "UPDATE event SET duplicates = duplicates + 1, conflict = max(conflict, ?2) WHERE id = ?1";

const KEEP_CONFLICT: &str =
    "INSERT INTO event_conflict (event_id, digest, received_at, headers, body)
     SELECT ?1, ?2, strftime('%Y-%m-%d %H:%M:%f', 'now'), ?3, ?4
      WHERE (SELECT count(*) FROM event_conflict WHERE event_id = ?1) < ?5
         ON CONFLICT DO NOTHING";

/// Answers per input. Nothing can be deleted in between here, so none is ever `None`.
pub(super) async fn record(
    sqlite: &Sqlite,
    batch: &[&NewEvent],
) -> Result<Vec<Option<Recorded>>, StoreError> {
    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(batch.len());
    for event in batch {
        answers.push(Some(record_one(&mut transaction, event).await?));
    }
    transaction.commit().await?;
    Ok(answers)
}

async fn record_one(
    connection: &mut sqlx::SqliteConnection,
    event: &NewEvent,
) -> Result<Recorded, StoreError> {
    let identity = event.verified.identity();
    let headers = event.verified.received().headers.to_bytes();
    let body = &event.verified.body()[..];
    let inserted = sqlx::query(INSERT_EVENT)
        .bind(event.id)
        .bind(event.verified.source().as_str())
        .bind(identity.event_id.as_str())
        .bind(identity.dedupe_key)
        .bind(identity.kind.as_str())
        .bind(&identity.digest[..])
        .bind(i64::try_from(body.len()).unwrap_or(i64::MAX))
        .bind(identity.held)
        .bind(seconds(event.keys))
        .execute(&mut *connection)
        .await?;
    if inserted.rows_affected() == 0 {
        return count_copy(connection, event, &headers).await;
    }
    sqlx::query(INSERT_BODY)
        .bind(event.id)
        .bind(&headers)
        .bind(body)
        .bind(seconds(event.bodies))
        .execute(&mut *connection)
        .await?;
    for handler in &event.handlers {
        sqlx::query(INSERT_DELIVERY)
            .bind(Uuid::now_v7())
            .bind(event.id)
            .bind(handler.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(Recorded::Fresh { event: event.id })
}

async fn count_copy(
    connection: &mut sqlx::SqliteConnection,
    event: &NewEvent,
    headers: &[u8],
) -> Result<Recorded, StoreError> {
    let identity = event.verified.identity();
    let row = sqlx::query(KNOWN).bind(identity.dedupe_key).fetch_one(&mut *connection).await?;
    let known = Known {
        id: get(&row, "id")?,
        event_id: get(&row, "event_id")?,
        digest: get(&row, "digest")?,
    };
    let recorded = compare(event, &known)?;
    if let Recorded::Duplicate { event: first, conflict } = recorded {
        sqlx::query(COUNT_COPY).bind(first).bind(conflict).execute(&mut *connection).await?;
        if conflict {
            sqlx::query(KEEP_CONFLICT)
                .bind(first)
                .bind(&identity.digest[..])
                .bind(headers)
                .bind(&event.verified.body()[..])
                .bind(CONFLICTS_MAX)
                .execute(connection)
                .await?;
        }
    }
    Ok(recorded)
}
