//! Fronts: from where on a claim looks for what is due.
//!
//! What is claimed leaves a dead entry in the index of all that is pending, until the next vacuum. Whoever drains a
//! backlog from its old end would walk over all of them each time: claiming the last of a million costs tens of
//! milliseconds, however few are asked for. So a claim begins a little before what was last claimed of each source.
//!
//! What comes to lie before that (given back by another replica, passed over while somebody held it, replayed beside this
//! process) is found by a claim that looks everywhere, once a second. Until a thousand were claimed, all of them do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::Name;

use crate::store::NewEvent;

/// How old the last look at everything may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Before this many dead entries it isn't worth it.
const CLAIMED_MIN: usize = 1_000;

/// Due times are those at which recording began, and its statement may take as long as a hot one may: so much earlier
/// than what was claimed, others may still become visible.
const MARGIN: Duration = Duration::from_secs(10);

/// The fronts of all handlers.
#[derive(Debug, Default)]
pub(in crate::store) struct Fronts(Mutex<HashMap<Name, Front>>);

#[derive(Debug, Default)]
struct Front {
    claimed: usize,
    looked: Option<Instant>,
    /// Its deliveries may be in lanes: one that is handed on is due since long ago.
    laned: bool,
    /// Of each source that something was recorded for, claimed from or found pending, when the first that may still be
    /// pending was due.
    sources: BTreeMap<String, Option<DateTime<Utc>>>,
}

impl Front {
    fn is_known(&self, now: Instant) -> bool {
        let looked = self.looked.is_some_and(|at| now.duration_since(at) < LOOK_EVERY);
        looked && !self.laned && self.claimed >= CLAIMED_MIN
    }

    fn first(&self) -> Option<DateTime<Utc>> {
        // None is less than any: a source of which nothing was claimed is looked through.
        self.sources.values().min().copied().flatten()
    }
}

/// What a claim is told of sources: a row each of three columns. Handlers that aren't in it are looked through.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) handlers: Vec<String>,
    pub(super) sources: Vec<String>,
    pub(super) due_from: Vec<Option<DateTime<Utc>>>,
}

/// A delivery that was claimed.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) handler: &'a Name,
    pub(super) source: String,
    pub(super) due_at: DateTime<Utc>,
    pub(super) laned: bool,
}

