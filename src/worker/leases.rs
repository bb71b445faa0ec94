//! The leases that this worker holds, and their renewal every third of their length.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Shared;
use crate::metric::Metrics;
use crate::store::Store;
use crate::store::claim::{Held, Renewed};

/// How often the list is looked through. A lease is at least three seconds, so a third of it is no less.
const TICK: Duration = Duration::from_secs(1);

/// The leases of the calls that run or wait to be settled. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases(Arc<Mutex<HashMap<Uuid, Lease>>>);

#[derive(Debug)]
struct Lease {
    epoch: i64,
    length: Duration,
    renew_at: Instant,
    lost: CancellationToken,
    /// Its call has ended: from here on the settlement tells whether the lease was still ours.
    settling: bool,
    /// Its row is locked by its effect's own transaction.
    paused: bool,
}

/// Keeps a lease renewed as long as it lives: also a panic ends that.
#[derive(Debug)]
pub(super) struct Hold {
    leases: Leases,
    delivery: Uuid,
    epoch: i64,
    /// Cancelled when the lease turns out to be lost.
    pub(super) lost: CancellationToken,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leases.release(self.delivery, self.epoch);
    }
}

impl Leases {
    /// Renews a lease from here on.
    pub(super) fn hold(&self, delivery: Uuid, epoch: i64, length: Duration) -> Hold {
        let lost = CancellationToken::new();
        let renew_at = Instant::now() + length / 3;
        let lease =
            Lease { epoch, length, renew_at, lost: lost.clone(), settling: false, paused: false };
        if let Some(older) = self.map().insert(delivery, lease) {
            // This worker got its own lapsed delivery again: the call under the older epoch must end,
            // and nobody else would tell it now.
            older.lost.cancel();
        }
        Hold { leases: self.clone(), delivery, epoch, lost }
    }

    /// Renews it no more until its call has ended.
    pub(super) fn pause(&self, delivery: Uuid, epoch: i64) {
        if let Some(lease) = self.map().get_mut(&delivery).filter(|lease| lease.epoch == epoch) {
            lease.paused = true;
        }
    }

    /// The call has ended; the lease is renewed until its settlement is durable.
    pub(super) fn settling(&self, delivery: Uuid, epoch: i64) {
        if let Some(lease) = self.map().get_mut(&delivery).filter(|lease| lease.epoch == epoch) {
            lease.settling = true;
            lease.paused = false;
        }
    }

    fn release(&self, delivery: Uuid, epoch: i64) {
        let mut map = self.map();
        if map.get(&delivery).is_some_and(|lease| lease.epoch == epoch) {
            map.remove(&delivery);
        }
    }

    fn due(&self, now: Instant) -> Vec<Held> {
        self.map()
            .iter()
            .filter(|(_, lease)| lease.renew_at <= now && !lease.paused)
            .map(|(delivery, lease)| Held {
                delivery: *delivery,
                epoch: lease.epoch,
                lease: lease.length,
            })
            .collect()
    }

    fn renewed<'h>(&self, held: impl Iterator<Item = &'h Held>, now: Instant) {
        let mut map = self.map();
        for held in held {
            if let Some(lease) =
                map.get_mut(&held.delivery).filter(|lease| lease.epoch == held.epoch)
            {
                lease.renew_at = now + lease.length / 3;
            }
        }
    }

    /// Cuts off the call under this epoch, and no other: while we asked for a lease, its delivery may
    /// have been settled and claimed again. False when there is no call to cut off; what waits for its
    /// settlement learns from that.
    fn lose(&self, delivery: Uuid, epoch: i64) -> bool {
        let mut map = self.map();
        let runs = map.get(&delivery).is_some_and(|lease| lease.epoch == epoch && !lease.settling);
        if runs && let Some(lease) = map.remove(&delivery) {
            lease.lost.cancel();
        }
        runs
    }

    /// A panic while the lock is held can't leave the map half-changed: each change is one call.
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews what is due until `stop`. While the database is away it tries again at every tick; a lease
/// that lapses meanwhile is found lost afterwards, and its call is cut off.
pub(super) async fn renew(leases: Leases, store: Store, metrics: Metrics, stop: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        let now = Instant::now();
        let held = leases.due(now);
        if held.is_empty() {
            continue;
        }
        match store.renew(held.clone()).await {
            Ok(Renewed { lost, busy }) => {
                // What somebody just works on is renewed at the next tick, if it is still to be renewed then.
                leases.renewed(held.iter().filter(|held| !busy.contains(&held.delivery)), now);
                for held in held.iter().filter(|held| lost.contains(&held.delivery)) {
                    tell_lost(&leases, &metrics, held);
                }
            }
            Err(error) => {
                tracing::warn!(leases = held.len(), error = %error, "leases could not be renewed now");
            }
        }
    }
}

