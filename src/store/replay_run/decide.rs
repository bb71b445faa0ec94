//! What becomes of one delivery in a replay: a pure function, asked by dry runs and real ones.

use chrono::{DateTime, Utc};
use entity::State;
use uuid::Uuid;

use super::{Replay, Target, Walk, Why};
use crate::store::LanePlace;

/// An event, and its last delivery for one handler.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) event: Uuid,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) received_at: DateTime<Utc>,
    pub(super) is_held: bool,
    pub(super) has_body: bool,
    pub(super) last: Option<Last>,
}

/// The last round of a handler.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) id: Uuid,
    pub(super) handler: String,
    pub(super) state: State,
    pub(super) round: i32,
    pub(super) lane: Option<LanePlace>,
    pub(super) lane_order: Option<i64>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It was not meant.
    Ignore,
    /// Open the dead one.
    Reopen(Uuid),
    /// Make a delivery of this round.
    New(i32),
    /// Pass it over, and count why.
    Skip(Why),
}

/// The handler that a candidate is about.
pub(super) fn handler_of<'a>(candidate: &'a Candidate, replay: &'a Replay) -> Option<&'a str> {
    let last = candidate.last.as_ref().map(|last| last.handler.as_str());
    last.or(replay.to_handler.as_ref().map(entity::Name::as_str))
}

/// Decides. `target` is the candidate's handler, as far as the config has it.
pub(super) fn decide(
    candidate: &Candidate,
    replay: &Replay,
    walk: &Walk,
    target: Option<&Target>,
) -> Decision {
    if !is_meant(candidate, replay, walk) {
        return Decision::Ignore;
    }
    let Some(target) = target else { return Decision::Skip(Why::NoHandler) };
    let to = replay.to_handler.as_ref() == Some(&target.handler);
    if to && !(target.takes)(&candidate.source, &candidate.kind) {
        return Decision::Ignore;
    }
    let Some(last) = &candidate.last else {
        return match (to, candidate.is_held, candidate.has_body) {
            (false, _, _) => Decision::Ignore,
            (true, true, _) => Decision::Skip(Why::Held),
            (true, false, false) => Decision::Skip(Why::NoBody),
            (true, false, true) => Decision::New(0),
        };
    };
    match last.state {
        State::Pending | State::Leased => Decision::Skip(Why::Open),
        State::Delivered if !replay.again => Decision::Skip(Why::Delivered),
        // Somebody took it away, or the handler's condition is false: that isn't undone by the way.
        State::Cancelled if !replay.again || replay.state != Some(State::Cancelled) => {
            Decision::Skip(Why::Cancelled)
        }
        _ if !candidate.has_body => Decision::Skip(Why::NoBody),
        State::Dead => Decision::Reopen(last.id),
        State::Delivered | State::Cancelled => Decision::New(last.round.saturating_add(1)),
    }
}

