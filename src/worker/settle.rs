//! What becomes of a delivery after a try. Pure: time and chance come in as arguments.

use std::time::Duration;

use bytes::Bytes;
use entity::TryOutcome;

use crate::handler::{Outcome, Reply};
use crate::retry::{Next, OnUnknown, RetryPolicy};
use crate::store::Verdict;

/// A try that has ended.
#[derive(Debug)]
pub struct Attempted {
    /// How.
    pub ending: Ending,
    /// Which try this is since the delivery was last opened; 1 is the first.
    pub tried: u32,
    /// How long ago the delivery was opened, at the end of the try.
    pub open_for: Duration,
}

/// How a try ended.
#[derive(Debug)]
pub enum Ending {
    /// The handler answered.
    Returned(Outcome),
    /// It was cut off at its deadline.
    TimedOut(Duration),
    /// Its code panicked.
    Panicked(String),
    /// It was cut off because the daemon shuts down.
    Interrupted,
    /// It was not called, and why.
    Skipped(&'static str),
    /// It was not called yet, and neither is that the event's doing nor the handler's.
    NotBegun {
        /// Why.
        cause: String,
        /// When it comes again.
        after: Duration,
    },
    /// The event's body is gone, so there is nothing to hand over.
    NoBody,
    /// What it did in its transaction stands without its settlement, and why: it must not be done again.
    Apart(String),
}

/// What is to be kept of a try, and what becomes of its delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the delivery becomes.
    pub verdict: Verdict,
    /// How the try is kept.
    pub outcome: TryOutcome,
    /// HTTP status or exit code.
    pub status: Option<i32>,
    /// What went wrong.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub response: Option<Bytes>,
}

/// Decides. `jitter` is a chance in `0.0..1.0`.
#[must_use]
pub fn judge(attempted: Attempted, policy: &RetryPolicy, jitter: f64) -> Judged {
    let Attempted { ending, tried, open_for } = attempted;
    let again = |cause: String, asked: Option<Duration>| match policy
        .next(tried, open_for, asked, jitter)
    {
        Next::After(after) => Verdict::Pending { after, cause },
        Next::GiveUp => Verdict::Dead { cause: format!("given up after {tried} tries: {cause}") },
    };
    let plain = |verdict, outcome, error: Option<String>| Judged {
        verdict,
        outcome,
        status: None,
        error,
        response: None,
    };
    match ending {
        Ending::Returned(Outcome::Delivered(reply)) => {
            replied(Verdict::Delivered, TryOutcome::Delivered, None, reply)
        }
        Ending::Returned(Outcome::Retry { cause, after, reply }) => {
            replied(again(cause.clone(), after), TryOutcome::Retry, Some(cause), reply)
        }
        Ending::Returned(Outcome::Reject { cause, reply }) => {
            replied(Verdict::Dead { cause: cause.clone() }, TryOutcome::Reject, Some(cause), reply)
        }
        Ending::Returned(Outcome::Snooze { wait }) => {
            let cause = "the handler asked to be called later".to_owned();
            plain(Verdict::Released { after: wait, cause }, TryOutcome::Snooze, None)
        }
        Ending::TimedOut(limit) => {
            let cause = format!("no answer within {limit:?}");
            plain(again(cause.clone(), None), TryOutcome::Timeout, Some(cause))
        }
        Ending::Panicked(what) => {
            let cause = format!("the handler panicked: {what}");
            plain(again(cause.clone(), None), TryOutcome::Panic, Some(cause))
        }
        Ending::Interrupted => {
            let cause =
                "the daemon shut down before the handler answered; whether it finished is unknown"
                    .to_owned();
            let verdict = match policy.on_unknown {
                OnUnknown::Retry => {
                    Verdict::Released { after: Duration::ZERO, cause: cause.clone() }
                }
                OnUnknown::Park => Verdict::Dead { cause: cause.clone() },
            };
            plain(verdict, TryOutcome::Fenced, Some(cause))
        }
        Ending::Skipped(why) => {
            let cause = format!("skipped: {why}");
            plain(Verdict::Skipped { cause }, TryOutcome::Skipped, None)
        }
        Ending::NotBegun { cause, after } => {
            let verdict = Verdict::Released { after, cause: cause.clone() };
            plain(verdict, TryOutcome::Snooze, Some(cause))
        }
        Ending::NoBody => {
            let cause = "the event's body is gone or can't be read".to_owned();
            plain(Verdict::Dead { cause: cause.clone() }, TryOutcome::Reject, Some(cause))
        }
        Ending::Apart(cause) => {
            plain(Verdict::Dead { cause: cause.clone() }, TryOutcome::Reject, Some(cause))
        }
    }
}

