//! Deliveries that are born leased: recorded as this worker's own first try, and begun as soon as
//! they are durable, without a claim.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::event::Event;
use crate::handler::seats::{Seat, Seats};
use crate::store::{BIRTH_EPOCH, BirthLease, Claimed, NewEvent, Recorded};

/// Where newborn deliveries go.
#[derive(Clone)]
pub struct Births {
    /// Which handlers of this process have room.
    pub seats: Arc<Seats>,
    /// The worker's name.
    pub worker: Arc<str>,
    /// Takes each one once it is durable. Must not wait.
    pub begin: Arc<dyn Fn(Birth) + Send + Sync>,
}

/// A delivery that is durable and leased to this worker.
#[derive(Debug)]
pub struct Birth {
    /// As if it had been claimed.
    pub claimed: Claimed,
    /// Its seat.
    pub seat: Seat,
    /// Just before it was recorded: its lease runs at least from here.
    pub since: Instant,
}

impl fmt::Debug for Births {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Births").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// The seats of an event's deliveries while it is being recorded.
pub(super) struct Cradle {
    event: Event,
    /// Delivery by delivery.
    seats: Vec<(Uuid, entity::Name, Seat)>,
    since: Instant,
}

impl Births {
    /// Leases what has a seat. `None` when nothing has.
    pub(super) fn lease(&self, event: &mut NewEvent) -> Option<Cradle> {
        let mut seats = Vec::new();
        // One in a lane has its turn, which only the database knows.
        for delivery in event.deliveries.iter_mut().filter(|delivery| delivery.lane.is_none()) {
            if let Some((seat, length)) = self.seats.for_newborn(&delivery.handler) {
                delivery.lease = Some(BirthLease { worker: Arc::clone(&self.worker), length });
                seats.push((delivery.id, delivery.handler.clone(), seat));
            }
        }
        if seats.is_empty() {
            return None;
        }
        let verified = &event.verified;
        let event = Event {
            id: event.id,
            source: verified.source().clone(),
            event_id: verified.identity().event_id.clone(),
            kind: verified.identity().kind.clone(),
            // Until the database has said when.
            received_at: verified.received().arrived_at,
            headers: verified.received().headers.clone(),
            body: verified.body().clone(),
        };
        Some(Cradle { event, seats, since: Instant::now() })
    }

    /// Begins what was recorded. The seats of copies and of failures are free again.
    pub(super) fn begin(&self, cradle: Cradle, recorded: &Recorded) {
        let Recorded::Fresh { received_at, .. } = recorded else { return };
        let Cradle { mut event, mut seats, since } = cradle;
        event.received_at = *received_at;
        let birth = |(delivery, handler, seat), event| Birth {
            claimed: Claimed {
                delivery,
                handler,
                epoch: BIRTH_EPOCH,
                attempt: 1,
                tried: 1,
                open_for: since.elapsed(),
                // Who is in one is never born leased.
                lane: None,
                event: Some(event),
            },
            seat,
            since,
        };
        // The usual event has one handler: it gets the event itself and not a copy.
        let Some(last) = seats.pop() else { return };
        for seat in seats {
            (self.begin)(birth(seat, event.clone()));
        }
        (self.begin)(birth(last, event));
    }
}