impl Fronts {
    /// What is known of these handlers at this time.
    pub(super) fn known<'a>(
        &self,
        handlers: impl Iterator<Item = &'a Name>,
        now: Instant,
    ) -> Known {
        let fronts = self.lock();
        let mut known = Known::default();
        for handler in handlers {
            let Some(front) = fronts.get(handler).filter(|it| it.is_known(now)) else { continue };
            for (source, due_from) in &front.sources {
                known.handlers.push(handler.as_str().to_owned());
                known.sources.push(source.clone());
                known.due_from.push(*due_from);
            }
        }
        known
    }

    /// Of each handler, when the first that may still be pending was due; `None` when it could be any.
    pub(super) fn first(&self, handlers: &[Name], now: Instant) -> Vec<Option<DateTime<Utc>>> {
        let fronts = self.lock();
        let first = |handler| fronts.get(handler).filter(|it| it.is_known(now))?.first();
        handlers.iter().map(first).collect()
    }

    /// These handlers were looked through from this time on, and these are the sources of which something is pending.
    pub(super) fn looked<'a>(
        &self,
        handlers: impl Iterator<Item = &'a Name>,
        found: impl Iterator<Item = (Name, String)>,
        at: Instant,
    ) {
        let mut fronts = self.lock();
        for handler in handlers {
            fronts.entry(handler.clone()).or_default().looked = Some(at);
        }
        for (handler, source) in found {
            fronts.entry(handler).or_default().sources.entry(source).or_default();
        }
    }

    /// These were claimed, by one statement.
    pub(super) fn claimed<'a>(&self, taken: impl Iterator<Item = Taken<'a>>) {
        let mut first: HashMap<(&Name, String), DateTime<Utc>> = HashMap::new();
        let mut fronts = self.lock();
        for one in taken {
            let front = fronts.entry(one.handler.clone()).or_default();
            front.claimed = front.claimed.saturating_add(1);
            front.laned |= one.laned;
            let first = first.entry((one.handler, one.source)).or_insert(one.due_at);
            *first = one.due_at.min(*first);
        }
        for ((handler, source), due_at) in first {
            if let Some(front) = fronts.get_mut(handler) {
                front.sources.insert(source, due_at.checked_sub_signed(margin()));
            }
        }
    }

    /// These were recorded here: what comes of their deliveries is pending now or may be later.
    pub(in crate::store) fn recorded(&self, batch: &[&NewEvent]) {
        let with_deliveries = batch.iter().filter(|event| !event.deliveries.is_empty());
        let mut fronts = None;
        for event in with_deliveries {
            let fronts = fronts.get_or_insert_with(|| self.lock());
            let source = event.verified.source().as_str();
            for delivery in &event.deliveries {
                let front = fronts.entry(delivery.handler.clone()).or_default();
                front.laned |= delivery.lane.is_some();
                if !front.sources.contains_key(source) {
                    front.sources.insert(source.to_owned(), None);
                }
            }
        }
    }

    /// The next claim of these looks everywhere.
    pub(super) fn forget<'a>(&self, handlers: impl Iterator<Item = &'a Name>) {
        let mut fronts = self.lock();
        for handler in handlers {
            if let Some(front) = fronts.get_mut(handler) {
                front.looked = None;
            }
        }
    }

    /// The next claim of any handler looks everywhere.
    pub(super) fn forget_all(&self) {
        self.lock().values_mut().for_each(|front| front.looked = None);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Front>> {
        // Nothing panics under the lock, and a lost front is only slow.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn margin() -> chrono::Duration {
    chrono::Duration::from_std(MARGIN).unwrap_or(chrono::Duration::MAX)
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

    /// `count` were claimed of a source, due a second after each other.
    fn claim(fronts: &Fronts, source: &str, from: i64, count: i64, laned: bool) {
        let handler = name();
        let one =
            |at| Taken { handler: &handler, source: source.to_owned(), due_at: due(at), laned };
        fronts.claimed((from..from + count).map(one));
    }

    /// A handler of which enough was claimed and everything looked at.
    fn known() -> (Fronts, Instant) {
        let (fronts, now) = (Fronts::default(), Instant::now());
        fronts.looked([name()].iter(), [(name(), "shop".to_owned())].into_iter(), now);
        claim(&fronts, "shop", 0, 1000, false);
        (fronts, now)
    }

    fn at(fronts: &Fronts, now: Instant) -> Vec<(String, Option<DateTime<Utc>>)> {
        let known = fronts.known([name()].iter(), now);
        assert!(known.handlers.iter().all(|it| it == "ship"));
        assert_eq!(known.handlers.len(), known.sources.len());
        known.sources.into_iter().zip(known.due_from).collect()
    }

    fn shop(secs: i64) -> (String, Option<DateTime<Utc>>) {
        ("shop".to_owned(), Some(due(secs)))
    }

    #[test]
    fn a_claim_begins_a_little_before_what_was_claimed_last() {
        let (fronts, now) = known();
        assert_eq!(at(&fronts, now), [shop(-10)]);
        claim(&fronts, "shop", 1000, 2, false);
        assert_eq!(at(&fronts, now), [shop(990)]);
        assert_eq!(fronts.first(&[name()], now), [Some(due(990))]);
        // One that came to lie before it, and was found.
        claim(&fronts, "shop", 5, 1, false);
        assert_eq!(at(&fronts, now), [shop(-5)]);
    }

    #[test]
    fn everything_is_looked_at_once_a_second() {
        let (fronts, now) = known();
        let later = now + LOOK_EVERY;
        assert_eq!(at(&fronts, later), []);
        assert_eq!(fronts.first(&[name()], later), [None]);
        fronts.looked([name()].iter(), std::iter::empty(), later);
        assert_eq!(at(&fronts, later), [shop(-10)]);
    }

    #[test]
    fn nothing_is_known_before_much_was_claimed_or_when_it_is_forgotten() {
        let (fronts, now) = (Fronts::default(), Instant::now());
        claim(&fronts, "shop", 0, 1000, false);
        assert_eq!(at(&fronts, now), [], "never looked at");
        fronts.looked([name()].iter(), std::iter::empty(), now);
        assert_eq!(at(&fronts, now).len(), 1);
        fronts.forget([name()].iter());
        assert_eq!(at(&fronts, now), []);
        fronts.looked([name()].iter(), std::iter::empty(), now);
        fronts.forget_all();
        assert_eq!(at(&fronts, now), []);

        let few = Fronts::default();
        few.looked([name()].iter(), std::iter::empty(), now);
        claim(&few, "shop", 0, 999, false);
        assert_eq!(at(&few, now), []);
    }

    #[test]
    fn what_is_in_lanes_may_be_due_since_ever() {
        let (fronts, now) = known();
        claim(&fronts, "shop", 1000, 1, true);
        claim(&fronts, "shop", 1001, 1, false);
        assert_eq!(at(&fronts, now), []);
    }

    #[test]
    fn a_source_that_is_only_found_is_looked_through() {
        let (fronts, now) = known();
        let found = [(name(), "shop".to_owned()), (name(), "till".to_owned())];
        fronts.looked([name()].iter(), found.into_iter(), now);
        assert_eq!(at(&fronts, now), [shop(-10), ("till".to_owned(), None)]);
        assert_eq!(fronts.first(&[name()], now), [None]);
    }
}
