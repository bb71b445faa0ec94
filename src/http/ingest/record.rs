//! From verified to durable: what the recorder said, as an ending.

use tracing::{error, warn};

use super::{Ending, Visit};
use crate::http::problem::Problem;
use crate::intake::SubmitError;
use crate::metric;
use crate::received::Received;
use crate::source::{OnIdConflict, OnReplay};
use crate::store::Recorded;
use crate::verify::Verified;

impl Visit<'_> {
    /// Whether a request must be kept that is verified: the other body of an id is lost else.
    pub(super) fn may_refuse_later(&self) -> bool {
        self.source.on_id_conflict() == OnIdConflict::Reject
            || self.source.on_replay() == Some(OnReplay::Reject)
    }

    fn refuses_conflicts(&self) -> bool {
        self.source.on_id_conflict() == OnIdConflict::Reject
    }

    pub(super) async fn record(&mut self, verified: Verified) -> Ending {
        self.note(&verified, 1);
        let copy = self.may_refuse_later().then(|| Box::new(verified.received().clone()));
        // The recorder keeps the ack deadline. Recording goes on when it stops waiting, and a retry
        // will find the event.
        match self.state.recorder.submit(verified, self.desk).await {
            Ok(recorded) => {
                self.count(&[recorded]);
                match recorded {
                    Recorded::Fresh { event, .. } => {
                        Ending::Recorded { event, duplicate: false, conflict: false, answer: None }
                    }
                    Recorded::Duplicate { conflict: true, .. } if self.refuses_conflicts() => {
                        Ending::Refused(Problem::id_conflict(), copy)
                    }
                    Recorded::Replay { .. } => Ending::Refused(Problem::replay_suspected(), copy),
                    Recorded::Duplicate { event, conflict } => {
                        Ending::Recorded { event, duplicate: true, conflict, answer: None }
                    }
                }
            }
            Err(error) => self.not_recorded(&error),
        }
    }

    /// Records the events of one request together. `whole` is the request as it came, where it may
    /// have to be kept.
    pub(super) async fn record_all(
        &mut self,
        verified: Vec<Verified>,
        whole: Option<Box<Received>>,
    ) -> Ending {
        if let Some(first) = verified.first() {
            self.note(first, verified.len());
        }
        match self.state.recorder.submit_all(verified, self.desk).await {
            Ok(recorded) => {
                self.count(&recorded);
                let conflict = recorded
                    .iter()
                    .any(|one| matches!(one, Recorded::Duplicate { conflict: true, .. }));
                if conflict && self.refuses_conflicts() {
                    return Ending::Refused(Problem::id_conflict(), whole);
                }
                // All of its bytes are signed, or none: what replays one part replays them all.
                if recorded.iter().any(|one| matches!(one, Recorded::Replay { .. })) {
                    return Ending::Refused(Problem::replay_suspected(), whole);
                }
                let duplicate =
                    recorded.iter().all(|one| matches!(one, Recorded::Duplicate { .. }));
                let events = recorded.iter().map(Recorded::event).collect();
                Ending::RecordedAll { events, duplicate, conflict }
            }
            Err(error) => self.not_recorded(&error),
        }
    }

    /// What the log and the flow say of this request.
    fn note(&mut self, first: &Verified, events: usize) {
        self.event_id.clone_from(&first.identity().event_id);
        self.kind.clone_from(&first.identity().kind);
        self.events = events;
        self.state.metrics.verified(self.source.name(), first.proof().secret);
    }

    fn count(&self, recorded: &[Recorded]) {
        let metrics = &self.state.metrics;
        let of = |wanted: fn(&Recorded) -> bool| recorded.iter().filter(|one| wanted(one)).count();
        let fresh = of(|one| matches!(one, Recorded::Fresh { .. }));
        let conflicts = of(|one| matches!(one, Recorded::Duplicate { conflict: true, .. }));
        let refused = of(|one| matches!(one, Recorded::Replay { .. }));
        let copies = recorded.len() - fresh - conflicts - refused;
        self.suspect(recorded);
        for (outcome, events) in
            [(metric::ACCEPTED, fresh), (metric::DUPLICATE, copies), (metric::CONFLICT, conflicts)]
        {
            metrics.events(self.source.name(), outcome, events);
        }
    }

    /// Counts and logs what may be a replay.
    fn suspect(&self, recorded: &[Recorded]) {
        let source = self.source.name();
        let suspects = recorded.iter().filter_map(|one| match one {
            Recorded::Fresh { replay_of: Some(earlier), .. } => Some(*earlier),
            Recorded::Replay { of } => Some(*of),
            Recorded::Fresh { .. } | Recorded::Duplicate { .. } => None,
        });
        for earlier in suspects {
            self.state.metrics.replay_suspected(source);
            if self.state.may_log(source) {
                warn!(
                    source.name = %source,
                    event.event_id = self.event_id,
                    event.earlier = %earlier,
                    "the same signed bytes came to {source} before, under another id: this may be a replay",
                );
            }
        }
    }

    fn not_recorded(&self, error: &SubmitError) -> Ending {
        if let SubmitError::Refused(cause) = error {
            error!(
                source.name = %self.source.name(),
                event.event_id = self.event_id,
                error = cause as &dyn std::error::Error,
                "an event could not be recorded and was answered 503",
            );
        }
        Ending::Failed(Problem::submit(error), None)
    }
}

/// How the events of one request are counted as one outcome.
pub(super) fn outcome(duplicate: bool, conflict: bool) -> &'static str {
    match (duplicate, conflict) {
        (_, true) => metric::CONFLICT,
        (true, false) => metric::DUPLICATE,
        (false, false) => metric::ACCEPTED,
    }
}
