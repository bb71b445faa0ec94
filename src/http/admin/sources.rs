//! `/api/v1/sources`: where webhooks may come in, and what handshakes handed them.

use actix_web::{HttpRequest, web};

use super::query::Query;
use super::shape::{List, SourceItem};
use super::{AdminState, Answered, convert, json};
use crate::http::auth::Door;
use crate::http::problem::Problem;

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    Query::of(&request, &[])?;
    state.captures.load().await?;
    let items = state.sources.iter().map(|source| SourceItem::from(&**source)).collect();
    json(&List { items, next_cursor: None })
}

pub(super) async fn show(
    request: HttpRequest,
    name: web::Path<String>,
    door: web::Data<Door>,
    state: web::Data<AdminState>,
) -> Answered {
    let query = Query::of(&request, &["reveal"])?;
    let reveal = query.parsed("reveal", "true or false")?.unwrap_or(false);
    if reveal && !door.has_token() {
        let detail = "a secret is shown only behind a token: set admin.token";
        return Err(Problem::new(403, "token_not_set", detail));
    }
    let source = state.sources.named(&name).ok_or_else(|| Problem::not_found("source"))?;
    state.captures.load().await?;
    let captured = match source.captures() {
        true => state.store.captured().await?,
        false => Vec::new(),
    };
    json(&convert::source_in_full(source, &captured, reveal))
}

/// Forgets what was captured, so that the next handshake counts.
pub(super) async fn reopen(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let source = state.sources.named(&name).ok_or_else(|| Problem::not_found("source"))?;
    if !source.captures() {
        let detail = "no handshake hands this source a secret: its secrets are in the config";
        return Err(Problem::new(409, "not_capturing", detail));
    }
    state.captures.forget(source).await?;
    json(&SourceItem::from(&**source))
}
