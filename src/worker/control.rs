//! Holding handlers back: pauses by hand, breakers, and answers that pause.
//!
//! A pause is a row: every replica looks at the open ones each second, and shuts the handler's gate.
//! What a breaker counts is one replica's own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use entity::Name;
use tokio_util::sync::CancellationToken;

use super::settle::Ending;
use super::{Callee, Shared};
use crate::handler::Outcome;
use crate::handler::seats::Gate;
use crate::store::StoreError;
use crate::store::pause::{NewPause, OpenPause, PauseCause, PauseHistory, PauseKind};

/// How often the pauses are looked at: a pause holds everywhere after this, and a resumed handler runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often at least the pauses that were are read anew.
const HISTORY_EVERY: Duration = Duration::from_secs(60);

/// What one worker knows of what holds its handlers back.
#[derive(Debug, Default)]
pub(super) struct Controls {
    /// Consecutive failures of those with a breaker.
    failures: HashMap<Name, AtomicU32>,
    history: RwLock<Option<(PauseHistory, Instant)>>,
}

impl Controls {
    pub(super) fn new<'a>(callees: impl Iterator<Item = &'a Callee>) -> Self {
        let breakers = callees.filter(|callee| callee.control.breaker.is_some());
        Self {
            failures: breakers.map(|it| (it.name.clone(), AtomicU32::new(0))).collect(),
            history: RwLock::default(),
        }
    }

    /// How long a delivery that was opened `open_for` ago has been open, without the pauses of its handler.
    pub(super) fn without_pauses(&self, handler: &Name, open_for: Duration) -> Duration {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        let Some((history, read)) = &*history else { return open_for };
        // The history's ages are those of when it was read.
        let time = open_for.saturating_sub(read.elapsed());
        open_for.saturating_sub(history.within(handler, time))
    }
}

/// Looks at the pauses until `stop`. The first look is [`look`], before the first claim.
pub(super) async fn watch(shared: &Shared, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = look(shared).await {
            tracing::debug!(error = %error, "the pauses of handlers can't be looked at now");
        }
    }
}

/// Sets the gates of all handlers by the pauses that are open.
pub(super) async fn look(shared: &Shared) -> Result<(), StoreError> {
    let open = shared.store.open_pauses().await?;
    let mut changed = false;
    for name in shared.callees.keys() {
        let pause = open.iter().find(|pause| pause.handler == *name);
        let gate = gate(pause);
        if shared.seats.set_gate(name, gate) {
            changed = true;
            say(name, pause, gate);
            if gate != Gate::Closed {
                shared.wake.notify_one();
            }
        }
        let breaker = pause.is_some_and(|pause| pause.cause == PauseCause::Breaker);
        shared.metrics.held_back(name, pause.is_some(), breaker);
    }
    let old = {
        let history = shared.controls.history.read().unwrap_or_else(PoisonError::into_inner);
        history.as_ref().is_none_or(|(_, read)| read.elapsed() > HISTORY_EVERY)
    };
    // While a handler is paused its pause grows, but nothing of it is judged, save calls that still ran.
    if changed || old {
        let asked = Instant::now();
        let history = shared.store.pause_history().await?;
        *shared.controls.history.write().unwrap_or_else(PoisonError::into_inner) =
            Some((history, asked));
    }
    Ok(())
}

fn gate(pause: Option<&OpenPause>) -> Gate {
    match pause.map(|pause| pause.left) {
        None => Gate::Open,
        Some(Some(Duration::ZERO)) => Gate::Probe,
        Some(_) => Gate::Closed,
    }
}

fn say(name: &Name, pause: Option<&OpenPause>, gate: Gate) {
    match pause {
        Some(pause) if gate == Gate::Closed => {
            tracing::warn!(handler.name = %name, pause.cause = pause.cause.as_str(), pause.by = %pause.by,
                "handler {name} is paused: {}", pause.reason);
        }
        Some(_) => {
            tracing::info!(handler.name = %name, "handler {name} is tried again with one call");
        }
        None => tracing::info!(handler.name = %name, "handler {name} runs"),
    }
}

/// What a call says of its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Works,
    Fails,
    Nothing,
}

fn sign(ending: &Ending) -> (Sign, Option<i32>) {
    match ending {
        // A refusal is an answer: who refuses is there.
        Ending::Returned(Outcome::Delivered(reply) | Outcome::Reject { reply, .. }) => {
            (Sign::Works, reply.status)
        }
        Ending::Returned(Outcome::Retry { reply, .. }) => (Sign::Fails, reply.status),
        Ending::TimedOut(_) | Ending::Panicked(_) => (Sign::Fails, None),
        Ending::Returned(Outcome::Snooze { .. })
        | Ending::Interrupted
        | Ending::Skipped
        | Ending::NoBody => (Sign::Nothing, None),
    }
}

/// Draws the consequences of a call for its handler. The sentence, when its answer has paused it: then
/// the delivery goes back and isn't counted.
pub(super) async fn after(shared: &Shared, callee: &Callee, ending: &Ending) -> Option<String> {
    let (sign, status) = sign(ending);
    if let Some(status) = status.filter(|status| callee.control.pause_on.contains(status)) {
        let reason = format!("it answered {status}, which `pause_on` names");
        return pause(shared, callee, reason.clone(), PauseKind::Answer).await.then_some(reason);
    }
    match sign {
        Sign::Works => worked(shared, callee).await,
        Sign::Fails => failed(shared, callee).await,
        Sign::Nothing => {}
    }
    None
}

/// A call went well: its breaker counts from the start, and closes if it was open.
pub(super) async fn worked(shared: &Shared, callee: &Callee) {
    let Some(failures) = shared.controls.failures.get(&callee.name) else { return };
    failures.store(0, Ordering::Relaxed);
    if shared.seats.gate(&callee.name) != Some(Gate::Probe) {
        return;
    }
    match shared.store.resume(callee.name.clone(), true).await {
        Ok(_) => look_now(shared).await,
        Err(error) => {
            tracing::warn!(handler.name = %callee.name, error = %error, "a breaker could not be closed now");
        }
    }
}

async fn failed(shared: &Shared, callee: &Callee) {
    let Some((failures, breaker)) =
        shared.controls.failures.get(&callee.name).zip(callee.control.breaker)
    else {
        return;
    };
    let count = failures.fetch_add(1, Ordering::Relaxed) + 1;
    let probed = shared.seats.gate(&callee.name) == Some(Gate::Probe);
    if count >= breaker.failures || probed {
        failures.store(0, Ordering::Relaxed);
        let reason = if probed {
            "it failed again when it was tried".to_owned()
        } else {
            format!("it failed {count} times, one after the other")
        };
        pause(shared, callee, reason, PauseKind::Breaker(breaker.pause)).await;
    }
}

/// False when the database didn't take it.
async fn pause(shared: &Shared, callee: &Callee, reason: String, kind: PauseKind) -> bool {
    let by = format!("worker {}", shared.id);
    let new = NewPause { handler: callee.name.clone(), reason, by, kind };
    match shared.store.pause(new).await {
        Ok(_) => {
            look_now(shared).await;
            true
        }
        Err(error) => {
            tracing::warn!(handler.name = %callee.name, error = %error, "a handler could not be paused now");
            false
        }
    }
}

async fn look_now(shared: &Shared) {
    if let Err(error) = look(shared).await {
        tracing::debug!(error = %error, "the pauses of handlers can't be looked at now");
    }
}
