//! Fronts: from where on a claim looks for what is due.
//!
//! What is claimed leaves a dead entry in the index of all that is pending, until the next vacuum. Whoever drains a
//! backlog from its old end would walk over all of them each time: claiming the last of a million costs tens of
//! milliseconds, however few are asked for. So each claim tells, of each source, from where on the next one has to look.
//!
//! What comes to lie before that (given back by another replica, or replayed beside this process) is found by a claim that
//! looks everywhere, once a second. Until a thousand were claimed, all of them do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::Name;

use crate::store::NewEvent;

/// How old the last look at everything may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Before this many dead entries it isn't worth it.
const CLAIMED_MIN: usize = 1_000;

/// The fronts of all handlers.
#[derive(Debug, Default)]
pub(in crate::store) struct Fronts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    handlers: HashMap<Name, Front>,
    /// How often all was forgotten: what a statement says that began before is not believed.
    forgotten: u64,
}

#[derive(Debug)]
struct Front {
    claimed: usize,
    looked: Option<Instant>,
    /// Its deliveries may be in lanes: one that is handed on is due since long ago.
    laned: bool,
    /// Of each source that something was recorded for or found pending, from where on to look.
    sources: BTreeMap<String, Option<DateTime<Utc>>>,
}

impl Default for Front {
    fn default() -> Self {
        // Replays are of no source: they are found as soon as they are there.
        let sources = BTreeMap::from([(String::new(), None)]);
        Self { claimed: 0, looked: None, laned: false, sources }
    }
}

impl Front {
    /// How long it is believed from now on; `None` when everything is to be looked at.
    fn known_for(&self, now: Instant) -> Option<Duration> {
        let left = LOOK_EVERY.checked_sub(now.duration_since(self.looked?))?;
        (!left.is_zero() && !self.laned && self.claimed >= CLAIMED_MIN).then_some(left)
    }
}

/// What a claim is told.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The handlers that need not be looked through.
    pub(super) handlers: BTreeSet<String>,
    /// Their sources.
    pub(super) places: Vec<Place>,
    /// How long until one of them has to be looked through.
    pub(super) look_in: Option<Duration>,
    forgotten: u64,
}

/// A source of a handler, from where on it is looked at, and the handler's room.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) handler: Name,
    pub(super) source: String,
    pub(super) due_from: Option<DateTime<Utc>>,
    pub(super) free: u32,
}

impl Known {
    pub(super) fn column<'a, T>(&'a self, read: impl Fn(&'a Place) -> T) -> Vec<T> {
        self.places.iter().map(read).collect()
    }
}

impl Fronts {
    /// What is known of these handlers, with so much room each.
    pub(super) fn known<'a>(
        &self,
        handlers: impl Iterator<Item = (&'a Name, u32)>,
        now: Instant,
    ) -> Known {
        let inner = self.lock();
        let mut known = Known { forgotten: inner.forgotten, ..Known::default() };
        for (handler, free) in handlers {
            let Some(front) = inner.handlers.get(handler) else { continue };
            let Some(left) = front.known_for(now) else { continue };
            known.look_in = Some(known.look_in.map_or(left, |other| other.min(left)));
            known.handlers.insert(handler.as_str().to_owned());
            known.places.extend(front.sources.iter().map(|(source, due_from)| Place {
                handler: handler.clone(),
                source: source.clone(),
                due_from: *due_from,
                free,
            }));
        }
        known
    }

