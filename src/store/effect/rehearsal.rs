//! Running an operator's statements to see what they would do: the transaction is always rolled back.

use std::time::Duration;

use futures::TryStreamExt;
use serde_json::{Number, Value};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, Connection, Executor, PgConnection, Row, SqlSafeStr, Sqlite,
    SqliteConnection, TypeInfo, ValueRef,
};
use tokio_util::sync::CancellationToken;

use super::statements::{Typed, as_text, bound_on_sqlite, never};
use super::{Ended, Refusal, Statements, postgres, sqlite};
use crate::statement::Filled;
use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;

/// Rows that are shown of one statement, at most.
const SHOWN_MAX: usize = 20;

/// What one statement would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// Rows that it writes, or gives.
    pub rows: u64,
    /// The first of those that it writes, as JSON: as they are afterwards, and of DELETE as they were. Where
    /// nothing can be asked for them (of `with`, `call` and the like) there are none.
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
                        let side = postgres::Side::Ours(&it.effects);
                        postgres::transaction(side, limit, &unwanted, |connection| {
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

/// Runs them, with the rows that they write.
pub(super) async fn on_sqlite(
    statements: &Statements,
    connection: &mut SqliteConnection,
    filled: &Filled,
) -> Result<Vec<Rehearsed>, Refusal> {
    let mut seen = Vec::with_capacity(filled.len());
    let all = statements.script().statements();
    for (at, (statement, values)) in all.iter().zip(filled).enumerate() {
        let text = statement.text(|n| format!("?{n}"));
        let with_rows = format!("{text}\nRETURNING *");
        // Asked first: a statement that takes no RETURNING behind it is not understood, and is run as it is.
        let understood = writes(&text)
            && connection.prepare(AssertSqlSafe(with_rows.clone()).into_sql_str()).await.is_ok();
        let one = if understood {
            written(bound_on_sqlite(at, with_rows, values)?, connection).await
        } else {
            let done = bound_on_sqlite(at, text, values)?.execute(&mut *connection).await;
            done.map(|done| Rehearsed { rows: done.rows_affected(), shown: Vec::new() })
        };
        seen.push(one.map_err(|error| Refusal::of(at, &error))?);
    }
    Ok(seen)
}

/// Runs a statement that gives each row that it writes.
async fn written(
    query: Query<'_, Sqlite, SqliteArguments>,
    connection: &mut SqliteConnection,
) -> Result<Rehearsed, sqlx::Error> {
    let (mut seen, mut rows) = (Rehearsed::default(), query.fetch(connection));
    while let Some(row) = rows.try_next().await? {
        seen.rows += 1;
        if seen.shown.len() < SHOWN_MAX {
            seen.shown.push(as_json(&row)?);
        }
    }
    Ok(seen)
}

/// A row as PostgreSQL's `to_jsonb` would have it, by the types that its values have.
fn as_json(row: &SqliteRow) -> Result<String, sqlx::Error> {
    let mut object = serde_json::Map::new();
    for (at, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(at)?;
        let value = match (raw.is_null(), raw.type_info().name()) {
            (true, _) => Value::Null,
            (false, "INTEGER") => row.try_get_unchecked::<i64, _>(at)?.into(),
            (false, "REAL") => {
                let number: f64 = row.try_get_unchecked(at)?;
                // JSON has no infinity.
                Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
            }
            (false, kind) => {
                let bytes: Vec<u8> = row.try_get_unchecked(at)?;
                match String::from_utf8(bytes) {
                    Ok(text) if kind == "TEXT" => text.into(),
                    Ok(text) => format!("\\x{}", hex::encode(text)).into(),
                    Err(bytes) => format!("\\x{}", hex::encode(bytes.as_bytes())).into(),
                }
            }
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(Value::Object(object).to_string())
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
