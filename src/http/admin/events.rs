//! `/api/v1/events`: what was recorded, its exact bytes, and doing it again.

use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Utc;

use super::query::Query;
use super::shape::{Action, EventFull, EventItem, List, ReplayRequest};
use super::{AdminState, Answered, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;
use crate::store::replay_run::Target;
use crate::store::{EventDetail, EventFilter};

const KNOWN: [&str; 8] = ["source", "type", "state", "id", "since", "until", "cursor", "limit"];

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    let query = Query::of(&request, &KNOWN)?;
    let now = Utc::now();
    let filter = EventFilter {
        source: query.text("source"),
        kind: query.text("type"),
        state: query.state()?,
        id: query.text("id"),
        since: query.moment("since", now)?,
        until: query.moment("until", now)?,
        cursor: query.text("cursor"),
        limit: query.limit()?,
    };
    json(&List::<EventItem>::from(state.store.events(&filter).await?))
}

pub(super) async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    json(&EventFull::from(one(&state, &id).await?))
}

/// The exact bytes, as something to be saved, never to be shown: a body may be a page with a script.
pub(super) async fn body(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let event = one(&state, &id).await?.event.id;
    let Some(body) = state.store.event_body(event).await? else {
        return Err(Problem::new(410, "gone", "retention dropped this event's body"));
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{event}.bin\"")))
        .body(body))
}

/// Reopens dead deliveries, or makes new ones: see [`crate::store::Store::replay`].
pub(super) async fn replay(
    request: HttpRequest,
    id: web::Path<String>,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let wanted: ReplayRequest = request::json(&request, &mut payload, &budget).await?;
    let handlers = match wanted.to_handler {
        None => Vec::new(),
        Some(name) => vec![known_handler(&state, &name)?],
    };
    let event = one(&state, &id).await?.event.id;
    let reopened = state.store.replay(event, handlers, wanted.again).await?;
    (state.wake)();
    json(&List { items: reopened.into_iter().map(Action::from).collect(), next_cursor: None })
}

/// A delivery for a handler that nobody runs would wait for ever.
fn known_handler(state: &AdminState, name: &str) -> Result<Target, Problem> {
    let known = state.replayer.targets.iter().find(|target| target.handler.as_str() == name);
    known.cloned().ok_or_else(|| {
        Problem::bad_request(format!("to_handler: there is no handler `{}`", name.escape_debug()))
    })
}

/// The one event that `id` means, ours or the provider's.
pub(super) async fn one(state: &AdminState, id: &str) -> Result<EventDetail, Problem> {
    // No id holds a NUL, and Postgres would refuse the question.
    if id.contains('\0') {
        return Err(Problem::not_found("event"));
    }
    let mut found = state.store.event(id).await?;
    if found.len() > 1 {
        let ids: Vec<String> = found
            .iter()
            .map(|detail| format!("{} ({})", detail.event.id, detail.event.source))
            .collect();
        return Err(Problem::new(
            409,
            "ambiguous",
            format!("several sources have an event with this id; use ours: {}", ids.join(", ")),
        ));
    }
    found.pop().ok_or_else(|| Problem::not_found("event"))
}
