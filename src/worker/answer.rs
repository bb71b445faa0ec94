//! What a handler that answers for a source says to the sender.

use serde::de::IgnoredAny;

use super::settle::Ending;
use crate::handler::Outcome;
use crate::handler::answers::{ANSWER_BYTES_MAX, Answer};
use crate::store::Claimed;

/// The answer of a call, when it is one that can be passed on: a success, and whole.
pub(super) fn of(ending: &Ending, claim: &Claimed) -> Option<Answer> {
    let Ending::Returned(Outcome::Delivered(reply)) = ending else { return None };
    // A function's reply was bounded by nobody before.
    if reply.cut || reply.body.len() > ANSWER_BYTES_MAX {
        tracing::warn!(delivery.id = %claim.delivery, handler.name = %claim.handler,
            "{} answered more than {} KiB, which is not passed on: the sender gets the usual ack",
            claim.handler, ANSWER_BYTES_MAX / 1024);
        return None;
    }
    // An exit code is no status, and that of a success is 0.
    let status = reply.status.and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| (200..300).contains(status)).unwrap_or(200);
    let content_type = match &reply.content_type {
        Some(kind) => kind.clone(),
        None if reply.body.is_empty() => String::new(),
        None if serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok() => {
            "application/json".to_owned()
        }
        None => "text/plain; charset=utf-8".to_owned(),
    };
    Some(Answer { status, content_type, body: reply.body.clone() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use entity::Name;
    use uuid::Uuid;

    use super::*;
    use crate::handler::Reply;

    fn answer(ending: &Ending) -> Option<Answer> {
        let claim = Claimed {
            delivery: Uuid::nil(),
            handler: Name::new("slash").expect("a name"),
            epoch: 1,
            attempt: 1,
            tried: 1,
            open_for: Duration::ZERO,
            lane: None,
            event: None,
        };
        of(ending, &claim)
    }

    fn answered(reply: Reply) -> Option<Answer> {
        answer(&Ending::Returned(Outcome::Delivered(reply)))
    }

    fn reply(status: i32, body: &'static str) -> Reply {
        Reply {
            status: Some(status),
            body: Bytes::from_static(body.as_bytes()),
            ..Reply::default()
        }
    }

    #[test]
    fn what_says_no_type_gets_the_one_that_it_looks_like() {
        for (given, status, kind) in [
            (reply(0, r#"{"text":"hi"}"#), 200, "application/json"),
            (reply(0, "hi\n"), 200, "text/plain; charset=utf-8"),
            (reply(204, ""), 204, ""),
            (
                Reply { content_type: Some("text/xml".to_owned()), ..reply(201, "1") },
                201,
                "text/xml",
            ),
        ] {
            let answer = answered(given).expect("an answer");
            assert_eq!((answer.status, answer.content_type.as_str()), (status, kind));
        }
    }

    #[test]
    fn half_an_answer_and_a_failure_are_none() {
        assert_eq!(answered(Reply { cut: true, ..reply(200, "x") }), None);
        assert_eq!(answer(&Ending::Returned(Outcome::retry("busy"))), None);
        assert_eq!(answer(&Ending::Skipped("x")), None);
        let large = |bytes| Reply { body: vec![b'x'; bytes].into(), ..reply(200, "") };
        assert!(answered(large(ANSWER_BYTES_MAX)).is_some());
        assert_eq!(answered(large(ANSWER_BYTES_MAX + 1)), None);
    }
}
