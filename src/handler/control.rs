//! What holds a handler back: its rate, its breaker, and answers that pause it.

use std::time::Duration;

/// What an operator may set to hold a handler back. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Control {
    /// How many calls may begin in a time, on this replica.
    pub rate: Option<Rate>,
    /// When its queue is paused because it fails.
    pub breaker: Option<Breaker>,
    /// HTTP statuses or exit codes that pause it until somebody resumes it.
    pub pause_on: Vec<i32>,
}

/// So many calls in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub calls: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

/// After so many failures one after the other the queue is paused; then one call tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive, on one replica.
    pub failures: u32,
    /// How long the queue rests before it is tried again.
    pub pause: Duration,
}
