//! Keyset pages: rows are ordered by id, newest first, because ids are UUIDv7.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, LikeExpr, SimpleExpr};
use sea_orm::{ColumnTrait, DatabaseConnection, DbBackend, Value};
use uuid::Uuid;

use super::Page;
use crate::store::clock::sqlite_text;
use crate::store::error::StoreError;

/// Rows of a page when nobody says.
const LIMIT_DEFAULT: u32 = 50;

/// The most rows of a page.
const LIMIT_MAX: u32 = 500;

/// How many rows a page has: 1 to 500.
pub(super) fn limit(asked: Option<u32>) -> usize {
    asked.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX) as usize
}

/// The id after which a page begins.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<Uuid>, StoreError> {
    let Some(text) = text else { return Ok(None) };
    Uuid::try_parse(text).map(Some).map_err(|_| {
        StoreError::Invalid(format!(
            "`{text}` is not a cursor; give back the next_cursor of a page"
        ))
    })
}

/// Cuts what was fetched (one row more than the page) to the page.
pub(super) fn page<T>(mut items: Vec<T>, limit: usize, id: impl Fn(&T) -> Uuid) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = if more { items.last().map(|last| id(last).to_string()) } else { None };
    Page { items, next_cursor }
}

/// A moment as the database's columns hold it.
pub(super) fn moment(database: &DatabaseConnection, at: DateTime<Utc>) -> Value {
    match database.get_database_backend() {
        DbBackend::Sqlite => Value::from(sqlite_text(at)),
        _ => Value::from(at),
    }
}

/// Equal, or beginning alike when the text ends in `*`.
pub(super) fn matches(column: impl ColumnTrait, text: &str) -> SimpleExpr {
    match text.strip_suffix('*') {
        Some(start) => {
            let escaped: String = start
                .chars()
                .flat_map(|c| matches!(c, '%' | '_' | '\\').then_some('\\').into_iter().chain([c]))
                .collect();
            Expr::col(column.as_column_ref())
                .like(LikeExpr::new(format!("{escaped}%")).escape('\\'))
        }
        None => column.eq(text),
    }
}
