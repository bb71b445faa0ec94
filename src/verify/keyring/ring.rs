//! The keys of one scheme that were fetched, and when to fetch again.
//!
//! Bounded: at most [`SLOTS_MAX`] answers are kept, each of at most [`super::answer::KEYS_MAX`] keys,
//! and forged ids leave nothing but an entry for a minute, of which there can be few.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::delta;
use crate::verify::public::{PublicAlgorithm, PublicKey};

/// How many answers are kept where requests name what to fetch.
const SLOTS_MAX: usize = 64;

/// How often a set is fetched for an id that isn't in it, and how long an id is known to be absent.
const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// How soon something is asked for again that could not be had.
const RETRY: TimeDelta = TimeDelta::seconds(5);

/// How many fetches a minute requests can cause where they name what to fetch and it isn't known yet.
/// More spares the provider nothing; fewer would let a trickle of forged names hold up a true one.
const FETCHES_A_MINUTE: usize = 60;

/// How long keys whose time is over stay in use while they can't be fetched again.
const STALE: TimeDelta = TimeDelta::hours(24);

/// A key with what its publisher says of it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Its id in its set.
    pub(super) kid: Option<String>,
    /// What it is for.
    pub(super) algorithm: PublicAlgorithm,
    /// The key.
    pub(super) key: PublicKey,
    /// From when it is good.
    pub(super) from: Option<DateTime<Utc>>,
    /// Until when it is good.
    pub(super) until: Option<DateTime<Utc>>,
}

/// What is known of a key.
pub(super) enum Found {
    /// Any of these; `due` when they should be fetched again.
    Keys { keys: Vec<PublicKey>, due: bool },
    /// It was asked for, and there is none.
    None,
    /// It has to be asked for.
    Unknown,
}

/// The keys of one scheme.
#[derive(Debug)]
pub(super) struct Keyring {
    keep: Duration,
    /// Whether requests name what to fetch.
    by_request: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<String, Slot>,
    /// Until when a name is known to have no key.
    absent: BTreeMap<String, DateTime<Utc>>,
    /// When a name was last asked for.
    asked: BTreeMap<String, DateTime<Utc>>,
    /// When it was last asked for because its set holds no such id. Apart from the others, so that a
    /// key which is new right after an ordinary fetch is found at once.
    sought: BTreeMap<String, DateTime<Utc>>,
    /// When something was asked for, within the last minute.
    begun: VecDeque<DateTime<Utc>>,
}

/// One answer.
#[derive(Debug)]
struct Slot {
    keys: Vec<Stored>,
    fetched_at: DateTime<Utc>,
    /// When the last request came for which it was looked through anew, in vain or not.
    sought_at: Option<DateTime<Utc>>,
    /// From when it should be fetched again; never for a certificate, which stays what it is.
    due_at: Option<DateTime<Utc>>,
    /// Until when it may be used.
    usable_until: DateTime<Utc>,
}

impl Keyring {
    pub(super) fn new(keep: Duration, by_request: bool) -> Self {
        Self { keep, by_request, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for the keys under a name, of a set those with this id.
    pub(super) fn find(
        &self,
        name: &str,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Found {
        let state = self.state();
        let Some(slot) = state.slots.get(name).filter(|slot| now < slot.usable_until) else {
            let absent = state.absent.get(name).is_some_and(|until| now < *until);
            return if absent { Found::None } else { Found::Unknown };
        };
        let fits = |stored: &&Stored| {
            let named = match (kid, &stored.kid) {
                (Some(wanted), Some(has)) => wanted == has,
                // A set of one key needs no ids; and who names none may mean any.
                (None, _) | (_, None) => true,
            };
            named
                && stored.algorithm == algorithm
                && stored.from.is_none_or(|from| from <= now)
                && stored.until.is_none_or(|until| now < until)
        };
        let keys: Vec<PublicKey> = slot.keys.iter().filter(fits).map(|it| it.key.clone()).collect();
        if !keys.is_empty() {
            let due = slot.due_at.is_some_and(|due| due <= now);
            return Found::Keys { keys, due };
        }
        // A certificate stays what it is. A set may have got a new key since the request came for
        // which it was fetched last; but who makes ids up has it fetched once a minute, not more.
        let sought = slot.sought_at.is_some_and(|at| now.signed_duration_since(at) < MINUTE);
        let fresh_for = if self.by_request { MINUTE } else { TimeDelta::zero() };
        let fresh = now <= later(slot.fetched_at, fresh_for);
        if slot.due_at.is_none() || fresh || sought { Found::None } else { Found::Unknown }
    }

    /// Whether a name may be asked for now, which is counted then; `urgent` when a request can't be
    /// judged without it.
    pub(super) fn begin(&self, name: &str, urgent: bool, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        let within = |then: DateTime<Utc>, span| {
            // A clock that was set back must not keep us from asking for long.
            now.signed_duration_since(then).abs() < span
        };
        state.asked.retain(|_, at| within(*at, MINUTE));
        state.sought.retain(|_, at| within(*at, MINUTE));
        state.begun.retain(|at| within(*at, MINUTE));
        // One that is known to be the provider's is never kept waiting by names that are made up.
        let known = state.slots.contains_key(name);
        let pause = if known { MINUTE } else { RETRY };
        let asked = if known && urgent { &mut state.sought } else { &mut state.asked };
        let again = asked.get(name).is_some_and(|at| within(*at, pause));
        let too_many = self.by_request && !known && state.begun.len() >= FETCHES_A_MINUTE;
        if again || too_many {
            return false;
        }
        asked.insert(name.to_owned(), now);
        if !known {
            state.begun.push_back(now);
        }
        true
    }

    /// Keeps an answer in place of the one before.
    pub(super) fn store(
        &self,
        name: &str,
        keys: Vec<Stored>,
        max_age: Option<Duration>,
        now: DateTime<Utc>,
    ) {
        let keep = max_age.map_or(self.keep, |age| age.min(self.keep));
        let keep = delta(keep).max(MINUTE);
        let expires = keys.iter().filter_map(|key| key.until).max();
        let mut state = self.state();
        let sought_at = state.sought.get(name).copied();
        // Fetched again before its time is over, so that no request has to wait for it.
        let slot = match expires.filter(|_| keys.iter().all(|key| key.from.is_some())) {
            Some(until) => {
                Slot { keys, fetched_at: now, sought_at, due_at: None, usable_until: until }
            }
            None => Slot {
                keys,
                fetched_at: now,
                sought_at,
                due_at: Some(later(now, keep * 4 / 5)),
                usable_until: later(now, keep.checked_add(&STALE).unwrap_or(keep)),
            },
        };
        state.absent.remove(name);
        state.slots.insert(name.to_owned(), slot);
        while state.slots.len() > SLOTS_MAX {
            let oldest = state.slots.iter().min_by_key(|(_, slot)| slot.fetched_at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            state.slots.remove(&oldest);
        }
    }

    /// Takes note that there is no key under a name, and forgets the one that was.
    pub(super) fn absent(&self, name: &str, now: DateTime<Utc>) {
        let mut state = self.state();
        state.absent.retain(|_, until| now < *until);
        // Only names that were asked for get here, which are few a minute.
        if self.by_request && state.absent.len() < SLOTS_MAX {
            state.slots.remove(name);
            state.absent.insert(name.to_owned(), later(now, MINUTE));
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.slots.len(), state.absent.len(), state.asked.len())
    }
}

fn later(now: DateTime<Utc>, span: TimeDelta) -> DateTime<Utc> {
    now.checked_add_signed(span).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
