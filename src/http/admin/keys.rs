//! `/api/v1/idempotency-keys`: keys as they stand, and giving one back.

use actix_web::{HttpRequest, web};

use super::query::Query;
use super::shape::{IdempotencyKeyItem, List, ReleaseKey};
use super::{AdminState, Answered, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;
use crate::store::idempotency::{KeyFilter, KeyId};

const KNOWN: [&str; 6] = ["scope", "key", "status", "body", "cursor", "limit"];

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    let query = Query::of(&request, &KNOWN)?;
    let filter = KeyFilter {
        scope: query.text("scope"),
        key: query.text("key"),
        status: query.text("status"),
        with_bodies: query.parsed("body", "true or false")?.unwrap_or(false),
        cursor: query.text("cursor"),
        limit: query.limit()?,
    };
    let page = state.store.keys(&filter).await?;
    let items: Vec<IdempotencyKeyItem> = page.items.into_iter().map(Into::into).collect();
    json(&List { items, next_cursor: page.next_cursor })
}

/// Gives a key back: its next request runs.
pub(super) async fn release(
    request: HttpRequest,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let ReleaseKey { scope, key, version } = request::json(&request, &mut payload, &budget).await?;
    let id = KeyId { scope: scope.clone(), key: key.clone() };
    let why = "released by an operator".to_owned();
    let released = state.store.release_key(id, version.clone(), why).await?;
    let filter = KeyFilter { scope: Some(scope), key: Some(key), ..KeyFilter::default() };
    let found = state.store.keys(&filter).await?.items.into_iter().next();
    let found =
        IdempotencyKeyItem::from(found.ok_or_else(|| Problem::not_found("idempotency key"))?);
    if released {
        return json(&found);
    }
    Err(if version.is_some_and(|seen| seen != found.version) {
        Problem::new(409, "changed", "it changed meanwhile; look at it again")
    } else {
        Problem::new(409, "busy", "it is being run; try again when its lease is over")
    })
}
