//! `/api/v1/cleanup`: what is deleted and when, what was, and doing it now.

use actix_web::{HttpRequest, web};
use chrono::Utc;

use super::query::Query;
use super::shape::{CleanupDone, CleanupPolicy, CleanupRequest, CleanupRun, CleanupStatus};
use super::{AdminState, Answered, Cleaned, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;
use crate::upkeep::cleanup::CHORE;

/// How many runs are shown.
const RUNS: u64 = 20;

pub(super) async fn show(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    Query::of(&request, &[])?;
    let runs = state.store.runs(CHORE, RUNS).await?;
    json(&CleanupStatus {
        policy: CleanupPolicy::new(&state.cleanup.settings, state.cleanup.retention),
        next_run: (state.cleanup.next_run)(Utc::now()),
        runs: runs.into_iter().map(CleanupRun::from).collect(),
    })
}

pub(super) async fn run(
    request: HttpRequest,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let wanted: CleanupRequest = request::json(&request, &mut payload, &budget).await?;
    if wanted.dry_run {
        let swept = state.store.expired(state.cleanup.retention).await?;
        return json(&CleanupDone { dry_run: true, complete: true, swept });
    }
    match (state.cleanup.run)().await? {
        Cleaned::Ran { swept, complete } => json(&CleanupDone { dry_run: false, complete, swept }),
        Cleaned::Busy => Err(Problem::new(409, "busy", "a cleanup is running; try again later")),
    }
}
