//! `/api/v1/rejections`: refused requests, for diagnosis, and letting them in after all.

use actix_web::{HttpRequest, web};
use chrono::Utc;
use uuid::Uuid;

use super::query::{self, Query};
use super::shape::{List, ReadmitItem, ReadmitRequest, RejectionItem};
use super::{AdminState, Answered, convert, json, request};
use crate::http::budget::Budget;
use crate::http::problem::Problem;
use crate::intake::readmit::ReadmitFilter;
use crate::store::RejectionFilter;

const KNOWN: [&str; 5] = ["source", "code", "since", "cursor", "limit"];

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    let query = Query::of(&request, &KNOWN)?;
    let filter = RejectionFilter {
        source: query.text("source"),
        code: query.text("code"),
        id: None,
        since: query.moment("since", Utc::now())?,
        cursor: query.text("cursor"),
        limit: query.limit()?,
    };
    let page = state.store.rejections(&filter).await?;
    let item = |rejection| convert::rejection_listed(rejection, &state.sources);
    let items: Vec<RejectionItem> = page.items.into_iter().map(item).collect();
    json(&List { items, next_cursor: page.next_cursor })
}

pub(super) async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let id: Uuid = id.parse().map_err(|_| Problem::not_found("rejection"))?;
    let filter = RejectionFilter { id: Some(id), ..RejectionFilter::default() };
    let found = state.store.rejections(&filter).await?.items.into_iter().next();
    let found = found.ok_or_else(|| Problem::not_found("rejection"))?;
    json(&convert::rejection_in_full(found, &state.sources))
}

/// Judges kept requests again with today's secrets, freshness as of when they came.
pub(super) async fn readmit(
    request: HttpRequest,
    mut payload: web::Payload,
    budget: web::Data<Budget>,
    state: web::Data<AdminState>,
) -> Answered {
    Query::of(&request, &[])?;
    let wanted: ReadmitRequest = request::json(&request, &mut payload, &budget).await?;
    let now = Utc::now();
    let filter = ReadmitFilter {
        ids: wanted.ids,
        source: wanted.source,
        since: wanted.since.map(|since| query::moment("since", &since, now)).transpose()?,
    };
    let readmitted = (state.readmit)(filter, wanted.dry_run).await?;
    if !wanted.dry_run {
        (state.wake)();
    }
    json(&List {
        items: readmitted.into_iter().map(ReadmitItem::from).collect(),
        next_cursor: None,
    })
}
