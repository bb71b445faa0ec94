//! From verified to durable: [`Recorder::submit`] answers only after COMMIT.

use std::time::Duration;

use crate::store::{NewRejection, Recorded};
use crate::verify::Verified;

/// How much may wait for the database.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Events that may wait; full means 503.
    pub queue_events: usize,
    /// Bytes of bodies that may be held at once; full means 503.
    pub queue_bytes: usize,
    /// From the whole body to the answer.
    pub ack_deadline: Duration,
}

/// Hands verified events to the one task that commits them.
#[derive(Debug, Clone)]
pub struct Recorder {}

/// Why an event is not durable, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full or we shut down: nothing was stored.
    #[error("too much is waiting for the database")]
    Overloaded,
    /// The database is away or too slow; it may have been stored, which a retry will find out.
    #[error("the database did not confirm in time")]
    Unavailable,
    /// This event can't be stored.
    #[error("the database refused this event")]
    Refused(#[source] crate::store::StoreError),
}

impl Recorder {
    /// Records an event and returns when it is durable.
    ///
    /// Cancel-safe: dropping the future does not stop the recording.
    pub async fn submit(&self, _verified: Verified) -> Result<Recorded, SubmitError> {
        Err(SubmitError::Overloaded)
    }
}

/// Keeps refused requests, off the hot path, bounded.
#[derive(Debug, Clone)]
pub struct RejectionKeeper {}

impl RejectionKeeper {
    /// Keeps a refused request if there is room; never waits.
    pub fn keep(&self, _rejection: NewRejection) {}
}
