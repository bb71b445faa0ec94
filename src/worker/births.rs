//! Begins what was born leased to this worker.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Birth, Shared, begin, give_back};

/// Begins each as it comes, until the worker stops and no newborn is on its way any more: a newborn
/// holds its seat from before it is recorded.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut births: mpsc::UnboundedReceiver<Birth>,
    tracker: TaskTracker,
) {
    loop {
        let birth = tokio::select! {
            // What was sent comes before the end.
            biased;
            birth = births.recv() => birth,
            () = stopped(&shared) => None,
        };
        let Some(Birth { claimed, seat, since }) = birth else { break };
        let lease = shared.callees.get(&claimed.handler).map(|callee| callee.lease);
        // Recorded so slowly that another worker may soon think us dead: not begun any more.
        if lease.is_some_and(|lease| since.elapsed() > lease / 2) {
            tracker.spawn(give_back(Arc::clone(&shared), claimed));
            continue;
        }
        begin(&shared, claimed, Some(seat), &tracker);
    }
    // Nothing is sent any more, or the senders are gone: then this waits for the claiming to end.
    shared.stop.claiming.cancelled().await;
}

/// Returns when the worker stops and every seat is free, so that nothing can be under way.
async fn stopped(shared: &Shared) {
    shared.stop.claiming.cancelled().await;
    shared.seats.close();
    shared.seats.all_free().await;
}
