//! `/api/v1/replays`: many deliveries at once, carried on by the daemon.

use actix_web::{HttpRequest, web};
use entity::replay_run;
use uuid::Uuid;

use super::query::Query;
use super::shape::{List, ReplayReport, ReplayResume, ReplaysRequest};
use super::{AdminState, Answered, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;
use crate::replay::{Asked, rate};

/// How many runs are shown.
const RUNS: u64 = 50;

/// Begins a replay, finds the equal one that runs, or only says what would happen.
pub(super) async fn begin(
    request: HttpRequest,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let wanted: ReplaysRequest = request::json(&request, &mut payload, &budget).await?;
    let asked = wanted.asked();
    known(&state, &asked)?;
    let rate = per_second(wanted.rate.as_deref())?;
    if wanted.dry_run {
        let (going_on, tallies) = state.replayer.count(&asked, wanted.restart).await?;
        return json(&ReplayReport::would(asked, going_on.as_ref(), tallies)?);
    }
    let begun = state.replayer.begin(&asked, true, rate, wanted.restart).await?;
    state.replays.notify_one();
    json(&ReplayReport::of(&begun.run, begun.continued)?)
}

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    Query::of(&request, &[])?;
    let runs = state.store.replay_runs(RUNS).await?;
    let items = runs.iter().map(|run| ReplayReport::of(run, false)).collect::<Result<_, _>>()?;
    json(&List::<ReplayReport> { items, next_cursor: None })
}

pub(super) async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    told(state.store.replay_run(id).await?)
}

/// Stops it after its current batch. What it opened stays open.
pub(super) async fn cancel(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    told(state.store.stop_replay(id, None).await?)
}

/// Carries a stopped one on.
pub(super) async fn resume(
    request: HttpRequest,
    id: web::Path<String>,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    let wanted: ReplayResume = request::json(&request, &mut payload, &budget).await?;
    let rate = per_second(wanted.rate.as_deref())?;
    let run = state.store.resume_replay(id, true, rate).await?;
    state.replays.notify_one();
    told(run)
}

fn told(run: Option<replay_run::Model>) -> Answered {
    let run = run.ok_or_else(|| Problem::not_found("replay"))?;
    json(&ReplayReport::of(&run, true)?)
}

fn only_id(request: &HttpRequest, id: &str) -> Result<Uuid, Problem> {
    Query::of(request, &[])?;
    id.parse().map_err(|_| Problem::not_found("replay"))
}

fn per_second(text: Option<&str>) -> Result<Option<f64>, Problem> {
    text.map(rate).transpose().map_err(|why| Problem::bad_request(format!("rate: {why}")))
}

/// A name that nobody has is a slip, and would replay nothing.
fn known(state: &AdminState, asked: &Asked) -> Result<(), Problem> {
    let handler = |name: &str| state.handlers.iter().any(|handler| handler.name == name);
    let source = |name: &str| state.sources.named(name).is_some();
    let fault = |field: &str, what: &str, name: &str| {
        let name: String = name.chars().take(80).collect();
        Problem::bad_request(format!("{field}: there is no {what} `{}`", name.escape_debug()))
    };
    match asked {
        Asked { to_handler: Some(name), .. } if !handler(name) => {
            Err(fault("to_handler", "handler", name))
        }
        Asked { filter, .. } => match (&filter.handler, &filter.source) {
            (Some(name), _) if !handler(name) => Err(fault("filter.handler", "handler", name)),
            (_, Some(name)) if !source(name) => Err(fault("filter.source", "source", name)),
            _ => Ok(()),
        },
    }
}
