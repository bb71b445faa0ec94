//! One try: what its handler does under a lease, and its settlement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::TryOutcome;

use super::effect::Effect;
use super::settle::{Attempted, Ending, Judged, judge};
use super::work::{Came, work};
use super::{Callee, Shared, answer, control};
use crate::event::Event;
use crate::handler::answers::ANSWER_BYTES_MAX;
use crate::handler::seats::Seat;
use crate::handler::{Context, RESPONSE_BYTES_MAX};
use crate::store::{AttemptRecord, Claimed, Settled, Settlement, Verdict};

/// How long a settlement may still take once the daemon has cut its calls off.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// Calls the handler and settles. Keeps its seat until the call has ended and may wait for its
/// settlement: of those only so many may be, so that a database that takes none stops the claiming.
pub(super) async fn run(shared: Arc<Shared>, callee: Callee, mut claim: Claimed, mut seat: Seat) {
    let hold = shared.leases.hold(claim.delivery, claim.epoch, callee.lease);
    let event = claim.event.take();
    let begun = Instant::now();
    let mut context = Context {
        delivery: claim.delivery,
        handler: callee.name.clone(),
        lane: claim.lane.clone(),
        attempt: claim.attempt,
        epoch: claim.epoch,
        stale: false,
        keep: if callee.responds { ANSWER_BYTES_MAX } else { RESPONSE_BYTES_MAX },
        timeout: callee.timeout,
        cancelled: hold.lost.clone(),
    };
    let came = tokio::select! {
        // A call that has just ended is settled, even when the lease was lost in the same moment.
        biased;
        came = work(&shared, &callee, &claim, event.as_ref(), &mut context, &mut seat) => came,
        () = hold.lost.cancelled() => Came::LeaseLost,
        () = shared.stop.calls.cancelled() => match &callee.effect {
            _ if !seat.is_spent() => Came::not_begun("the daemon shut down before the handler was called", Duration::ZERO),
            // It may have been within its COMMIT.
            Effect::InTransaction(_) => Came::InDoubt(Ending::Interrupted),
            Effect::Call(_) | Effect::Elsewhere(_) => Came::To(Ending::Interrupted),
        },
    };
    let took = begun.elapsed();
    let (ending, doubtful, called) = match came {
        Came::To(ending) => (ending, false, true),
        Came::Uncalled(ending) => (ending, false, false),
        Came::InDoubt(ending) => (ending, true, true),
        Came::Settled | Came::LeaseLost => {
            if matches!(came, Came::Settled) {
                control::worked(&shared, &callee, seat.is_probe()).await;
            }
            // Either way nothing of this call is left to settle.
            drop(hold);
            leave(&shared, &callee, seat);
            if matches!(came, Came::Settled) {
                tell_settled(&shared, &callee, &claim, event.as_ref(), took);
                if claim.lane.is_some() {
                    // The next in its lane may be due now.
                    shared.wake.notify_one();
                }
            }
            return;
        }
    };
    shared.leases.settling(claim.delivery, claim.epoch);
    // Never closed, so there is always a permit in the end.
    let waiting = shared.unsettled.acquire().await;
    // Before the seat is free: one that is tried again with one call gets no second one meanwhile.
    let answer = if callee.responds { answer::of(&ending, &claim) } else { None };
    // What was not called says nothing of its handler.
    let paused = match called {
        true => control::after(&shared, &callee, &ending, seat.is_probe()).await,
        false => None,
    };
    leave(&shared, &callee, seat);
    let open_for = claim.open_for.saturating_add(took);
    let open_for = shared.controls.without_pauses(&callee.name, open_for);
    let mut judged =
        judge(Attempted { ending, tried: claim.tried, open_for }, &callee.retry, rand::random());
    if let Some(control::Held { cause, wait }) = paused {
        judged.verdict = Verdict::Released { after: wait, cause };
    }
    // Of a delivery that is settled for good the next in its lane may be due now.
    let again = claim.lane.is_some()
        || matches!(judged.verdict, Verdict::Pending { .. } | Verdict::Released { .. });
    let kind = answer.as_ref().map(|answer| answer.content_type.clone());
    let try_ = Try { callee: &callee, claim: &claim, event: event.as_ref(), took, doubtful };
    let stands = settle(&shared, &try_, judged, kind).await;
    if callee.responds
        && let Some(event) = &event
    {
        shared.answers.tell(event.id, &callee.name, &answer.filter(|_| stands));
    }
    drop(hold);
    drop(waiting);
    if again {
        // It may be due sooner than the claiming loop thinks.
        shared.wake.notify_one();
    }
}

/// Asks the delivery itself what became of a COMMIT whose answer was lost. The settlement under the
/// lease's epoch was right in any case: it changed nothing where COMMIT did.
async fn was_delivered(shared: &Shared, claim: &Claimed) -> bool {
    match shared.store.was_delivered(claim.delivery, claim.epoch).await {
        Ok(delivered) => delivered,
        Err(error) => {
            tracing::debug!(delivery.id = %claim.delivery, error = %error, "its state can't be asked for now");
            false
        }
    }
}