/// Whether the filter means it.
fn is_meant(candidate: &Candidate, replay: &Replay, walk: &Walk) -> bool {
    let state = candidate.last.as_ref().map(|last| last.state);
    let kind = replay.kind.as_deref().is_none_or(|kind| match kind.strip_suffix('*') {
        Some(start) => candidate.kind.starts_with(start),
        None => candidate.kind == kind,
    });
    kind && candidate.received_at <= walk.made_at
        && replay.state.is_none_or(|wanted| state == Some(wanted))
        && replay.source.as_deref().is_none_or(|source| candidate.source == source)
        && replay.since.is_none_or(|since| candidate.received_at >= since)
        && replay.until.is_none_or(|until| candidate.received_at < until)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use entity::Name;

    use super::*;

    fn candidate(state: Option<State>) -> Candidate {
        let last = state.map(|state| Last {
            id: Uuid::nil(),
            handler: "h".to_owned(),
            state,
            round: 2,
            lane: None,
            lane_order: None,
        });
        Candidate {
            event: Uuid::nil(),
            source: "shop".to_owned(),
            kind: "order.paid".to_owned(),
            received_at: DateTime::<Utc>::UNIX_EPOCH,
            is_held: false,
            has_body: true,
            last,
        }
    }

    fn asked(candidate: &Candidate, replay: &Replay) -> Decision {
        let target = Target {
            handler: Name::new("h").expect("a name"),
            takes: Arc::new(|source, _| source == "shop"),
            lane: None,
        };
        let now = DateTime::<Utc>::UNIX_EPOCH;
        decide(candidate, replay, &Walk::begin(replay, None, now), Some(&target))
    }

    #[test]
    fn what_becomes_of_it_depends_on_where_it_stands() {
        let plain = Replay::default();
        let again = Replay { again: true, ..Replay::default() };
        let to = Replay { to_handler: Name::new("h").ok(), ..Replay::default() };
        let taken = Replay { state: Some(State::Cancelled), ..again.clone() };
        let dead = Replay { state: Some(State::Dead), ..again.clone() };
        for (state, replay, want) in [
            (Some(State::Dead), &plain, Decision::Reopen(Uuid::nil())),
            (Some(State::Dead), &again, Decision::Reopen(Uuid::nil())),
            (Some(State::Pending), &again, Decision::Skip(Why::Open)),
            (Some(State::Leased), &plain, Decision::Skip(Why::Open)),
            (Some(State::Delivered), &plain, Decision::Skip(Why::Delivered)),
            (Some(State::Delivered), &again, Decision::New(3)),
            (Some(State::Delivered), &dead, Decision::Ignore),
            (Some(State::Delivered), &to, Decision::Skip(Why::Delivered)),
            (Some(State::Cancelled), &again, Decision::Skip(Why::Cancelled)),
            (Some(State::Cancelled), &taken, Decision::New(3)),
            (None, &plain, Decision::Ignore),
            (None, &to, Decision::New(0)),
        ] {
            assert_eq!(asked(&candidate(state), replay), want, "{state:?} {replay:?}");
        }
    }

    #[test]
    fn nothing_is_made_of_what_is_held_or_gone_or_for_somebody_else() {
        let to = Replay { to_handler: Name::new("h").ok(), ..Replay::default() };
        let held = Candidate { is_held: true, ..candidate(None) };
        assert_eq!(asked(&held, &to), Decision::Skip(Why::Held));
        let gone = Candidate { has_body: false, ..candidate(None) };
        assert_eq!(asked(&gone, &to), Decision::Skip(Why::NoBody));
        let other = Candidate { source: "crm".to_owned(), ..candidate(None) };
        assert_eq!(asked(&other, &to), Decision::Ignore);
        let later = Candidate { received_at: Utc::now(), ..candidate(None) };
        assert_eq!(asked(&later, &to), Decision::Ignore, "recorded after the beginning");
        let walk = Walk::begin(&to, None, Utc::now());
        let dead = candidate(Some(State::Dead));
        assert_eq!(decide(&dead, &Replay::default(), &walk, None), Decision::Skip(Why::NoHandler));
    }

    #[test]
    fn every_condition_must_hold() {
        let dead = candidate(Some(State::Dead));
        let second = DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::seconds(1);
        for (replay, want) in [
            (Replay { kind: Some("order.*".to_owned()), ..Replay::default() }, true),
            (Replay { kind: Some("order".to_owned()), ..Replay::default() }, false),
            (Replay { source: Some("crm".to_owned()), ..Replay::default() }, false),
            (Replay { since: Some(second), ..Replay::default() }, false),
            (Replay { until: Some(second), ..Replay::default() }, true),
            (Replay { until: Some(DateTime::<Utc>::UNIX_EPOCH), ..Replay::default() }, false),
        ] {
            assert_eq!(asked(&dead, &replay) != Decision::Ignore, want, "{replay:?}");
        }
    }
}
