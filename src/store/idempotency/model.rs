//! What the store says about keys, and is told about them.

use std::time::Duration;

use bytes::Bytes;

use super::new_epoch;
use crate::received::Headers;

/// A key of one principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// Whose key it is.
    pub scope: String,
    /// The client's key, normalised.
    pub key: String,
}

/// A wish to run what a key stands for.
#[derive(Debug, Clone)]
pub struct KeyClaim {
    /// Which key.
    pub id: KeyId,
    /// SHA-256 of what is asked for.
    pub request_hash: [u8; 32],
    /// How long the claim holds without renewal.
    pub lease: Duration,
    /// From the first claim until the key means nothing again.
    pub ttl: Duration,
}

/// A claim with the epoch that it will have, which is the same however often it is tried: one whose commit nobody
/// saw is known again by it.
#[derive(Debug, Clone)]
pub struct KeyBid {
    /// What is wished for.
    pub claim: KeyClaim,
    /// Of this claim only.
    pub epoch: i64,
}

impl KeyBid {
    /// A new bid.
    #[must_use]
    pub fn new(claim: KeyClaim) -> Self {
        Self { claim, epoch: new_epoch() }
    }
}

/// The right to run, until the lease lapses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLease {
    /// Which key.
    pub id: KeyId,
    /// SHA-256 of what was asked for.
    pub request_hash: [u8; 32],
    /// When the key means nothing again: milliseconds since 1970, by the database's clock.
    pub expires_at: i64,
    /// Guards everything that is done under this claim.
    pub epoch: i64,
    /// Which run this is; 1 is the first.
    pub attempts: u32,
    /// The phase that an earlier run reached.
    pub recovery_point: Option<String>,
}

/// What a claim found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFound {
    /// It is ours: run.
    Claimed(KeyLease),
    /// Somebody was first.
    Row(Box<KeyRow>),
}

/// A key that means something now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// What was asked for.
    pub request_hash: [u8; 32],
    /// How far it is.
    pub state: KeyState,
    /// The last claim's.
    pub epoch: i64,
    /// How many runs it had.
    pub attempts: u32,
    /// The phase that a run reached.
    pub recovery_point: Option<String>,
    /// Until the key means nothing again; zero while only a live lease keeps it.
    pub expires_in: Duration,
    /// The same as a time: milliseconds since 1970, by the database's clock.
    pub expires_at: i64,
}

impl KeyRow {
    /// Whether it was given back, to requests as this one.
    #[must_use]
    pub fn is_free_for(&self, claim: &KeyClaim) -> bool {
        self.state == KeyState::Released && self.request_hash == claim.request_hash
    }
}

/// How far a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Somebody runs it.
    Running {
        /// How long their lease still holds.
        left: Duration,
    },
    /// Somebody ran it and their lease is over.
    Lapsed,
    /// Done: this is the answer.
    Completed(KeyAnswer),
    /// Given back: it may run again.
    Released,
    /// Nobody knows whether it was done.
    Uncertain,
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that a replay carries.
    pub headers: Headers,
    /// The exact bytes; `None` when they were too many to keep.
    pub body: Option<Bytes>,
    /// What was not kept, such as the size and digest of a body.
    pub note: Option<String>,
}

/// What becomes of a claimed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyVerdict {
    /// This is the answer, for every retry.
    Completed(KeyAnswer),
    /// Nothing was done: it may run again.
    Released(String),
    /// Nobody knows whether it was done.
    Uncertain(String),
}

/// What settling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum KeySettled {
    /// It stands, durable.
    Done,
    /// Somebody else has the key, or it is gone: nothing was changed.
    LeaseLost,
}