/// Counts and says that a delivery was settled in its effect's own transaction.
fn tell_settled(
    shared: &Shared,
    callee: &Callee,
    claim: &Claimed,
    event: Option<&Event>,
    took: Duration,
) {
    let outcome = TryOutcome::Delivered;
    shared.metrics.delivery(&callee.name, outcome, took);
    say(callee, claim, event, &Verdict::Delivered, outcome.as_str(), took);
}

/// Gives the seat back, and says so when something waits for it.
fn leave(shared: &Shared, callee: &Callee, seat: Seat) {
    drop(seat);
    if shared.seats.is_behind(&callee.name) {
        shared.wake.notify_one();
    }
}

/// A try that has ended.
struct Try<'a> {
    callee: &'a Callee,
    claim: &'a Claimed,
    event: Option<&'a Event>,
    took: Duration,
    /// Its own transaction may have settled it, and only the answer was lost.
    doubtful: bool,
}

/// Settles, and says whether the verdict stands. `kind` is the type of an answer that may be passed on.
async fn settle(shared: &Shared, ended: &Try<'_>, judged: Judged, kind: Option<String>) -> bool {
    let Try { callee, claim, event, took, doubtful } = *ended;
    let Judged { verdict, outcome, status, error, response } = judged;
    // Only what is passed on is kept whole.
    let response = response.map(|it| match &kind {
        Some(_) => it,
        None => it.slice(..it.len().min(RESPONSE_BYTES_MAX)),
    });
    let settlement = Settlement {
        delivery: claim.delivery,
        epoch: claim.epoch,
        verdict: verdict.clone(),
        attempt: AttemptRecord {
            n: claim.attempt,
            duration: took,
            outcome,
            status,
            error,
            response,
            content_type: kind,
        },
    };
    let settled = tokio::select! {
        settled = shared.settler.settle(settlement) => settled,
        () = patience(shared) => {
            tracing::error!(delivery.id = %claim.delivery, handler.name = %callee.name,
                "delivery {} could not be settled before the daemon had to end; its lease will lapse", claim.delivery);
            return false;
        }
    };
    match settled {
        Ok(Settled::Done) => {
            shared.metrics.delivery(&callee.name, outcome, took);
            say(callee, claim, event, &verdict, outcome.as_str(), took);
            return true;
        }
        Ok(Settled::LeaseLost) if doubtful && was_delivered(shared, claim).await => {
            tell_settled(shared, callee, claim, event, took);
        }
        Ok(Settled::LeaseLost) => {
            shared.metrics.fenced();
            tracing::warn!(delivery.id = %claim.delivery, handler.name = %callee.name, lease.epoch = claim.epoch,
                "fenced: delivery {} was taken from this worker before it settled; nothing was changed", claim.delivery);
        }
        Err(error) => {
            shared.metrics.invariant_violated();
            tracing::error!(delivery.id = %claim.delivery, handler.name = %callee.name, error = %error,
                cause = ?std::error::Error::source(&error),
                "delivery {} could not be settled; its lease will lapse", claim.delivery);
        }
    }
    false
}

/// Ends when waiting for the database makes no sense any more: some time after calls were cut off.
async fn patience(shared: &Shared) {
    shared.stop.calls.cancelled().await;
    tokio::time::sleep(SETTLE_GRACE).await;
}

/// Says what became of a delivery, once, here where it was decided.
fn say(
    callee: &Callee,
    claim: &Claimed,
    event: Option<&Event>,
    verdict: &Verdict,
    outcome: &'static str,
    took: Duration,
) {
    let (source, kind, event_id) = event
        .map(|event| (event.source.as_str(), event.kind.as_str(), event.event_id.as_str()))
        .unwrap_or_default();
    tracing::debug!(
        target: "hookonce::flow",
        {
            flow.kind = "out",
            source = source,
            r#type = kind,
            event_id = event_id,
            handler = callee.name.as_str(),
            outcome = outcome,
            ms = took.as_secs_f64() * 1e3,
        },
        "a try has ended"
    );
    let (delivery, handler, attempt) = (claim.delivery, &callee.name, claim.attempt);
    match verdict {
        Verdict::Delivered => {
            tracing::debug!(delivery.id = %delivery, handler.name = %handler, attempt,
            "delivered {delivery} to {handler}")
        }
        Verdict::Pending { after, cause } => {
            tracing::warn!(delivery.id = %delivery, handler.name = %handler, attempt,
            delivery.after_ms = after.as_millis(), delivery.cause = %cause, "try {attempt} of {handler} failed; trying again in {after:.1?}")
        }
        Verdict::Released { after, cause } => {
            tracing::info!(delivery.id = %delivery, handler.name = %handler, attempt,
            delivery.after_ms = after.as_millis(), delivery.cause = %cause, "{handler} gave {delivery} back")
        }
        Verdict::Skipped { cause } => {
            tracing::debug!(delivery.id = %delivery, handler.name = %handler, attempt,
            "{handler} and {delivery}: {cause}")
        }
        Verdict::Dead { cause } => {
            tracing::error!(delivery.id = %delivery, handler.name = %handler, attempt,
            delivery.cause = %cause, "delivery {delivery} to {handler} is dead")
        }
    }
}
