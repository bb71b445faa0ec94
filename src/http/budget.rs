//! How many bytes of bodies are held at once, over all connections of the public listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metric::Metrics;

/// A fixed number of bytes that requests share. Cheap to clone; never waits.
///
/// Bytes are counted as they arrive, not as a `Content-Length` promises them: else a few senders
/// who promise much and send nothing would shut everybody else out.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    metrics: Metrics,
}

/// Bytes taken from a [`Budget`]; gives them back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    bytes: usize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub(super) fn new(limit: usize, metrics: Metrics) -> Self {
        Self(Arc::new(Shared { limit, used: AtomicUsize::new(0), metrics }))
    }

    /// An empty share, to be grown.
    #[must_use]
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// Whether `bytes` more would fit now. A hint: only [`Share::grow`] takes them.
    #[must_use]
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.0.limit.saturating_sub(self.0.used.load(Ordering::Relaxed))
    }
}

impl Share {
    /// Takes `bytes` more, or nothing.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let shared = &self.budget.0;
        shared
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= shared.limit)
            })
            .map_err(|_| Exhausted)?;
        self.bytes += bytes;
        shared.metrics.inflight_grew(bytes);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.0.metrics.inflight_shrank(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_took_is_given_back_when_it_ends() {
        let budget = Budget::new(10, Metrics::new());
        let mut one = budget.share();
        let mut two = budget.share();
        assert_eq!(one.grow(6), Ok(()));
        assert_eq!(two.grow(5), Err(Exhausted));
        assert_eq!(two.grow(4), Ok(()));
        assert!(!budget.has_room(1));
        drop(one);
        assert!(budget.has_room(6));
        assert!(!budget.has_room(7));
        assert_eq!(two.grow(usize::MAX), Err(Exhausted));
        drop(two);
        assert!(budget.has_room(10));
    }
}
