//! What is kept of a run's outcome: the tables of `docs/idempotency.md`, as code.

use bytes::Bytes;

use crate::received::Headers;
use crate::store::idempotency::{KeyAnswer, KeyVerdict};

/// Headers that a replay carries, beside those that the settings name.
const KEPT: [&str; 6] =
    ["content-type", "content-language", "content-encoding", "location", "etag", "link"];

/// Headers that are never kept, whatever the settings say: they belong to one answer or one connection.
pub const NEVER_KEPT: [&str; 11] = [
    "set-cookie",
    "date",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// Whether an answer of this status ends with its head (RFC 9110): bytes behind it would be taken for the next one.
#[must_use]
pub const fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// What to do when nobody knows whether a run had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// The answer that came is the answer; with none, as [`OnUnknown::Conflict`].
    #[default]
    Keep,
    /// Retries are refused until an operator decides.
    Conflict,
    /// The next request runs again: only where running twice does no harm.
    Rerun,
}

/// Where a run has its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// Somewhere else: a failure says nothing about whether it happened.
    #[default]
    External,
    /// In the transaction that settles the key: a failure was rolled back.
    Transactional,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It gave a whole answer.
    Answered(Answer),
    /// Nothing was begun, such as a refused connection.
    NotBegun(String),
    /// It was begun and gave no whole answer: a time-out, a cut connection, a panic.
    Unknown(String),
}

/// An answer of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All of its headers.
    pub headers: Headers,
    /// Its body, or what is known of one that was too large.
    pub body: AnswerBody,
}

/// A body, as far as it can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerBody {
    /// The exact bytes.
    Whole(Bytes),
    /// Too large to keep.
    TooLarge {
        /// How many bytes it had.
        bytes: u64,
        /// Their SHA-256, in hex.
        sha256: String,
    },
}

/// What a status says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Stands,
    MayRunAgain,
    NobodyKnows,
}

fn meaning(status: u16, effect: Effect) -> Meaning {
    match status {
        401 | 403 | 407 | 408 | 409 | 423 | 425 | 429 | 503 => Meaning::MayRunAgain,
        500.. if effect == Effect::Transactional => Meaning::MayRunAgain,
        500.. => Meaning::NobodyKnows,
        _ => Meaning::Stands,
    }
}

/// What becomes of the key. `kept` names further headers to keep, in lower case.
#[must_use]
pub fn verdict(
    ended: &Ended,
    effect: Effect,
    on_unknown: OnUnknown,
    kept: &[String],
) -> KeyVerdict {
    let answer = match ended {
        Ended::NotBegun(why) => return KeyVerdict::Released(why.clone()),
        Ended::Unknown(why) => return unknown(why.clone(), effect, on_unknown),
        Ended::Answered(answer) => answer,
    };
    match meaning(answer.status, effect) {
        Meaning::Stands => KeyVerdict::Completed(keep(answer, kept)),
        Meaning::MayRunAgain => KeyVerdict::Released(format!("answered {}", answer.status)),
        Meaning::NobodyKnows if on_unknown == OnUnknown::Keep => {
            KeyVerdict::Completed(keep(answer, kept))
        }
        Meaning::NobodyKnows => unknown(format!("answered {}", answer.status), effect, on_unknown),
    }
}

fn unknown(why: String, effect: Effect, on_unknown: OnUnknown) -> KeyVerdict {
    if effect == Effect::Transactional || on_unknown == OnUnknown::Rerun {
        KeyVerdict::Released(why)
    } else {
        KeyVerdict::Uncertain(why)
    }
}

fn keep(answer: &Answer, kept: &[String]) -> KeyAnswer {
    let mut headers = Headers::new();
    for (name, value) in answer.headers.iter() {
        let wanted = KEPT.contains(&name) || kept.iter().any(|kept| kept == name);
        if wanted && !NEVER_KEPT.contains(&name) {
            headers.push(name, value);
        }
    }
    let (body, note) = match &answer.body {
        AnswerBody::Whole(bytes) => (Some(bytes.clone()), None),
        AnswerBody::TooLarge { bytes, sha256 } => {
            (None, Some(format!("the answer of {bytes} bytes was not kept, sha256 {sha256}")))
        }
    };
    KeyAnswer { status: answer.status, headers, body, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Ended {
        let body = AnswerBody::Whole(Bytes::from_static(b"x"));
        Ended::Answered(Answer { status, headers: Headers::new(), body })
    }

    fn word(ended: &Ended, effect: Effect, on_unknown: OnUnknown) -> &'static str {
        match verdict(ended, effect, on_unknown, &[]) {
            KeyVerdict::Completed(_) => "completed",
            KeyVerdict::Released(_) => "released",
            KeyVerdict::Uncertain(_) => "uncertain",
        }
    }

    #[test]
    fn the_table_of_outcomes() {
        use Effect::{External, Transactional};
        use OnUnknown::{Conflict, Keep, Rerun};
        let cut = Ended::Unknown("cut".to_owned());
        let refused = Ended::NotBegun("refused".to_owned());
        for on_unknown in [Keep, Conflict, Rerun] {
            for effect in [External, Transactional] {
                for status in [200, 201, 204, 301, 304, 400, 402, 404, 405, 410, 422, 451] {
                    assert_eq!(
                        word(&answered(status), effect, on_unknown),
                        "completed",
                        "{status}"
                    );
                }
                for status in [401, 403, 407, 408, 409, 423, 425, 429, 503] {
                    assert_eq!(word(&answered(status), effect, on_unknown), "released", "{status}");
                }
                assert_eq!(word(&refused, effect, on_unknown), "released");
            }
            for status in [500, 501, 502, 504, 507, 599] {
                assert_eq!(word(&answered(status), Transactional, on_unknown), "released");
            }
            assert_eq!(word(&cut, Transactional, on_unknown), "released");
        }
        for status in [500, 501, 502, 504, 507, 599] {
            assert_eq!(word(&answered(status), External, Keep), "completed");
            assert_eq!(word(&answered(status), External, Conflict), "uncertain");
            assert_eq!(word(&answered(status), External, Rerun), "released");
        }
        assert_eq!(word(&cut, External, Keep), "uncertain");
        assert_eq!(word(&cut, External, Conflict), "uncertain");
        assert_eq!(word(&cut, External, Rerun), "released");
    }

    #[test]
    fn only_headers_of_the_answer_itself_are_kept() {
        let mut headers = Headers::new();
        for name in ["content-type", "set-cookie", "date", "x-id", "connection", "x-other", "link"]
        {
            headers.push(name, "v");
        }
        let body = AnswerBody::Whole(Bytes::new());
        let ended = Ended::Answered(Answer { status: 200, headers, body });
        let also = ["x-id".to_owned(), "set-cookie".to_owned()];
        let KeyVerdict::Completed(answer) =
            verdict(&ended, Effect::External, OnUnknown::Keep, &also)
        else {
            panic!("a 200 is completed")
        };
        let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["content-type", "x-id", "link"]);
    }
}
