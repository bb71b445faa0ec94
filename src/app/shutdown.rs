//! The order in which an app ends. Each step waits for the one before it, with a limit.
//!
//! Readiness turns 503, so that a balancer looks elsewhere; claiming stops, and running calls get
//! their grace from now on, while requests are still served; WebSockets are closed, which would never end
//! by themselves; threads of the listeners end their own commits; the listeners stop accepting and finish what they
//! have; intake records what was submitted; calls that are still running are cut off and their deliveries given back,
//! uncounted; the pools close.

use std::time::{Duration, Instant};

use super::Running;

/// For the tasks of a step that should end by themselves: a limit against a bug, not a schedule.
const STEP_MAX: Duration = Duration::from_secs(30);

pub(super) async fn shutdown(running: Running) {
    let begun = Instant::now();
    tracing::info!("shutting down");
    running.readiness.drain();
    tokio::time::sleep(running.drain).await;

    running.worker_stop.claiming.cancel();
    let grace_until = tokio::time::Instant::now() + running.grace;
    running.upkeep_stop.cancel();

    running.tunnels_closing.cancel();
    if tokio::time::timeout(STEP_MAX, running.near_commits.end()).await.is_err() {
        tracing::error!("a commit did not end within {STEP_MAX:?}; nothing of it was acknowledged");
    }
    for stopper in &running.stoppers {
        stopper.stop(true).await;
    }
    for listener in running.listeners {
        match tokio::time::timeout(STEP_MAX, listener).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(error = %error, "a listener ended with an error"),
            Ok(Err(error)) => {
                tracing::error!(error = %error, "a listener's task ended with an error")
            }
            Err(_) => tracing::error!("a listener did not stop within {STEP_MAX:?}"),
        }
    }

    running.gateways.close();
    if tokio::time::timeout_at(grace_until, running.gateways.wait()).await.is_err() {
        tracing::warn!(
            "requests of gateways are still running; their keys are decided by `on_unknown` once their leases end"
        );
    }

    running.intake_closing.cancel();
    running.intake.close();
    if tokio::time::timeout(STEP_MAX, running.intake.wait()).await.is_err() {
        tracing::error!(
            "intake could not record everything that was submitted; nothing of that was acknowledged"
        );
    }

    let mut worker = running.worker;
    if tokio::time::timeout_at(grace_until, &mut worker).await.is_err() {
        tracing::warn!(
            "handlers are still running after their grace of {:?}; cutting them off",
            running.grace
        );
        running.worker_stop.calls.cancel();
        if tokio::time::timeout(STEP_MAX, worker).await.is_err() {
            tracing::error!("the worker did not end; its leases will lapse");
        }
    }

    running.upkeep.close();
    if tokio::time::timeout(STEP_MAX, running.upkeep.wait()).await.is_err() {
        tracing::error!("a chore did not end within {STEP_MAX:?}");
    }
    if tokio::time::timeout(STEP_MAX, running.store.close()).await.is_err() {
        tracing::error!("the database's connections did not close within {STEP_MAX:?}");
    }
    tracing::info!(
        shutdown.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "shut down"
    );
}
