//! How many calls each handler still takes on this replica, and who may have the next one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use entity::Name;
use tokio::sync::{Semaphore, TryAcquireError};

use super::control::Rate;

mod bucket;
mod seat;

use bucket::Bucket;
use seat::{Probe, Token};
pub use seat::{Seat, Taken};

/// The seats of all handlers of one worker.
///
/// Two ask for them: the claiming loop, for what waits in the table, and intake, for what is being
/// recorded. As long as a handler keeps up, intake may have a seat and the delivery needs no claim.
/// When it doesn't, the loop alone seats: the oldest first. A handler that is paused has no seats, and one
/// with a rate as many as calls may begin now.
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
    /// A [`Gate`].
    gate: AtomicU8,
    bucket: Option<Arc<Mutex<Bucket>>>,
    /// Whether a call that tries it again is under way.
    probing: Arc<AtomicBool>,
}

/// What a handler is to be seated with.
#[derive(Debug, Clone)]
pub struct Seating {
    /// The handler.
    pub handler: Name,
    /// How many calls at once; at least one.
    pub calls: u16,
    /// How long the lease of a newborn delivery is.
    pub lease: Duration,
    /// How many calls may begin in a time.
    pub rate: Option<Rate>,
}

/// Whether a handler has seats at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    /// It has.
    Open = 0,
    /// It is paused: none.
    Closed = 1,
    /// One at a time: to see whether it works again.
    Probe = 2,
}

impl Seats {
    /// The seats of these handlers, all open.
    #[must_use]
    pub fn new(handlers: impl IntoIterator<Item = Seating>) -> Self {
        let now = Instant::now();
        let rows = handlers
            .into_iter()
            .map(|Seating { handler, calls, lease, rate }| {
                let calls = calls.max(1);
                let row = Row {
                    free: Arc::new(Semaphore::new(usize::from(calls))),
                    calls,
                    lease,
                    // Until the first claim has looked, who knows what waits.
                    behind: AtomicBool::new(true),
                    gate: AtomicU8::new(Gate::Open as u8),
                    bucket: rate.map(|rate| Arc::new(Mutex::new(Bucket::new(rate, now)))),
                    probing: Arc::default(),
                };
                (handler, row)
            })
            .collect();
        Self { rows, closed: AtomicBool::new(false) }
    }

    /// A seat for a delivery that is about to be recorded, and how long its lease is to be. `None`
    /// when the handler isn't one of this worker, has no seat free, is behind, or the worker stops.
    #[must_use]
    pub fn for_newborn(&self, handler: &Name) -> Option<(Seat, Duration)> {
        let row = self.rows.get(handler)?;
        if row.behind.load(Ordering::Acquire) || row.gate() != Gate::Open {
            return None;
        }
        let Some(mut tokens) = row.tokens(1) else {
            row.behind.store(true, Ordering::Release);
            return None;
        };
        match Arc::clone(&row.free).try_acquire_owned() {
            // Asked after the seat is taken: then `all_free` either waits for this seat, or has been
            // closed before it, and nothing is born that nobody would call.
            Ok(_) if self.closed.load(Ordering::Acquire) => None,
            Ok(permit) => {
                let token = tokens.pop();
                Some((Seat { _permit: permit, token, probe: None, spent: false }, row.lease))
            }
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
            let mut probe = None;
            let free = match row.gate() {
                Gate::Open => share.min(most),
                Gate::Probe if free > 0 && !row.probing.swap(true, Ordering::AcqRel) => {
                    probe = Some(Probe(Arc::clone(&row.probing)));
                    1
                }
                Gate::Probe | Gate::Closed => 0,
            };
            if free == 0 {
                return None;
            }
            let wanted = u32::try_from(free).unwrap_or(u32::MAX);
            let tokens = row.tokens(wanted)?;
            let wanted = if row.bucket.is_some() { tokens.len() } else { free };
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            // A newborn may have been quicker: then there are fewer, so this ends.
            if let Ok(permits) = Arc::clone(&row.free).try_acquire_many_owned(wanted) {
                return Some(Taken { permits, tokens, probe });
            }
        }
    }

    /// Whether a call of the handler could begin now.
    #[must_use]
    pub fn has_free(&self, handler: &Name) -> bool {
        self.rows.get(handler).is_some_and(|row| row.seats_somebody() && row.rests().is_zero())
    }

    /// How long until one of the handlers that wait only for their rate may begin a call.
    #[must_use]
    pub fn until_rate(&self) -> Option<Duration> {
        let waits = self.rows.values().filter(|row| {
            row.bucket.is_some() && row.seats_somebody() && row.behind.load(Ordering::Acquire)
        });
        // Zero as well: a token may have ripened since the last look.
        waits.map(Row::rests).min()
    }

    /// Whether the handler is paused; `None` for one that isn't of this worker.
    #[must_use]
    pub fn gate(&self, handler: &Name) -> Option<Gate> {
        self.rows.get(handler).map(Row::gate)
    }

