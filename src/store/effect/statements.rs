//! Runs an operator's statements with an event's values.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::types::Oid;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{
    AssertSqlSafe, Connection, Either, Executor, PgConnection, SqlSafeStr, Sqlite,
    SqliteConnection, Statement as _, TypeInfo,
};

use super::{Inner, Refusal, Tx};
use crate::statement::{Dialect, Filled, Script, Statement, Value};

/// Statements, and what their database said about their values' types. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Statements {
    script: Arc<Script>,
    /// PostgreSQL's, asked for once; forgotten when a statement is refused, because a type may have changed.
    typed: Arc<Mutex<Option<Arc<[Typed]>>>>,
}

/// A statement whose values are handed over as text and become what their places ask for.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) text: String,
    pub(super) types: Vec<String>,
}

impl Statements {
    /// The statements of a script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script: Arc::new(script), typed: Arc::default() }
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Runs them in order, each with its values. After a refusal the transaction is to be rolled back.
    pub async fn apply(&self, tx: &mut Tx<'_>, filled: &Filled) -> Result<(), Refusal> {
        match (&mut tx.0, self.script.dialect()) {
            (Inner::Postgres(connection, _), Dialect::Postgres) => {
                self.on_postgres(connection, filled).await
            }
            (Inner::Sqlite(connection), Dialect::Sqlite) => {
                on_sqlite(&self.script, connection, filled).await.map(drop)
            }
            (_, dialect) => Err(Refusal::Again(format!(
                "the statements are {dialect:?}'s, and the database is another one"
            ))),
        }
    }

    pub(super) async fn on_postgres(
        &self,
        connection: &mut PgConnection,
        filled: &Filled,
    ) -> Result<(), Refusal> {
        let typed = self.typed(connection).await?;
        for (at, (statement, values)) in typed.iter().zip(filled).enumerate() {
            let mut query = sqlx::query(AssertSqlSafe(statement.text.as_str()));
            for (value, to) in values.iter().zip(&statement.types) {
                query = query.bind(as_text(value, to).map_err(|why| never(at, &why))?);
            }
            if let Err(error) = query.execute(&mut *connection).await {
                *self.typed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Err(Refusal::of(at, &error));
            }
        }
        Ok(())
    }

    pub(super) async fn on_sqlite(
        &self,
        connection: &mut SqliteConnection,
        filled: &Filled,
    ) -> Result<(), Refusal> {
        on_sqlite(&self.script, connection, filled).await.map(drop)
    }

    pub(super) async fn typed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Arc<[Typed]>, Refusal> {
        let known = self.typed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        // The driver would answer from what it kept of an earlier question.
        let forgotten = connection.clear_cached_statements().await;
        forgotten.map_err(|error| Refusal::of(0, &error))?;
        let mut typed = Vec::new();
        for (at, statement) in self.script.statements().iter().enumerate() {
            let one = typed_by(connection, statement).await;
            typed.push(one.map_err(|error| Refusal::of(at, &error))?);
        }
        let typed: Arc<[Typed]> = typed.into();
        *self.typed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&typed));
        Ok(typed)
    }

    /// What PostgreSQL doesn't understand; nothing is run.
    pub(super) async fn prepare_postgres(
        &self,
        connection: &mut PgConnection,
    ) -> Vec<(usize, String)> {
        let mut faults = Vec::new();
        for (at, statement) in self.script.statements().iter().enumerate() {
            let prepared = match typed_by(connection, statement).await {
                // The types are then cast to: that must be understood, too.
                Ok(typed) => {
                    connection.prepare(AssertSqlSafe(typed.text).into_sql_str()).await.map(drop)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = prepared {
                faults.push((at, words(&error)));
            }
        }
        faults
    }

    /// What SQLite doesn't understand; nothing is run.
    pub(super) async fn prepare_sqlite(
        &self,
        connection: &mut SqliteConnection,
    ) -> Vec<(usize, String)> {
        let mut faults = Vec::new();
        for (at, statement) in self.script.statements().iter().enumerate() {
            let text = statement.text(|n| format!("?{n}"));
            if let Err(error) = connection.prepare(AssertSqlSafe(text).into_sql_str()).await {
                faults.push((at, words(&error)));
            }
        }
        faults
    }
}

/// The database's own words.
fn words(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => database.message().to_owned(),
        None => error.to_string(),
    }
}

pub(super) fn never(at: usize, why: &str) -> Refusal {
    Refusal::Never(format!("statement {}: {why}", at + 1))
}

