//! Lists and single rows for people: keyset pages, newest first.

use chrono::{DateTime, Utc};
use entity::{State, attempt, delivery, event, event_conflict};
use uuid::Uuid;

mod deliveries;
mod events;
mod keyset;
mod rejections;

/// One page and where the next begins.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Give it back as `cursor` for the next page; `None` on the last.
    pub next_cursor: Option<String>,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this type; a trailing `*` matches any rest.
    pub kind: Option<String>,
    /// Only with a delivery in this state.
    pub state: Option<State>,
    /// Our id or the provider's.
    pub id: Option<String>,
    /// Recorded at or after.
    pub since: Option<DateTime<Utc>>,
    /// Recorded before.
    pub until: Option<DateTime<Utc>>,
    /// From a page before.
    pub cursor: Option<String>,
    /// At most this many; 50 when `None`, 500 at most.
    pub limit: Option<u32>,
}

/// An event and its deliveries.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// The event.
    pub event: event::Model,
    /// Its deliveries, oldest first.
    pub deliveries: Vec<delivery::Model>,
}

/// Everything about one event but its body. Its deliveries are oldest first.
#[derive(Debug, Clone)]
pub struct EventDetail {
    /// The event.
    pub event: event::Model,
    /// Its headers as stored; `None` when retention dropped the body.
    pub headers: Option<Vec<u8>>,
    /// Other bodies that came under its id, without the bytes' use being anything but diagnosis.
    pub conflicts: Vec<event_conflict::Model>,
    /// Its deliveries with their tries.
    pub deliveries: Vec<DeliveryDetail>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this handler.
    pub handler: Option<String>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this event type; a trailing `*` matches any rest.
    pub kind: Option<String>,
    /// The event was recorded at or after.
    pub since: Option<DateTime<Utc>>,
    /// The event was recorded before.
    pub until: Option<DateTime<Utc>>,
    /// From a page before.
    pub cursor: Option<String>,
    /// At most this many; 50 when `None`, 500 at most.
    pub limit: Option<u32>,
}

/// A delivery and the event that it delivers.
#[derive(Debug, Clone)]
pub struct DeliveryRow {
    /// The delivery.
    pub delivery: delivery::Model,
    /// The event.
    pub event: event::Model,
}

/// A delivery with its tries.
#[derive(Debug, Clone)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: delivery::Model,
    /// Its tries, oldest first.
    pub tries: Vec<attempt::Model>,
}

/// Which rejections to list.
#[derive(Debug, Clone, Default)]
pub struct RejectionFilter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only with this code.
    pub code: Option<String>,
    /// Only this one.
    pub id: Option<Uuid>,
    /// Kept at or after.
    pub since: Option<DateTime<Utc>>,
    /// From a page before.
    pub cursor: Option<String>,
    /// At most this many; 50 when `None`, 500 at most.
    pub limit: Option<u32>,
}
