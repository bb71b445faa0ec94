//! A bucket of tokens, one a call. Time comes in as an argument.
//!
//! Tokens that were taken for calls that never began can be given back, which keepers of rates
//! elsewhere don't offer: without that, each claim that finds less than it asked for would slow the rest.

use std::time::{Duration, Instant};

use crate::handler::control::Rate;

/// How much of a second's tokens may be spent at once.
const BURST: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    holds: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Full.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let per_second = f64::from(rate.calls.max(1)) / rate.per.as_secs_f64().max(1e-3);
        let holds = (per_second * BURST).ceil().max(1.0);
        Self { per_second, holds, tokens: holds, at: now }
    }

    /// At most `most` tokens.
    pub(super) fn take(&mut self, most: u32, now: Instant) -> u32 {
        self.fill(now);
        // Truncation is meant: half a token is none.
        let whole = self.tokens.floor().min(f64::from(most)).max(0.0);
        self.tokens -= whole;
        whole as u32
    }

    /// Tokens of calls that did not begin.
    pub(super) fn give_back(&mut self, tokens: u32) {
        self.tokens = (self.tokens + f64::from(tokens)).min(self.holds);
    }

    /// How long until there is a token; zero when there is one.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0))
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.holds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(calls: u32, per: u64) -> (Bucket, Instant) {
        let now = Instant::now();
        (Bucket::new(Rate { calls, per: Duration::from_secs(per) }, now), now)
    }

    #[test]
    fn it_holds_a_tenth_of_a_second_and_fills_evenly() {
        let (mut bucket, now) = bucket(50, 1);
        assert_eq!(bucket.take(100, now), 5);
        assert_eq!(bucket.take(1, now), 0);
        assert_eq!(bucket.wait(now), Duration::from_millis(20));
        assert_eq!(bucket.take(100, now + Duration::from_millis(61)), 3);
        assert_eq!(bucket.take(100, now + Duration::from_secs(10)), 5, "no more than it holds");
    }

    #[test]
    fn a_slow_rate_gives_one_at_a_time() {
        let (mut bucket, now) = bucket(6, 60);
        assert_eq!(bucket.take(100, now), 1);
        assert_eq!(bucket.wait(now), Duration::from_secs(10));
        assert_eq!(bucket.take(1, now + Duration::from_secs(9)), 0);
        assert_eq!(bucket.take(1, now + Duration::from_millis(10_001)), 1);
    }

    #[test]
    fn what_was_not_used_comes_back() {
        let (mut bucket, now) = bucket(50, 1);
        assert_eq!(bucket.take(4, now), 4);
        bucket.give_back(3);
        assert_eq!(bucket.take(100, now), 4);
        bucket.give_back(100);
        assert_eq!(bucket.take(100, now), 5);
    }

    #[test]
    fn over_any_time_no_more_begin_than_the_rate_and_the_burst() {
        let (mut bucket, now) = bucket(100, 1);
        let begun: u32 =
            (0..1000).map(|ms| bucket.take(7, now + Duration::from_millis(ms * 3))).sum();
        assert!((300..=310).contains(&begun), "{begun} in three seconds");
    }
}