    /// Opens or closes a handler's gate; true when it was another before. Calls that run go on.
    pub fn set_gate(&self, handler: &Name, gate: Gate) -> bool {
        let Some(row) = self.rows.get(handler) else { return false };
        let changed = row.gate.swap(gate as u8, Ordering::AcqRel) != gate as u8;
        if changed {
            // Something may have been recorded meanwhile, and it comes first.
            row.behind.store(true, Ordering::Release);
        }
        changed
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

impl Row {
    fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Acquire) {
            0 => Gate::Open,
            1 => Gate::Closed,
            _ => Gate::Probe,
        }
    }

    /// Whether a call could have a seat, but for the rate.
    fn seats_somebody(&self) -> bool {
        let free = self.free.available_permits() > 0;
        match self.gate() {
            Gate::Open => free,
            Gate::Probe => free && !self.probing.load(Ordering::Acquire),
            Gate::Closed => false,
        }
    }

    /// What the rate allows of `most`: `None` when nothing, and no tokens where there is no rate.
    fn tokens(&self, most: u32) -> Option<Vec<Token>> {
        let Some(bucket) = &self.bucket else { return Some(Vec::new()) };
        let taken = locked(bucket).take(most, Instant::now());
        (taken > 0).then(|| (0..taken).map(|_| Token(Some(Arc::clone(bucket)))).collect())
    }

    /// How long until the rate allows a call.
    fn rests(&self) -> Duration {
        let bucket = self.bucket.as_ref();
        bucket.map_or(Duration::ZERO, |bucket| locked(bucket).wait(Instant::now()))
    }
}

/// Nothing that holds the lock can panic half-way.
fn locked(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn seating(name: &Name, calls: u16, rate: Option<Rate>) -> Seating {
        Seating { handler: name.clone(), calls, lease: LEASE, rate }
    }

    fn seats(calls: u16) -> (Seats, Name) {
        let name = Name::new("billing").expect("a name");
        let seats = Seats::new([seating(&name, calls, None)]);
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
        let seats = Seats::new([seating(&name, 1, None)]);
        assert!(seats.for_newborn(&name).is_none());
        seats.set_behind(&name, false);
        seats.close();
        assert!(seats.for_newborn(&name).is_none());
        assert!(seats.for_newborn(&Name::new("other").expect("a name")).is_none());
    }

    #[test]
    fn a_closed_gate_seats_nobody_and_a_probe_one_at_a_time() {
        let (seats, name) = seats(2);
        assert!(seats.set_gate(&name, Gate::Closed) && !seats.set_gate(&name, Gate::Closed));
        assert!(seats.take(&name, 64).is_none() && !seats.has_free(&name));
        seats.set_behind(&name, false);
        assert!(seats.for_newborn(&name).is_none());
        assert!(seats.set_gate(&name, Gate::Probe));
        assert!(seats.has_free(&name));
        let probe = seats.take(&name, 64).expect("one");
        assert_eq!(probe.left(), 1);
        assert!(seats.take(&name, 64).is_none() && !seats.has_free(&name));
        drop(probe);
        assert!(seats.set_gate(&name, Gate::Open) && seats.is_behind(&name));
        assert_eq!(seats.take(&name, 64).expect("both").left(), 2);
    }

    #[test]
    fn a_call_that_began_before_the_pause_keeps_no_probe_away_and_is_none() {
        let (seats, name) = seats(2);
        let (old, _) = seats.for_newborn(&name).expect("a seat");
        seats.set_gate(&name, Gate::Closed);
        seats.set_gate(&name, Gate::Probe);
        let mut taken = seats.take(&name, 64).expect("the other seat");
        let probe = taken.one().expect("it");
        assert!(probe.is_probe() && !old.is_probe());
        drop(old);
        assert!(seats.take(&name, 64).is_none(), "one at a time");
        drop(probe);
        assert!(seats.take(&name, 64).is_some());
    }

    #[test]
    fn a_rate_is_spent_by_calls_that_begin_and_by_no_others() {
        let name = Name::new("billing").expect("a name");
        // One at once, then one in five minutes.
        let rate = Rate { calls: 12, per: Duration::from_secs(3600) };
        let seats = Seats::new([seating(&name, 8, Some(rate))]);
        let mut taken = seats.take(&name, 64).expect("one");
        assert_eq!(taken.left(), 1);
        drop(taken.one());
        drop(taken);
        seats.set_behind(&name, false);
        let (mut seat, _) = seats.for_newborn(&name).expect("it was given back");
        seat.spend();
        drop(seat);
        assert!(seats.for_newborn(&name).is_none() && seats.is_behind(&name));
        assert!(!seats.has_free(&name) && seats.take(&name, 64).is_none());
        let wait = seats.until_rate().expect("it waits for its rate only");
        assert!(wait > Duration::from_secs(290) && wait <= Duration::from_secs(300), "{wait:?}");
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
