//! `/api/v1/handlers`: where events go.

use actix_web::{HttpRequest, web};

use super::query::Query;
use super::shape::List;
use super::{AdminState, Answered, json};

pub(super) async fn list(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    Query::of(&request, &[])?;
    json(&List { items: state.handlers.to_vec(), next_cursor: None })
}
