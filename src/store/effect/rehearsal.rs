//! Running an operator's statements to see what they would do: the transaction is always rolled back.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::statements::{self, Typed, as_text, never};
use super::{Ended, Refusal, Statements, postgres, sqlite};
use crate::statement::Filled;
use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;

/// Rows that are shown of one statement, at most.
const SHOWN_MAX: i64 = 20;

/// What one statement would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// Rows that it writes, or gives.
    pub rows: u64,
    /// The first of those that it writes, as JSON: as they are afterwards, and of DELETE as they were. Where
    /// nothing can be asked for them (on SQLite, of `with`, `call` and the like) there are none.
    pub shown: Vec<String>,
}

impl Store {
    /// Runs statements in our own database and rolls them back, whatever they do; constraints that COMMIT
    /// would check are checked before. What a rollback doesn't undo stays: sequences go on.
    /// All of it takes `limit` and a moment. On SQLite it holds the only writer meanwhile.
    pub async fn rehearse(
        &self,
        statements: &Statements,
        filled: Filled,
        limit: Duration,
    ) -> Result<Result<Vec<Rehearsed>, Refusal>, StoreError> {
        let (statements, unwanted) = (statements.clone(), CancellationToken::new());
        let guard = unwanted.clone().drop_guard();
        let ended = self
            .detached_long(move |database| async move {
                match &*database {
                    Database::Postgres(it) => {
                        postgres::transaction(&it.effects, limit, &unwanted, |connection| {
                            Box::pin(async move {
                                Err::<(), _>(on_postgres(&statements, connection, &filled).await)
                            })
                        })
                        .await
                    }
                    Database::Sqlite(it) => {
                        sqlite::transaction(&it.writer, limit, &unwanted, |connection| {
                            Box::pin(async move {
                                Err(on_sqlite(&statements, connection, &filled).await)
                            })
                        })
                        .await
                    }
                }
            })
            .await?;
        drop(guard);
        match ended {
            Ended::RolledBack(seen) => Ok(seen),
            Ended::Cut => Ok(Err(Refusal::too_long(limit))),
            Ended::Committed(()) => {
                Err(StoreError::Invariant("a rehearsal was committed".to_owned()))
            }
        }
    }
}

/// Runs them, with the rows that they write.
pub(super) async fn on_postgres(
    statements: &Statements,
    connection: &mut PgConnection,
    filled: &Filled,
) -> Result<Vec<Rehearsed>, Refusal> {
    let typed = statements.typed(connection).await?;
    let mut seen = Vec::with_capacity(typed.len());
    for (at, (statement, values)) in typed.iter().zip(filled).enumerate() {
        let texts = statement.types.iter().zip(values).map(|(to, value)| as_text(value, to));
        let texts: Vec<Option<String>> =
            texts.collect::<Result<_, _>>().map_err(|why| never(at, &why))?;
        let one = one(connection, statement, &texts).await;
        seen.push(one.map_err(|error| Refusal::of(at, &error))?);
    }
    let checked = connection.execute("SET CONSTRAINTS ALL IMMEDIATE").await;
    checked.map_err(|error| Refusal::of(typed.len().saturating_sub(1), &error))?;
    Ok(seen)
}

/// Runs them, and counts what they write.
pub(super) async fn on_sqlite(
    statements: &Statements,
    connection: &mut SqliteConnection,
    filled: &Filled,
) -> Result<Vec<Rehearsed>, Refusal> {
    let rows = statements::on_sqlite(statements.script(), connection, filled).await?;
    Ok(rows.into_iter().map(|rows| Rehearsed { rows, shown: Vec::new() }).collect())
}

/// Tries first to have the rows as well: a statement that takes no RETURNING behind it is refused before it
/// does anything, and is run as it is.
async fn one(
    connection: &mut PgConnection,
    statement: &Typed,
    texts: &[Option<String>],
) -> Result<Rehearsed, sqlx::Error> {
    if writes(&statement.text) {
        let text = format!(
            "WITH hookonce_written AS (\n{}\nRETURNING *)
            SELECT count(*) OVER () AS rows, to_jsonb(hookonce_written)::text AS row FROM hookonce_written LIMIT {SHOWN_MAX}",
            statement.text
        );
        let mut mark = connection.begin().await?;
        let mut query = sqlx::query(AssertSqlSafe(text));
        for text in texts {
            query = query.bind(text);
        }
        match query.fetch_all(&mut *mark).await {
            Ok(rows) => {
                mark.commit().await?;
                let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get("rows"))?;
                let shown = rows.iter().map(|row| row.try_get("row")).collect::<Result<_, _>>()?;
                return Ok(Rehearsed { rows: count.unsigned_abs(), shown });
            }
            Err(_) => mark.rollback().await?,
        }
    }
    let mut query = sqlx::query(AssertSqlSafe(statement.text.as_str()));
    for text in texts {
        query = query.bind(text);
    }
    let done = query.execute(connection).await?;
    Ok(Rehearsed { rows: done.rows_affected(), shown: Vec::new() })
}

/// Whether it begins as a statement that RETURNING may stand behind.
fn writes(text: &str) -> bool {
    let word: String = text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    ["insert", "update", "delete"].iter().any(|known| word.eq_ignore_ascii_case(known))
}