/// Asks PostgreSQL which type each place has, and writes the statement so that texts are cast to them:
/// the server reads a value as it would read its literal, with every type that it knows.
async fn typed_by(
    connection: &mut PgConnection,
    statement: &Statement,
) -> Result<Typed, sqlx::Error> {
    let plain = statement.text(|n| format!("${n}"));
    let prepared = connection.prepare(AssertSqlSafe(plain).into_sql_str()).await?;
    let mut oids = Vec::with_capacity(statement.places());
    if let Some(Either::Left(types)) = prepared.parameters() {
        for one in types {
            let missing =
                || sqlx::Error::Protocol(format!("the type {} has no number", one.name()));
            oids.push(one.oid().ok_or_else(missing)?);
        }
    }
    let types: Vec<String> = name_types(connection, oids).await?;
    if types.len() != statement.places() {
        return Err(sqlx::Error::Protocol("the server counts other values than we do".to_owned()));
    }
    let text = statement.text(|n| {
        let to = types.get(n - 1).map_or("text", String::as_str);
        format!("(${n}::text)::{to}")
    });
    Ok(Typed { text, types })
}

async fn name_types(
    connection: &mut PgConnection,
    oids: Vec<Oid>,
) -> Result<Vec<String>, sqlx::Error> {
    // -1: a type's own name without a length. With NULL, `char(n)` would be `character`, which is one
    // character long, and a cast to it cuts in silence.
    let asked = "SELECT format_type(oid, -1) FROM UNNEST($1::oid[]) WITH ORDINALITY AS t (oid, n) ORDER BY n";
    sqlx::query_scalar(asked).bind(oids).fetch_all(connection).await
}

/// A value as PostgreSQL reads it from a text, for a place of type `to`.
pub(super) fn as_text(value: &Value, to: &str) -> Result<Option<String>, String> {
    let json = matches!(to, "json" | "jsonb");
    let bytes = |bytes: &[u8]| format!("\\x{}", hex::encode(bytes));
    let text = match value {
        Value::Null => return Ok(None),
        Value::Text(text) if json => serde_json::to_string(text).map_err(|why| why.to_string())?,
        Value::Text(text) | Value::Json(text) if to == "bytea" => bytes(text.as_bytes()),
        Value::Body(body) if to == "bytea" => bytes(body),
        Value::Body(body) => match std::str::from_utf8(body) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err("the body is no text; only bytea can hold it".to_owned()),
        },
        Value::Text(text) | Value::Number(text) | Value::Json(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Time(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        Value::Id(id) => id.to_string(),
    };
    Ok(Some(text))
}

/// Runs them in order.
pub(super) async fn on_sqlite(
    script: &Script,
    connection: &mut SqliteConnection,
    filled: &Filled,
) -> Result<(), Refusal> {
    for (at, (statement, values)) in script.statements().iter().zip(filled).enumerate() {
        let text = statement.text(|n| format!("?{n}"));
        let done = bound_on_sqlite(at, text, values)?.execute(&mut *connection).await;
        done.map_err(|error| Refusal::of(at, &error))?;
    }
    Ok(())
}

/// The statement with its values: each by its JSON type; the column's affinity then does what SQLite's does.
pub(super) fn bound_on_sqlite(
    at: usize,
    text: String,
    values: &[Value],
) -> Result<Query<'static, Sqlite, SqliteArguments>, Refusal> {
    let mut query = sqlx::query(AssertSqlSafe(text));
    for value in values {
        query = match value {
            Value::Null => query.bind(None::<String>),
            Value::Text(text) | Value::Json(text) => query.bind(text.clone()),
            Value::Bool(value) => query.bind(*value),
            Value::Number(text) => match text.parse::<i64>() {
                Ok(whole) => query.bind(whole),
                Err(_) if text.contains(['.', 'e', 'E']) => {
                    let number: f64 =
                        text.parse().map_err(|_| never(at, "a number can't be read"))?;
                    if !number.is_finite() {
                        return Err(never(at, "a number is beyond what SQLite can hold"));
                    }
                    query.bind(number)
                }
                Err(_) => {
                    return Err(never(
                        at,
                        "a whole number is beyond 64 bits, which SQLite would round",
                    ));
                }
            },
            Value::Time(time) => query.bind(time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()),
            Value::Id(id) => query.bind(id.to_string()),
            Value::Body(body) => match std::str::from_utf8(body) {
                Ok(text) => query.bind(text.to_owned()),
                Err(_) => query.bind(body.to_vec()),
            },
        };
    }
    Ok(query)
}
