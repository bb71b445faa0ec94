//! `/api/v1/sources`: where webhooks may come in.

use actix_web::{HttpRequest, web};

use super::query::Query;
use super::shape::{List, SourceItem};
use super::{AdminState, Answered, json};

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    Query::of(&request, &[])?;
    let items = state.sources.iter().map(|source| SourceItem::from(&**source)).collect();
    json(&List { items, next_cursor: None })
}