fn replied(verdict: Verdict, outcome: TryOutcome, error: Option<String>, reply: Reply) -> Judged {
    let response = (!reply.body.is_empty()).then_some(reply.body);
    Judged { verdict, outcome, status: reply.status, error, response }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::{Backoff, Limit};

    fn policy() -> RetryPolicy {
        RetryPolicy {
            limit: Limit::Attempts(3),
            backoff: Backoff::List(vec![Duration::from_secs(7)]),
            on_unknown: OnUnknown::Retry,
        }
    }

    fn after(tried: u32, ending: Ending) -> Judged {
        judge(Attempted { ending, tried, open_for: Duration::ZERO }, &policy(), 0.5)
    }

    #[test]
    fn each_ending_has_its_outcome_and_its_verdict() {
        let again = |verdict: &Verdict| matches!(verdict, Verdict::Pending { after, .. } if after.as_secs() == 7);
        let released = |verdict: &Verdict| matches!(verdict, Verdict::Released { .. });
        let dead = |verdict: &Verdict| matches!(verdict, Verdict::Dead { .. });
        let delivered = |verdict: &Verdict| *verdict == Verdict::Delivered;
        type Check<'a> = &'a dyn Fn(&Verdict) -> bool;
        let skipped = |verdict: &Verdict| matches!(verdict, Verdict::Skipped { .. });
        let cases: [(Ending, TryOutcome, Check<'_>); 11] = [
            (Ending::Returned(Outcome::done()), TryOutcome::Delivered, &delivered),
            (Ending::Returned(Outcome::retry("x")), TryOutcome::Retry, &again),
            (Ending::Returned(Outcome::reject("x")), TryOutcome::Reject, &dead),
            (
                Ending::Returned(Outcome::Snooze { wait: Duration::from_secs(1) }),
                TryOutcome::Snooze,
                &released,
            ),
            (Ending::TimedOut(Duration::from_secs(1)), TryOutcome::Timeout, &again),
            (Ending::Panicked("x".to_owned()), TryOutcome::Panic, &again),
            (Ending::Interrupted, TryOutcome::Fenced, &released),
            (Ending::Skipped("x"), TryOutcome::Skipped, &skipped),
            (
                Ending::NotBegun { cause: "x".to_owned(), after: Duration::ZERO },
                TryOutcome::Snooze,
                &released,
            ),
            (Ending::NoBody, TryOutcome::Reject, &dead),
            (Ending::Apart("x".to_owned()), TryOutcome::Reject, &dead),
        ];
        for (ending, outcome, verdict) in cases {
            let text = format!("{ending:?}");
            let judged = after(1, ending);
            assert_eq!(judged.outcome, outcome, "{text}");
            assert!(verdict(&judged.verdict), "{text}: {:?}", judged.verdict);
        }
    }

    #[test]
    fn the_last_try_makes_it_dead() {
        let panicked = || Ending::Panicked("x".to_owned());
        assert!(matches!(after(2, panicked()).verdict, Verdict::Pending { .. }));
        let Verdict::Dead { cause } = after(3, panicked()).verdict else { panic!("not dead") };
        assert!(cause.starts_with("given up after 3 tries: "), "{cause}");
    }

    #[test]
    fn what_the_handler_answered_is_kept() {
        let reply =
            Reply { status: Some(503), body: Bytes::from_static(b"busy"), ..Reply::default() };
        let judged = after(
            1,
            Ending::Returned(Outcome::Retry { cause: "503".to_owned(), after: None, reply }),
        );
        assert_eq!(
            (judged.status, judged.response),
            (Some(503), Some(Bytes::from_static(b"busy")))
        );
        assert_eq!(judged.error.as_deref(), Some("503"));
    }
}
