//! What is done in one try: the handler's call under a deadline and a panic guard, or its effect.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::TryOutcome;
use futures::FutureExt;

use super::effect::{Effect, Transactional, within};
use super::settle::Ending;
use super::{Callee, Shared, leases, staleness};
use crate::event::Event;
use crate::handler::seats::Seat;
use crate::handler::shape::Shaped;
use crate::handler::{Context, Handler, Outcome};
use crate::store::claim::Held;
use crate::store::effect::Effected;
use crate::store::{AttemptRecord, Claimed, Settlement, StoreError, Verdict};

/// A lease that was taken less than this ago is as good as new.
const FRESH: Duration = Duration::from_millis(500);

/// When one comes again whose expressions found no place, so that its seat is another's meanwhile.
const CROWDED: Duration = Duration::from_secs(1);

/// What came of an effect.
pub(super) enum Came {
    /// To be settled.
    To(Ending),
    /// To be settled, without that the handler was called.
    Uncalled(Ending),
    /// To be settled, unless its own transaction did so and only the answer was lost.
    InDoubt(Ending),
    /// Settled, in the effect's own transaction.
    Settled,
    /// Somebody else has the delivery.
    LeaseLost,
}

impl Came {
    pub(super) fn not_begun(cause: &str, after: Duration) -> Self {
        Self::Uncalled(Ending::NotBegun { cause: cause.to_owned(), after })
    }
}

/// Runs what the handler does. Everything that decides whether it is to run at all comes before this.
pub(super) async fn work(
    shared: &Shared,
    callee: &Callee,
    claim: &Claimed,
    event: Option<&Event>,
    context: &mut Context,
    seat: &mut Seat,
) -> Came {
    let begun = Instant::now();
    let Some(event) = event else { return Came::Uncalled(Ending::NoBody) };
    let shaped = match &callee.shape {
        Some(shape) => shape.apply(event).await,
        None => Shaped::Whole,
    };
    let as_it_came = event;
    let event = match &shaped {
        Shaped::Whole => event,
        Shaped::Changed(event) => event,
        Shaped::Skipped => return Came::Uncalled(Ending::Skipped("`when` is false")),
        Shaped::Failed(why) => {
            return Came::Uncalled(Ending::Returned(Outcome::reject(&why.cause)));
        }
        Shaped::Slow(why) => return Came::Uncalled(Ending::Returned(Outcome::retry(&why.cause))),
        Shaped::Crowded(why) => return Came::not_begun(&why.cause, CROWDED),
    };
    if let Some(versions) = &callee.versions {
        match staleness::look(shared, versions, claim, as_it_came).await {
            Ok(stale) => context.stale = stale,
            Err(came) => return came,
        }
    }
    match &callee.effect {
        Effect::Call(handler) => {
            seat.spend();
            Came::To(call(handler.as_ref(), event, context).await)
        }
        Effect::Elsewhere(handler) => {
            // Waiting for a connection is no try here either: its time runs from when it has one.
            let turn = handler.elsewhere.turn().await;
            seat.spend();
            let ending = call(handler.as_ref(), event, context).await;
            drop(turn);
            Came::To(ending)
        }
        Effect::InTransaction(effect) => {
            // Waiting for a connection is no try: the lease is renewed meanwhile.
            let turn = shared.effects.take(&callee.name).await;
            // The whole lease is longer than the transaction may be, and what is left of it may not be.
            let Claimed { delivery, epoch, .. } = *claim;
            let held = Held { delivery, epoch, lease: callee.lease };
            if (turn.waited || begun.elapsed() > FRESH) && !leases::renew_now(shared, held).await {
                return Came::LeaseLost;
            }
            seat.spend();
            // Its row is locked until the end: nobody can renew it.
            shared.leases.pause(delivery, epoch);
            let came = in_transaction(shared, Arc::clone(effect), claim, event, context).await;
            drop(turn);
            came
        }
    }
}

async fn in_transaction(
    shared: &Shared,
    effect: Arc<dyn Transactional>,
    claim: &Claimed,
    event: &Event,
    context: &Context,
) -> Came {
    let delivered = Settlement {
        delivery: claim.delivery,
        epoch: claim.epoch,
        verdict: Verdict::Delivered,
        attempt: AttemptRecord {
            n: claim.attempt,
            duration: Duration::ZERO,
            outcome: TryOutcome::Delivered,
            status: None,
            error: None,
            response: None,
            content_type: None,
        },
    };
    let (event, limit) = (event.clone(), context.timeout);
    let context = context.clone();
    let done = shared
        .store
        .settle_with(delivered, limit, |tx| within(effect, tx, event, context).boxed())
        .await;
    match done {
        Ok(Effected::Settled) => Came::Settled,
        Ok(Effected::LeaseLost) => {
            shared.metrics.fenced();
            tracing::warn!(delivery.id = %claim.delivery, lease.epoch = claim.epoch,
                "fenced: delivery {} was taken from this worker before its effect; nothing was changed", claim.delivery);
            Came::LeaseLost
        }
        Ok(Effected::Refused(ending)) => Came::To(ending),
        Ok(Effected::TimedOut) => Came::To(Ending::TimedOut(limit)),
        Err(error @ StoreError::Apart) => Came::To(Ending::Apart(error.to_string())),
        Err(error) => {
            let cause = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            Came::InDoubt(Ending::Returned(Outcome::retry(cause)))
        }
    }
}

async fn call(handler: &dyn Handler, event: &Event, context: &Context) -> Ending {
    // The handler's own code runs within the async block, so that a panic before its first await is
    // caught as well.
    let guarded = AssertUnwindSafe(async { handler.handle(event, context).await }).catch_unwind();
    match tokio::time::timeout(context.timeout, guarded).await {
        Ok(Ok(outcome)) => Ending::Returned(outcome),
        Ok(Err(panic)) => Ending::Panicked(panic_text(panic.as_ref())),
        Err(_) => Ending::TimedOut(context.timeout),
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".to_owned())
}
