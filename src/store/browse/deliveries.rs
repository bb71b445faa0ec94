//! Deliveries, as people look at them. Dead letters are the deliveries in state `dead`.

use std::collections::HashMap;

use entity::{attempt, delivery, event};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::keyset::{cursor, limit, matches, moment, page};
use super::{DeliveryFilter, DeliveryRow, Page};
use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;

impl Store {
    /// A page of deliveries, newest first, with their events.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let filter = filter.clone();
        self.detached(move |database| async move { deliveries(&database, &filter).await }).await
    }

    /// One delivery with its event and its tries, oldest first.
    pub async fn delivery(
        &self,
        id: Uuid,
    ) -> Result<Option<(DeliveryRow, Vec<attempt::Model>)>, StoreError> {
        self.detached(move |database| async move {
            let orm = database.orm();
            let Some(delivery) = delivery::Entity::find_by_id(id).one(orm).await? else {
                return Ok(None);
            };
            let Some(event) = event::Entity::find_by_id(delivery.event_id).one(orm).await? else {
                // Cleanup took both between the two statements.
                return Ok(None);
            };
            let tries = attempt::Entity::find()
                .filter(attempt::Column::DeliveryId.eq(id))
                .order_by_asc(attempt::Column::N)
                .all(orm)
                .await?;
            Ok(Some((DeliveryRow { delivery, event }, tries)))
        })
        .await
    }
}

async fn deliveries(
    database: &Database,
    filter: &DeliveryFilter,
) -> Result<Page<DeliveryRow>, StoreError> {
    let orm = database.orm();
    let limit = limit(filter.limit);
    let mut query =
        delivery::Entity::find().order_by_desc(delivery::Column::Id).limit(limit as u64 + 1);
    if let Some(after) = cursor(filter.cursor.as_deref())? {
        query = query.filter(delivery::Column::Id.lt(after));
    }
    if let Some(state) = filter.state {
        query = query.filter(delivery::Column::State.eq(state));
    }
    if let Some(handler) = &filter.handler {
        query = query.filter(delivery::Column::Handler.eq(handler));
    }
    let by_event = filter.source.is_some()
        || filter.kind.is_some()
        || filter.since.is_some()
        || filter.until.is_some();
    if by_event {
        let mut events = Query::select();
        events.column(event::Column::Id).from(event::Entity);
        if let Some(source) = &filter.source {
            events.and_where(event::Column::Source.eq(source));
        }
        if let Some(kind) = &filter.kind {
            events.and_where(matches(event::Column::Type, kind));
        }
        if let Some(since) = filter.since {
            events.and_where(Expr::col(event::Column::ReceivedAt).gte(moment(orm, since)));
        }
        if let Some(until) = filter.until {
            events.and_where(Expr::col(event::Column::ReceivedAt).lt(moment(orm, until)));
        }
        query = query.filter(delivery::Column::EventId.in_subquery(events));
    }
    let models = query.all(orm).await?;
    let ids: Vec<Uuid> = models.iter().map(|model| model.event_id).collect();
    let events: HashMap<Uuid, event::Model> = event::Entity::find()
        .filter(event::Column::Id.is_in(ids))
        .all(orm)
        .await?
        .into_iter()
        .map(|event| (event.id, event))
        .collect();
    // Cut to the page before pairing, so that a row whose event was just deleted doesn't end the list.
    let cut = page(models, limit, |model: &delivery::Model| model.id);
    let items = cut
        .items
        .into_iter()
        .filter_map(|delivery| {
            let event = events.get(&delivery.event_id)?.clone();
            Some(DeliveryRow { delivery, event })
        })
        .collect();
    Ok(Page { items, next_cursor: cut.next_cursor })
}
