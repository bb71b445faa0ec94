//! How many calls each handler still takes on this replica, and who may have the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entity::Name;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The seats of all handlers of one worker.
///
/// Two ask for them: the claiming loop, for what waits in the table, and intake, for what is being
/// recorded. As long as a handler keeps up, intake may have a seat and the delivery needs no claim.
/// When it doesn't, the loop alone seats: the oldest first.
#[derive(Debug)]
pub struct Seats {
    rows: HashMap<Name, Row>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Row {
    free: Arc<Semaphore>,
    calls: u16,
    lease: Duration,
    /// Something waits in the table, as far as is known.
    behind: AtomicBool,
}

/// One call's seat; free again when dropped.
#[derive(Debug)]
pub struct Seat(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Seats taken together, to be handed out one by one; what is left is free again when dropped.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

impl Seats {
    /// Handlers with the number of calls at once and the length of a lease.
    #[must_use]
    pub fn new(handlers: impl IntoIterator<Item = (Name, u16, Duration)>) -> Self {
        let rows = handlers
            .into_iter()
            .map(|(name, calls, lease)| {
                let calls = calls.max(1);
                let free = Arc::new(Semaphore::new(usize::from(calls)));
                // Until the first claim has looked, who knows what waits.
                (name, Row { free, calls, lease, behind: AtomicBool::new(true) })
            })
            .collect();
        Self { rows, closed: AtomicBool::new(false) }
    }

    /// A seat for a delivery that is about to be recorded, and how long its lease is to be. `None`
    /// when the handler isn't one of this worker, has no seat free, is behind, or the worker stops.
    #[must_use]
    pub fn for_newborn(&self, handler: &Name) -> Option<(Seat, Duration)> {
        let row = self.rows.get(handler)?;
        if row.behind.load(Ordering::Acquire) {
            return None;
        }
        match Arc::clone(&row.free).try_acquire_owned() {
            // Asked after the seat is taken: then `all_free` either waits for this seat, or has been
            // closed before it, and nothing is born that nobody would call.
            Ok(_) if self.closed.load(Ordering::Acquire) => None,
            Ok(permit) => Some((Seat(permit), row.lease)),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                row.behind.store(true, Ordering::Release);
                None
            }
        }
    }

    /// Takes free seats of a handler for a claim, at most `most`; `None` when there is none.
    ///
    /// Half of them as long as the handler keeps up: what is recorded while the claim runs must find
    /// one, else it would have to be claimed itself, and so on for ever.
    #[must_use]
    pub fn take(&self, handler: &Name, most: usize) -> Option<Taken> {
        let row = self.rows.get(handler)?;
        loop {
            let free = row.free.available_permits();
            let share = if row.behind.load(Ordering::Acquire) { free } else { free.div_ceil(2) };
            let free = share.min(most);
            if free == 0 {
                return None;
            }
            // A newborn may have been quicker: then there are fewer, so this ends.
            let wanted = u32::try_from(free).unwrap_or(u32::MAX);
            if let Ok(permit) = Arc::clone(&row.free).try_acquire_many_owned(wanted) {
                return Some(Taken(permit));
            }
        }
    }

    /// Whether the handler has a seat free.
    #[must_use]
    pub fn has_free(&self, handler: &Name) -> bool {
        self.rows.get(handler).is_some_and(|row| row.free.available_permits() > 0)
    }

    /// Says whether anything that is due still waits in the table.
    pub fn set_behind(&self, handler: &Name, behind: bool) {
        if let Some(row) = self.rows.get(handler) {
            row.behind.store(behind, Ordering::Release);
        }
    }

    /// Whether something of the handler waits in the table, as far as is known.
    #[must_use]
    pub fn is_behind(&self, handler: &Name) -> bool {
        self.rows.get(handler).is_some_and(|row| row.behind.load(Ordering::Acquire))
    }

    /// No newborn gets a seat any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Returns when every seat is free. Call it after [`Seats::close`].
    pub async fn all_free(&self) {
        for row in self.rows.values() {
            // The semaphores are never closed, so this can't fail.
            drop(row.free.acquire_many(u32::from(row.calls)).await);
        }
    }
}

impl Taken {
    /// How many are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        u32::try_from(self.0.num_permits()).unwrap_or(u32::MAX)
    }

    /// One of them.
    pub fn one(&mut self) -> Option<Seat> {
        self.0.split(1).map(Seat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn seats(calls: u16) -> (Seats, Name) {
        let name = Name::new("billing").expect("a name");
        let seats = Seats::new([(name.clone(), calls, LEASE)]);
        seats.set_behind(&name, false);
        (seats, name)
    }

    #[test]
    fn newborns_get_seats_until_the_handler_is_behind() {
        let (seats, name) = seats(2);
        let first = seats.for_newborn(&name).expect("a seat");
        let _second = seats.for_newborn(&name).expect("a seat");
        assert!(!seats.is_behind(&name));
        assert!(seats.for_newborn(&name).is_none());
        assert!(seats.is_behind(&name));
        // What could not be seated waits in the table now, and comes first.
        drop(first);
        assert!(seats.for_newborn(&name).is_none());
        let mut taken = seats.take(&name, 64).expect("the free one");
        assert_eq!(taken.left(), 1);
        let seat = taken.one();
        assert!(seat.is_some() && taken.one().is_none());
        drop((seat, taken));
        seats.set_behind(&name, false);
        assert!(seats.for_newborn(&name).is_some());
    }

    #[test]
    fn nobody_is_born_leased_before_the_first_claim_nor_after_the_stop() {
        let name = Name::new("billing").expect("a name");
        let seats = Seats::new([(name.clone(), 1, LEASE)]);
        assert!(seats.for_newborn(&name).is_none());
        seats.set_behind(&name, false);
        seats.close();
        assert!(seats.for_newborn(&name).is_none());
        assert!(seats.for_newborn(&Name::new("other").expect("a name")).is_none());
    }

    #[tokio::test]
    async fn all_are_free_when_the_last_call_has_ended() {
        let (seats, name) = seats(2);
        let seat = seats.for_newborn(&name);
        seats.close();
        let waiting = seats.all_free();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(seat);
        waiting.await;
    }
}
