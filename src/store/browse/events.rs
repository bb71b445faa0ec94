//! Events, as people look at them.

use std::collections::HashMap;

use entity::{attempt, delivery, event, event_body, event_conflict};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::keyset::{cursor, limit, matches, moment, page};
use super::{DeliveryDetail, EventDetail, EventFilter, EventRow, Page};
use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::group::named;

/// Events shown for one provider's id: sources that don't share a dedupe group may share ids.
const SAME_ID_MAX: u64 = 20;

impl Store {
    /// A page of events, newest first, with their deliveries.
    pub async fn events(&self, filter: &EventFilter) -> Result<Page<EventRow>, StoreError> {
        let filter = filter.clone();
        self.detached(move |database| async move { events(&database, &filter).await }).await
    }

    /// Everything about the events with this id: ours, or the provider's (then there may be several,
    /// newest first).
    pub async fn event(&self, id: &str) -> Result<Vec<EventDetail>, StoreError> {
        let id = id.to_owned();
        self.detached(move |database| async move {
            let models = event::Entity::find()
                .filter(event::Column::Id.is_in(named(&database, &id).await?))
                .order_by_desc(event::Column::Id)
                .limit(SAME_ID_MAX)
                .all(database.orm())
                .await?;
            let mut details = Vec::with_capacity(models.len());
            for model in models {
                details.push(detail(&database, model).await?);
            }
            Ok(details)
        })
        .await
    }

    /// The exact bytes of an event's body; `None` when there is no such event or retention dropped it.
    pub async fn event_body(&self, event: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        self.detached(move |database| async move {
            let row = event_body::Entity::find_by_id(event).one(database.orm()).await?;
            Ok(row.map(|row| row.body))
        })
        .await
    }
}

async fn events(database: &Database, filter: &EventFilter) -> Result<Page<EventRow>, StoreError> {
    let orm = database.orm();
    let limit = limit(filter.limit);
    let mut query = event::Entity::find().order_by_desc(event::Column::Id).limit(limit as u64 + 1);
    if let Some(after) = cursor(filter.cursor.as_deref())? {
        query = query.filter(event::Column::Id.lt(after));
    }
    if let Some(source) = &filter.source {
        query = query.filter(event::Column::Source.eq(source));
    }
    if let Some(kind) = &filter.kind {
        query = query.filter(matches(event::Column::Type, kind));
    }
    if let Some(id) = &filter.id {
        query = query.filter(event::Column::Id.is_in(named(database, id).await?));
    }
    if let Some(since) = filter.since {
        query = query
            .filter(Expr::col((event::Entity, event::Column::ReceivedAt)).gte(moment(orm, since)));
    }
    if let Some(until) = filter.until {
        query = query
            .filter(Expr::col((event::Entity, event::Column::ReceivedAt)).lt(moment(orm, until)));
    }
    if let Some(state) = filter.state {
        let mut in_state = Query::select();
        in_state
            .column(delivery::Column::EventId)
            .from(delivery::Entity)
            .and_where(Expr::col(delivery::Column::State).eq(state.as_str()));
        query = query.filter(event::Column::Id.in_subquery(in_state));
    }
    let models = query.all(orm).await?;
    let ids: Vec<Uuid> = models.iter().map(|model| model.id).collect();
    let mut deliveries: HashMap<Uuid, Vec<delivery::Model>> = HashMap::new();
    for delivery in delivery::Entity::find()
        .filter(delivery::Column::EventId.is_in(ids))
        .order_by_asc(delivery::Column::Id)
        .all(orm)
        .await?
    {
        deliveries.entry(delivery.event_id).or_default().push(delivery);
    }
    let rows = models
        .into_iter()
        .map(|event| EventRow {
            deliveries: deliveries.remove(&event.id).unwrap_or_default(),
            event,
        })
        .collect();
    Ok(page(rows, limit, |row: &EventRow| row.event.id))
}

async fn detail(database: &Database, event: event::Model) -> Result<EventDetail, StoreError> {
    let orm = database.orm();
    let headers = event_body::Entity::find_by_id(event.id)
        .select_only()
        .column(event_body::Column::Headers)
        .into_tuple::<Vec<u8>>()
        .one(orm)
        .await?;
    let conflicts = event_conflict::Entity::find()
        .filter(event_conflict::Column::EventId.eq(event.id))
        .order_by_asc(event_conflict::Column::ReceivedAt)
        .all(orm)
        .await?;
    let models = delivery::Entity::find()
        .filter(delivery::Column::EventId.eq(event.id))
        .order_by_asc(delivery::Column::Id)
        .all(orm)
        .await?;
    let ids: Vec<Uuid> = models.iter().map(|model| model.id).collect();
    let mut tries: HashMap<Uuid, Vec<attempt::Model>> = HashMap::new();
    for attempt in attempt::Entity::find()
        .filter(attempt::Column::DeliveryId.is_in(ids))
        .order_by_asc(attempt::Column::DeliveryId)
        .order_by_asc(attempt::Column::N)
        .all(orm)
        .await?
    {
        tries.entry(attempt.delivery_id).or_default().push(attempt);
    }
    let deliveries = models
        .into_iter()
        .map(|delivery| DeliveryDetail {
            tries: tries.remove(&delivery.id).unwrap_or_default(),
            delivery,
        })
        .collect();
    Ok(EventDetail { event, headers, conflicts, deliveries })
}
