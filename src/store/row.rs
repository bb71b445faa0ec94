//! Reading columns alike from both databases.

use entity::Name;
use sqlx::{ColumnIndex, Database, Decode, Row, Type};

use super::error::StoreError;

/// Reads a column and says which when it can't.
pub(super) fn get<'r, R, T>(row: &'r R, column: &'static str) -> Result<T, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    T: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    row.try_get(column).map_err(|error| StoreError::Unreadable(format!("column {column}: {error}")))
}

/// Reads a name that was written by us.
pub(super) fn name(text: &str) -> Result<Name, StoreError> {
    Name::new(text).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// Seconds for the database's own arithmetic.
pub(super) fn seconds(span: std::time::Duration) -> f64 {
    // A century is for ever; make_interval and SQLite's modifiers overflow far above it.
    span.as_secs_f64().min(100.0 * 366.0 * 86_400.0)
}

/// Names as a JSON array, which is how SQLite takes a list as one parameter.
pub(super) fn json_list(names: &[Name]) -> String {
    // A name holds no character that JSON escapes.
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("[{}]", quoted.join(","))
}