/// Renews one lease before the next tick; false when it is lost. Tries again while the database is away; whoever waits
/// is to look at the lease's token meanwhile.
pub(super) async fn renew_now(shared: &Shared, held: Held) -> bool {
    loop {
        let now = Instant::now();
        match shared.store.renew(vec![held]).await {
            Ok(Renewed { lost, busy }) if lost.is_empty() => {
                // One that is busy is being renewed with others.
                shared.leases.renewed([held].iter().filter(|_| busy.is_empty()), now);
                return true;
            }
            Ok(_) => {
                tell_lost(&shared.leases, &shared.metrics, &held);
                return false;
            }
            Err(error) => {
                tracing::debug!(delivery.id = %held.delivery, error = %error, "a lease can't be renewed now");
                tokio::time::sleep(TICK).await;
            }
        }
    }
}

fn tell_lost(leases: &Leases, metrics: &Metrics, held: &Held) {
    let delivery = held.delivery;
    if leases.lose(delivery, held.epoch) {
        metrics.fenced();
        tracing::warn!(delivery.id = %delivery, "fenced: the lease of delivery {delivery} is lost; its call is cut off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_for_an_older_epoch_cuts_no_newer_call_off() {
        let leases = Leases::default();
        let delivery = Uuid::now_v7();
        // While the renewal of epoch 1 is under way, it is settled, due at once and claimed again.
        drop(leases.hold(delivery, 1, LENGTH));
        let second = leases.hold(delivery, 2, LENGTH);
        assert!(!leases.lose(delivery, 1));
        assert!(!second.lost.is_cancelled());
        assert!(leases.lose(delivery, 2));
        assert!(second.lost.is_cancelled());
    }

    #[test]
    fn a_call_whose_delivery_came_back_to_the_same_worker_is_cut_off() {
        let leases = Leases::default();
        let delivery = Uuid::now_v7();
        let first = leases.hold(delivery, 1, LENGTH);
        let second = leases.hold(delivery, 2, LENGTH);
        assert!(first.lost.is_cancelled());
        // What it does at its end is not the newer one's.
        drop(first);
        assert!(!second.lost.is_cancelled());
        assert_eq!(leases.due(Instant::now() + LENGTH).len(), 1);
    }

    #[test]
    fn what_is_being_settled_is_renewed_but_not_called_lost() {
        let leases = Leases::default();
        let delivery = Uuid::now_v7();
        let _held = leases.hold(delivery, 1, LENGTH);
        leases.settling(delivery, 1);
        assert!(!leases.lose(delivery, 1), "its settlement was quicker than the renewal's answer");
        assert_eq!(leases.due(Instant::now() + LENGTH).len(), 1);
    }

    #[test]
    fn a_paused_lease_is_renewed_again_once_its_call_has_ended() {
        let leases = Leases::default();
        let delivery = Uuid::now_v7();
        let _held = leases.hold(delivery, 1, LENGTH);
        leases.pause(delivery, 1);
        assert!(leases.due(Instant::now() + LENGTH).is_empty());
        leases.settling(delivery, 1);
        assert_eq!(leases.due(Instant::now() + LENGTH).len(), 1);
    }

    #[test]
    fn what_nobody_works_for_any_more_is_renewed_no_more() {
        let leases = Leases::default();
        let panicked = std::panic::catch_unwind(|| {
            let _held = leases.hold(Uuid::now_v7(), 1, LENGTH);
            panic!("on purpose, with a lease");
        });
        assert!(panicked.is_err());
        assert!(leases.due(Instant::now() + LENGTH).is_empty());
    }
}
