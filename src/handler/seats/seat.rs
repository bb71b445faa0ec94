//! A seat, and what goes back with it when it is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedSemaphorePermit;

use super::bucket::Bucket;
use super::locked;

/// One call's seat; free again when dropped, and so is what it holds of the rate, unless it was spent.
#[derive(Debug)]
pub struct Seat {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) token: Option<Token>,
    pub(super) probe: Option<Probe>,
    pub(super) spent: bool,
}

/// The one call that tries a handler again.
#[derive(Debug)]
pub(super) struct Probe(pub(super) Arc<AtomicBool>);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A call's part of the rate.
#[derive(Debug)]
pub(super) struct Token(pub(super) Option<Arc<Mutex<Bucket>>>);

/// Seats taken together, to be handed out one by one; what is left is free again when dropped.
#[derive(Debug)]
pub struct Taken {
    pub(super) permits: OwnedSemaphorePermit,
    pub(super) tokens: Vec<Token>,
    pub(super) probe: Option<Probe>,
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(bucket) = &self.0 {
            locked(bucket).give_back(1);
        }
    }
}

impl Seat {
    /// Whether this is the one call that tries its handler again.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The call begins: it counts for the rate.
    pub fn spend(&mut self) {
        self.spent = true;
        if let Some(token) = &mut self.token {
            token.0 = None;
        }
    }

    /// Whether its call has begun.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent
    }
}

impl Taken {
    /// How many are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        u32::try_from(self.permits.num_permits()).unwrap_or(u32::MAX)
    }

    /// One of them.
    pub fn one(&mut self) -> Option<Seat> {
        let permit = self.permits.split(1)?;
        let (token, probe) = (self.tokens.pop(), self.probe.take());
        Some(Seat { _permit: permit, token, probe, spent: false })
    }
}
