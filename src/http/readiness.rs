//! What the probes say, and the clock's error: a few figures that chores set and requests read.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::TimeDelta;

/// Whether new requests are welcome. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    writable: AtomicBool,
    draining: AtomicBool,
    /// What an operator should know although we are ready.
    detail: RwLock<Option<String>>,
}

impl Readiness {
    /// Not ready until the first probe of the store says that it takes writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the last probe of the store found.
    pub fn set_writable(&self, writable: bool) {
        self.0.writable.store(writable, Ordering::Relaxed);
    }

    /// We shut down: tell the balancer. Requests that come all the same are still served.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// What an operator should know although requests are welcome; it never changes the answer's status.
    pub fn set_detail(&self, detail: Option<String>) {
        *self.0.detail.write().unwrap_or_else(PoisonError::into_inner) = detail;
    }

    /// What was set last by [`Readiness::set_detail`].
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        self.0.detail.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why we are not ready; `None` when we are.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Some("shutting down");
        }
        (!self.0.writable.load(Ordering::Relaxed)).then_some("the database takes no writes")
    }
}

/// How far the database's clock is ahead of ours. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct ClockSkew(Arc<AtomicI64>);

impl ClockSkew {
    /// No skew is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the database's time minus ours.
    pub fn set(&self, ahead: TimeDelta) {
        self.0.store(ahead.num_milliseconds(), Ordering::Relaxed);
    }

    /// The database's time minus ours.
    #[must_use]
    pub fn get(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_ready_only_between_the_first_good_probe_and_the_shutdown() {
        let readiness = Readiness::new();
        assert!(readiness.fault().is_some());
        readiness.set_writable(true);
        assert_eq!(readiness.fault(), None);
        readiness.set_writable(false);
        assert!(readiness.fault().is_some());
        readiness.set_writable(true);
        readiness.clone().drain();
        assert_eq!(readiness.fault(), Some("shutting down"));
    }
}
