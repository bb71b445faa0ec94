//! `/api/v1/handlers`: where events go, and what would be sent.

use actix_web::{HttpRequest, web};

use super::pauses::with_pauses;
use super::query::Query;
use super::shape::{HandlerItem, HandlerTestRequest, List};
use super::{AdminState, Answered, convert, events, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    Query::of(&request, &[])?;
    let brief = |it: &HandlerItem| HandlerItem { settings: None, ..it.clone() };
    let items = state.handlers.iter().map(brief).collect();
    json(&List { items: with_pauses(&state.store, items).await?, next_cursor: None })
}

pub(super) async fn show(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let found = state.handlers.iter().find(|it| it.name == *name);
    let found = found.ok_or_else(|| Problem::not_found("handler"))?;
    json(&with_pauses(&state.store, vec![found.clone()]).await?[0])
}

/// Says what the handler would do with a recorded event. Calls and changes nothing.
pub(super) async fn test(
    request: HttpRequest,
    name: web::Path<String>,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let wanted: HandlerTestRequest = request::json(&request, &mut payload, &budget).await?;
    let found = state.trials.iter().find(|it| it.name.as_str() == *name);
    let trial = found.ok_or_else(|| Problem::not_found("handler"))?;
    if wanted.event.is_empty() {
        return Err(Problem::bad_request(
            "event: name a recorded event by our id or the provider's",
        ));
    }
    let detail = events::one(&state, &wanted.event).await?;
    let Some(body) = state.store.event_body(detail.event.id).await? else {
        return Err(Problem::new(410, "gone", "retention dropped this event's body"));
    };
    let event = convert::handed_over(detail, body).map_err(|why| {
        tracing::error!(error = %why, "an event can't be read: this is a bug");
        Problem::new(500, "internal", "the event can't be read; the log says why")
    })?;
    let tried = trial.run(&event).await;
    json(&convert::handler_test(&trial.name, event.id, tried))
}
