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
    looking: tokio::sync::Mutex<()>,
}

impl Controls {
    pub(super) fn new<'a>(callees: impl Iterator<Item = &'a Callee>) -> Self {
        let breakers = callees.filter(|callee| callee.control.breaker.is_some());
        Self {
            failures: breakers.map(|it| (it.name.clone(), AtomicU32::new(0))).collect(),
            history: RwLock::default(),
            looking: tokio::sync::Mutex::default(),
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

/// Sets the gates of all handlers by the pauses that are open. One at a time: an answer that was asked for
/// before a pause must not open the gate that the pause has shut.
pub(super) async fn look(shared: &Shared) -> Result<(), StoreError> {
    let _turn = shared.controls.looking.lock().await;
    let old = {
        let history = shared.controls.history.read().unwrap_or_else(PoisonError::into_inner);
        history.as_ref().is_none_or(|(_, read)| read.elapsed() > HISTORY_EVERY)
    };
    let open = shared.store.open_pauses().await?;
    let changes = |name: &Name| {
        let pause = open.iter().find(|pause| pause.handler == *name);
        shared.seats.gate(name) != Some(gate(pause))
    };
    // Before a gate opens: what fails at once must not be charged for the pause.
    if old || shared.callees.keys().any(changes) {
        let asked = Instant::now();
        let history = shared.store.pause_history().await?;
        *shared.controls.history.write().unwrap_or_else(PoisonError::into_inner) =
            Some((history, asked));
    }
    for name in shared.callees.keys() {
        let pause = open.iter().find(|pause| pause.handler == *name);
        let gate = gate(pause);
        if shared.seats.set_gate(name, gate) {
            say(name, pause, gate);
            if gate != Gate::Closed {
                shared.wake.notify_one();
            }
        }
        let breaker = pause.is_some_and(|pause| pause.cause == PauseCause::Breaker);
        shared.metrics.held_back(name, pause.is_some(), breaker);
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

/// How long a delivery waits whose answer pauses its handler, when that could not be written down.
const UNWRITTEN: Duration = Duration::from_secs(1);

/// A delivery whose answer pauses its handler: it goes back, and isn't counted.
pub(super) struct Held {
    pub(super) cause: String,
    pub(super) wait: Duration,
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
        | Ending::Skipped(_)
        | Ending::NotBegun { .. }
        | Ending::NoBody
        | Ending::Apart(_) => (Sign::Nothing, None),
    }
}

/// Draws the consequences of a call for its handler. [`Held`], when its answer pauses it.
pub(super) async fn after(
    shared: &Shared,
    callee: &Callee,
    ending: &Ending,
    probe: bool,
) -> Option<Held> {
    let (sign, status) = sign(ending);
    if let Some(status) = status.filter(|status| callee.control.pause_on.contains(status)) {
        let reason = format!("it answered {status}, which `pause_on` names");
        // Also when the pause can't be written now: the delivery goes back, and its next answer says it again.
        let paused = pause(shared, callee, reason.clone(), PauseKind::Answer).await;
        return Some(Held { cause: reason, wait: if paused { Duration::ZERO } else { UNWRITTEN } });
    }
    match sign {
        Sign::Works => worked(shared, callee, probe).await,
        Sign::Fails => failed(shared, callee, probe).await,
        Sign::Nothing => {}
    }
    None
}

/// A call went well: its breaker counts from the start, and closes if it was open.
pub(super) async fn worked(shared: &Shared, callee: &Callee, probe: bool) {
    if let Some(failures) = shared.controls.failures.get(&callee.name) {
        failures.store(0, Ordering::Relaxed);
    }
    // Asked also where no breaker is set any more: one that another config opened must close.
    if !probe || shared.seats.gate(&callee.name) != Some(Gate::Probe) {
        return;
    }
    match shared.store.resume(callee.name.clone(), true).await {
        Ok(_) => look_now(shared).await,
        Err(error) => {
            tracing::warn!(handler.name = %callee.name, error = %error, "a breaker could not be closed now");
        }
    }
}

async fn failed(shared: &Shared, callee: &Callee, probe: bool) {
    let Some((failures, breaker)) =
        shared.controls.failures.get(&callee.name).zip(callee.control.breaker)
    else {
        return;
    };
    // Of calls that were begun before the pause nothing is counted: only the one that tries again decides.
    let gate = shared.seats.gate(&callee.name);
    if gate != Some(Gate::Open) && !probe {
        return;
    }
    let count = failures.fetch_add(1, Ordering::Relaxed) + 1;
    let probed = probe && gate == Some(Gate::Probe);
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
