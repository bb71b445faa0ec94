//! `--dry-run --diff`: what the statements of SQL handlers would do.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{ReplayReport, text};
use crate::cli::output::plain;

/// Why there is no `--diff` with `--url`.
pub(in crate::cli) const NOT_OVER_THE_API: &str = "--diff runs the handlers' statements in their databases, which the admin API \
doesn't do: leave --url out, where the config and its databases can be reached; --dry-run without --diff works with --url";

/// A report with its rehearsals.
#[derive(Serialize)]
pub(super) struct WithDiff {
    #[serde(flatten)]
    pub(super) report: ReplayReport,
    pub(super) diff: Vec<Rehearsal>,
}

/// What would be done with one event by the statements of one handler.
#[derive(Debug, Clone, Serialize)]
pub struct Rehearsal {
    /// Our id of the event.
    pub event: Uuid,
    /// The provider's.
    pub event_id: String,
    /// The handler.
    pub handler: String,
    /// The database of `[databases]` that the statements run in; `None` is hookonce's own.
    pub database: Option<String>,
    /// Whether the handler's `when` is false: then no statement runs.
    pub skipped: bool,
    /// Whether the fence stands in that database: an earlier try did the work, and no statement runs again.
    pub done_before: bool,
    /// The statements, in order; empty when they were not done.
    pub statements: Vec<Rehearsed>,
    /// Why they would not be done.
    pub error: Option<String>,
}

/// What one statement would do.
#[derive(Debug, Clone, Serialize)]
pub struct Rehearsed {
    /// Rows that it writes, or gives.
    pub rows: u64,
    /// The first of those that it writes, as they would be; of DELETE, as they are. Empty where the
    /// database can't be asked for them.
    pub written: Vec<Value>,
}

/// For people.
pub(super) fn with_diff(it: &WithDiff) -> String {
    let mut all = text(&it.report);
    for one in &it.diff {
        all += &format!("\n{}  {}  {}", one.event, plain(&one.event_id), plain(&one.handler));
        if let Some(database) = &one.database {
            all += &format!("  in {}", plain(database));
        }
        if one.skipped {
            all += "\n  skipped: `when` is false";
        }
        if one.done_before {
            all +=
                "\n  done already: the fence of this delivery stands there, and nothing would run";
        }
        if let Some(why) = &one.error {
            all += &format!("\n  fails: {}", plain(why));
        }
        for (at, statement) in one.statements.iter().enumerate() {
            let rows = if statement.rows == 1 { "row" } else { "rows" };
            all += &format!("\n  statement {}: {} {rows}", at + 1, statement.rows);
            for row in &statement.written {
                all += &format!("\n    {}", plain(&row.to_string()));
            }
        }
    }
    all
}
