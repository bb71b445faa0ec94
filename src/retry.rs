//! When a failed delivery is tried again. Pure: time and chance come in as arguments.

use std::time::Duration;

/// How long and how often a handler's deliveries are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// When to give up.
    pub limit: Limit,
    /// How long to wait between tries.
    pub backoff: Backoff,
    /// What to do when nobody knows how a try ended.
    pub on_unknown: OnUnknown,
}

/// What to do with a delivery whose try may have done its work or not: the worker died, or the daemon had
/// to end before the handler answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// Try again; who is called dedupes by the delivery's id.
    #[default]
    Retry,
    /// Leave it to a person, as a dead letter.
    Park,
}

/// When to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// When the next try would begin later than this after the delivery was opened.
    For(Duration),
    /// After this many tries.
    Attempts(u32),
}

/// How long to wait between tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backoff {
    /// Doubles from `first` to `max`; the wait is chosen evenly between zero and that (full jitter).
    Exponential {
        /// The first ceiling.
        first: Duration,
        /// The last ceiling.
        max: Duration,
    },
    /// These waits, in order, the last one for all that follow.
    List(Vec<Duration>),
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this.
    After(Duration),
    /// The tries or the time are used up.
    GiveUp,
}

/// The longest wait that a handler's Retry-After is granted.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

impl Default for RetryPolicy {
    /// Three days, 10 s to 1 h, as the contract's example has it.
    fn default() -> Self {
        Self {
            limit: Limit::For(Duration::from_secs(3 * 24 * 3600)),
            backoff: Backoff::Exponential {
                first: Duration::from_secs(10),
                max: Duration::from_secs(3600),
            },
            on_unknown: OnUnknown::Retry,
        }
    }
}

impl RetryPolicy {
    /// What follows the `tried`-th failed try (1 is the first) of a delivery opened `open_for` ago.
    ///
    /// `asked` is the handler's Retry-After: the wait is never shorter, and at most [`RETRY_AFTER_MAX`].
    /// `jitter` is a chance in `0.0..1.0`.
    #[must_use]
    pub fn next(
        &self,
        tried: u32,
        open_for: Duration,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Next {
        let wait = self.backoff.wait(tried, jitter);
        let wait = match asked {
            Some(asked) => wait.max(asked.min(RETRY_AFTER_MAX)),
            None => wait,
        };
        let over = match self.limit {
            Limit::Attempts(most) => tried >= most,
            Limit::For(span) => open_for.saturating_add(wait) > span,
        };
        if over { Next::GiveUp } else { Next::After(wait) }
    }
}

impl Backoff {
    fn wait(&self, tried: u32, jitter: f64) -> Duration {
        match self {
            Self::Exponential { first, max } => {
                let doublings = tried.saturating_sub(1).min(31);
                let ceiling = first.saturating_mul(1 << doublings).min(*max);
                ceiling.mul_f64(jitter.clamp(0.0, 1.0))
            }
            Self::List(waits) => {
                let at = (tried.saturating_sub(1) as usize).min(waits.len().saturating_sub(1));
                waits.get(at).copied().unwrap_or(Duration::ZERO)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_ceiling_doubles_and_the_jitter_takes_an_even_part_of_it() {
        let policy = RetryPolicy {
            limit: Limit::Attempts(100),
            backoff: Backoff::Exponential { first: s(10), max: s(60) },
            on_unknown: OnUnknown::Retry,
        };
        for (tried, jitter, want) in [
            (1, 1.0, s(10)),
            (2, 1.0, s(20)),
            (3, 1.0, s(40)),
            (4, 1.0, s(60)),
            (90, 1.0, s(60)),
            (1, 0.0, s(0)),
            (2, 0.5, s(10)),
            (4, 0.25, s(15)),
        ] {
            assert_eq!(
                policy.next(tried, s(0), None, jitter),
                Next::After(want),
                "{tried} {jitter}"
            );
        }
    }

    #[test]
    fn a_list_is_followed_in_order_and_its_last_wait_repeats() {
        let policy = RetryPolicy {
            limit: Limit::Attempts(4),
            backoff: Backoff::List(vec![s(1), s(5)]),
            on_unknown: OnUnknown::Retry,
        };
        assert_eq!(policy.next(1, s(0), None, 0.3), Next::After(s(1)));
        assert_eq!(policy.next(2, s(0), None, 0.3), Next::After(s(5)));
        assert_eq!(policy.next(3, s(0), None, 0.3), Next::After(s(5)));
        assert_eq!(policy.next(4, s(0), None, 0.3), Next::GiveUp);
    }

    #[test]
    fn time_runs_out_when_the_next_try_would_begin_after_it() {
        let policy = RetryPolicy {
            limit: Limit::For(s(60)),
            backoff: Backoff::List(vec![s(10)]),
            on_unknown: OnUnknown::Retry,
        };
        assert_eq!(policy.next(9, s(50), None, 0.0), Next::After(s(10)));
        assert_eq!(policy.next(9, s(51), None, 0.0), Next::GiveUp);
    }

    #[test]
    fn a_handlers_wish_lengthens_the_wait_within_a_bound() {
        let policy = RetryPolicy {
            limit: Limit::Attempts(9),
            backoff: Backoff::List(vec![s(10)]),
            on_unknown: OnUnknown::Retry,
        };
        assert_eq!(policy.next(1, s(0), Some(s(30)), 0.0), Next::After(s(30)));
        assert_eq!(policy.next(1, s(0), Some(s(3)), 0.0), Next::After(s(10)));
        assert_eq!(policy.next(1, s(0), Some(s(u64::MAX / 2)), 0.0), Next::After(RETRY_AFTER_MAX));
    }
}
