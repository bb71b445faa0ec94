//! `/api/v1/deliveries`: one event for one handler, and what an operator may do about it.

use actix_web::{HttpRequest, web};
use chrono::Utc;
use uuid::Uuid;

use super::query::Query;
use super::shape::{Action, DeliveryFull, List};
use super::{AdminState, Answered, convert, json};
use crate::http::problem::Problem;
use crate::store::{DeliveryFilter, Removed};

const KNOWN: [&str; 8] =
    ["state", "handler", "source", "type", "since", "until", "cursor", "limit"];

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    let query = Query::of(&request, &KNOWN)?;
    let now = Utc::now();
    let filter = DeliveryFilter {
        state: query.state()?,
        handler: query.text("handler"),
        source: query.text("source"),
        kind: query.text("type"),
        since: query.moment("since", now)?,
        until: query.moment("until", now)?,
        cursor: query.text("cursor"),
        limit: query.limit()?,
    };
    json(&List::<DeliveryFull>::from(state.store.deliveries(&filter).await?))
}

pub(super) async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    let found = state.store.delivery(id).await?;
    let (row, tries) = found.ok_or_else(|| Problem::not_found("delivery"))?;
    json(&convert::delivery(row.delivery, &row.event, Some(tries)))
}

/// Reopens a dead one under its id; makes a pending one due now.
pub(super) async fn retry(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    let reopened = state.store.retry(id).await?;
    let reopened = reopened.ok_or_else(|| Problem::not_found("delivery"))?;
    (state.wake)();
    json(&Action::from(reopened))
}

/// Takes an open one away.
pub(super) async fn cancel(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    removed(id, "cancelled", state.store.cancel(id).await?)
}

/// Takes a dead letter away.
pub(super) async fn discard(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    let id = only_id(&request, &id)?;
    removed(id, "discarded", state.store.discard(id).await?)
}

fn removed(id: Uuid, done: &'static str, removed: Removed) -> Answered {
    let action =
        convert::removed(id, done, removed).ok_or_else(|| Problem::not_found("delivery"))?;
    json(&action)
}

fn only_id(request: &HttpRequest, id: &str) -> Result<Uuid, Problem> {
    Query::of(request, &[])?;
    // What can't be an id of ours is not found, like any other that we don't have.
    id.parse().map_err(|_| Problem::not_found("delivery"))
}
