//! Pausing handlers and resuming them. The command line does the same on its own store.

use actix_web::{HttpRequest, web};
use entity::Name;

use super::query::Query;
use super::shape::{HandlerItem, PauseDone, PauseRequest, PausedItem};
use super::{AdminState, Answered, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;
use crate::store::pause::{NewPause, OpenPause, PauseKind};
use crate::store::{Store, StoreError};

/// A longer reason is cut.
const REASON_MAX: usize = 500;

pub(super) async fn pause(
    request: HttpRequest,
    name: web::Path<String>,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let wanted: PauseRequest = request::json(&request, &mut payload, &budget).await?;
    let handler = known(&state, &name)?;
    json(&paused(&state.store, handler, wanted.reason, "the admin API").await?)
}

pub(super) async fn resume(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let handler = known(&state, &name)?;
    json(&resumed(&state.store, handler).await?)
}

fn known(state: &AdminState, name: &str) -> Result<Name, Problem> {
    let found = state.handlers.iter().find(|it| it.name == name);
    found.and_then(|it| Name::new(&it.name).ok()).ok_or_else(|| Problem::not_found("handler"))
}

/// Pauses by hand.
pub async fn paused(
    store: &Store,
    handler: Name,
    reason: Option<String>,
    by: &str,
) -> Result<PauseDone, StoreError> {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
    let reason = reason.chars().take(REASON_MAX).collect();
    let pause =
        NewPause { handler: handler.clone(), reason, by: by.to_owned(), kind: PauseKind::Hand };
    let changed = store.pause(pause).await?;
    done(store, handler, changed).await
}

/// Resumes, whatever paused it.
pub async fn resumed(store: &Store, handler: Name) -> Result<PauseDone, StoreError> {
    let changed = store.resume(handler.clone(), false).await?;
    done(store, handler, changed).await
}

async fn done(store: &Store, handler: Name, changed: bool) -> Result<PauseDone, StoreError> {
    let open = store.open_pauses().await?;
    let paused = open.into_iter().find(|pause| pause.handler == handler).map(PausedItem::from);
    Ok(PauseDone { handler: handler.to_string(), changed, paused })
}

/// Adds to each handler the pause that holds.
pub async fn with_pauses(
    store: &Store,
    mut items: Vec<HandlerItem>,
) -> Result<Vec<HandlerItem>, StoreError> {
    for pause in store.open_pauses().await? {
        if let Some(item) = items.iter_mut().find(|item| item.name == pause.handler.as_str()) {
            item.paused = Some(pause.into());
        }
    }
    Ok(items)
}

impl From<OpenPause> for PausedItem {
    fn from(pause: OpenPause) -> Self {
        Self {
            cause: pause.cause.as_str().to_owned(),
            reason: pause.reason,
            by: pause.by,
            since: pause.since,
            tries_again_in_seconds: pause.left.map(|left| left.as_secs_f64()),
        }
    }
}