    /// What a claim for these handlers tells of sources, who was told `known` at this time.
    pub(super) fn told<'a>(
        &self,
        handlers: impl Iterator<Item = &'a Name>,
        known: &Known,
        told: Vec<(Name, String, DateTime<Utc>)>,
        asked: Instant,
    ) {
        let mut inner = self.lock();
        if inner.forgotten != known.forgotten {
            return;
        }
        for handler in handlers.filter(|it| !known.handlers.contains(it.as_str())) {
            inner.handlers.entry(handler.clone()).or_default().looked = Some(asked);
        }
        let believed: HashMap<(&Name, &str), Option<DateTime<Utc>>> =
            known.places.iter().map(|it| ((&it.handler, &*it.source), it.due_from)).collect();
        for (handler, source, due_from) in told {
            let place = believed.get(&(&handler, &*source)).copied();
            let front =
                inner.handlers.entry(handler).or_default().sources.entry(source).or_default();
            // Another claim may have looked meanwhile, and found what this one was told not to look at.
            if place.is_none_or(|believed| believed == *front) {
                *front = Some(due_from);
            }
        }
    }

    /// Of these handlers a delivery each was claimed, in a lane or not.
    pub(super) fn claimed<'a>(&self, claims: impl Iterator<Item = (&'a Name, bool)>) {
        let mut inner = self.lock();
        for (handler, laned) in claims {
            let front = inner.handlers.entry(handler.clone()).or_default();
            front.claimed = front.claimed.saturating_add(1);
            front.laned |= laned;
        }
    }

    /// These were recorded here: what comes of their deliveries is pending now or may be later.
    pub(in crate::store) fn recorded(&self, batch: &[&NewEvent]) {
        if batch.iter().all(|event| event.deliveries.is_empty()) {
            return;
        }
        let mut inner = self.lock();
        for event in batch {
            let source = event.verified.source().as_str();
            for delivery in &event.deliveries {
                let front = inner.handlers.entry(delivery.handler.clone()).or_default();
                front.laned |= delivery.lane.is_some();
                if !front.sources.contains_key(source) {
                    front.sources.insert(source.to_owned(), None);
                }
            }
        }
    }

    /// The next claim of each handler looks everywhere.
    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        inner.forgotten = inner.forgotten.wrapping_add(1);
        inner.handlers.values_mut().for_each(|front| front.looked = None);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under the lock, and a lost front is only slow.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name::new("ship").unwrap()
    }

    fn due(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + secs, 0).unwrap()
    }

    fn known(fronts: &Fronts, now: Instant) -> Known {
        fronts.known([(&name(), 3)].into_iter(), now)
    }

    /// A claim that tells this of these sources, told what is known.
    fn claim(fronts: &Fronts, now: Instant, told: &[(&str, i64)]) {
        tell(fronts, &known(fronts, now), now, told);
    }

    fn tell(fronts: &Fronts, known: &Known, now: Instant, told: &[(&str, i64)]) {
        let told = told.iter().map(|(source, at)| (name(), (*source).to_owned(), due(*at)));
        fronts.told([name()].iter(), known, told.collect(), now);
    }

    /// But for the one of replays.
    fn at(fronts: &Fronts, now: Instant) -> Vec<(String, Option<DateTime<Utc>>)> {
        let known = known(fronts, now);
        assert!(known.places.iter().all(|it| (it.handler.as_str(), it.free) == ("ship", 3)));
        let (replays, others): (Vec<_>, Vec<_>) =
            known.places.into_iter().partition(|it| it.source.is_empty());
        assert_eq!(replays.is_empty(), others.is_empty());
        others.into_iter().map(|it| (it.source, it.due_from)).collect()
    }

    fn is(source: &str, secs: i64) -> (String, Option<DateTime<Utc>>) {
        (source.to_owned(), Some(due(secs)))
    }

    /// Enough was claimed, and everything looked at.
    fn busy() -> (Fronts, Instant) {
        let (fronts, now) = (Fronts::default(), Instant::now());
        let handler = name();
        fronts.claimed((0..1000).map(|_| (&handler, false)));
        claim(&fronts, now, &[("shop", 5), ("till", 7)]);
        (fronts, now)
    }

    #[test]
    fn each_claim_tells_where_the_next_begins() {
        let (fronts, now) = busy();
        assert_eq!(at(&fronts, now), [is("shop", 5), is("till", 7)]);
        claim(&fronts, now, &[("shop", 9)]);
        assert_eq!(at(&fronts, now), [is("shop", 9), is("till", 7)]);
    }

    #[test]
    fn everything_is_looked_at_once_a_second_and_what_lies_before_is_found_for_all_that_follow() {
        let (fronts, now) = busy();
        let later = now + LOOK_EVERY;
        assert_eq!(at(&fronts, later), []);
        assert_eq!(known(&fronts, later).look_in, None);
        let half = now + LOOK_EVERY / 2;
        assert_eq!(known(&fronts, half).look_in, Some(LOOK_EVERY / 2));
        // Whether or not it had a share for it.
        claim(&fronts, later, &[("shop", 1), ("till", 8)]);
        assert_eq!(at(&fronts, later), [is("shop", 1), is("till", 8)]);
    }

    #[test]
    fn nothing_is_known_before_much_was_claimed_or_when_lanes_are_handed_on() {
        let (fronts, now) = (Fronts::default(), Instant::now());
        let handler = name();
        claim(&fronts, now, &[("shop", 5)]);
        fronts.claimed((0..999).map(|_| (&handler, false)));
        assert_eq!(at(&fronts, now), []);
        fronts.claimed([(&handler, false)].into_iter());
        assert_eq!(at(&fronts, now), [is("shop", 5)]);
        fronts.claimed([(&handler, true)].into_iter());
        fronts.claimed([(&handler, false)].into_iter());
        assert_eq!(at(&fronts, now), []);
    }

    #[test]
    fn what_began_before_it_was_forgotten_is_not_believed() {
        let (fronts, now) = busy();
        let later = now + LOOK_EVERY;
        let looking = known(&fronts, later);
        fronts.forget();
        tell(&fronts, &looking, later, &[("shop", 9)]);
        assert_eq!(at(&fronts, later), []);
        claim(&fronts, later, &[("shop", 6)]);
        assert_eq!(at(&fronts, later), [is("shop", 6), is("till", 7)]);
    }

    #[test]
    fn one_that_did_not_look_does_not_overrule_one_that_did() {
        let (fronts, now) = busy();
        let before = known(&fronts, now);
        tell(&fronts, &Known::default(), now, &[("shop", 1)]);
        tell(&fronts, &before, now, &[("shop", 8), ("till", 9)]);
        assert_eq!(at(&fronts, now), [is("shop", 1), is("till", 9)]);
    }
}
