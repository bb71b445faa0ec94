//! What a handler answered to an event, for a sender that asks again.

use entity::Name;
use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use super::Store;
use super::connect::Database;
use super::error::StoreError;
use super::row::get;

const ANSWER_POSTGRES: &str = "SELECT d.state = 'leased' OR (d.state = 'pending' AND d.attempts = d.attempts_before) AS open, a.status, a.content_type, a.response
  FROM delivery d
  LEFT JOIN LATERAL (SELECT status, content_type, response FROM attempt
                      WHERE delivery_id = d.id AND outcome = 'delivered' ORDER BY n DESC LIMIT 1) AS a ON d.state = 'delivered'
 WHERE d.event_id = $1 AND d.handler = $2
 ORDER BY d.round LIMIT 1";

const ANSWER_SQLITE: &str =
    "SELECT d.state = 'leased' OR (d.state = 'pending' AND d.attempts = d.attempts_before) AS open, a.status, a.content_type, a.response
  FROM delivery d
  LEFT JOIN attempt a ON d.state = 'delivered' AND a.delivery_id = d.id AND a.outcome = 'delivered'
 WHERE d.event_id = ?1 AND d.handler = ?2
 ORDER BY d.round, a.n DESC LIMIT 1";

/// What is known of a handler's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredAnswer {
    /// Its handler runs, or was not tried since the delivery was opened.
    Open,
    /// There is none: no such delivery, one whose try failed and that waits for the next, or one that ended
    /// without an answer that could be passed on.
    None,
    /// The whole answer.
    Whole {
        /// HTTP status or exit code.
        status: Option<i32>,
        /// As the handler said it.
        content_type: String,
        /// All of it.
        body: Vec<u8>,
    },
}

impl Store {
    /// What a handler answered to an event, in its first round.
    pub async fn answer(&self, event: Uuid, handler: Name) -> Result<StoredAnswer, StoreError> {
        self.detached(move |database| async move {
            let handler = handler.as_str();
            match &*database {
                Database::Postgres(postgres) => {
                    let query = sqlx::query(ANSWER_POSTGRES).bind(event).bind(handler);
                    query.fetch_optional(&postgres.shared).await?.as_ref().map(answer)
                }
                Database::Sqlite(sqlite) => {
                    let query = sqlx::query(ANSWER_SQLITE).bind(event).bind(handler);
                    query.fetch_optional(&sqlite.readers).await?.as_ref().map(answer)
                }
            }
            .unwrap_or(Ok(StoredAnswer::None))
        })
        .await
    }
}

fn answer<R: Row>(row: &R) -> Result<StoredAnswer, StoreError>
where
    &'static str: ColumnIndex<R>,
    bool: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Option<i32>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Option<Vec<u8>>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    if get(row, "open")? {
        return Ok(StoredAnswer::Open);
    }
    let (content_type, body): (Option<String>, Option<Vec<u8>>) =
        (get(row, "content_type")?, get(row, "response")?);
    let Some(content_type) = content_type else { return Ok(StoredAnswer::None) };
    let status = get(row, "status")?;
    Ok(StoredAnswer::Whole { status, content_type, body: body.unwrap_or_default() })
}
