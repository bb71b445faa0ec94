//! Answering with what a handler says, if it says it in time.

use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

use super::{Ending, Visit};
use crate::handler::answers::{Answer, Told};
use crate::idempotency::policy::is_bodiless;
use crate::source::Respond;
use crate::store::answer::StoredAnswer;

/// How often the database is asked: another replica may have the delivery, or it was settled before we listened.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Visit<'_> {
    /// Adds the handler's answer to a request that was recorded. Not to one whose id is known with another
    /// body: what was answered was not about this.
    pub(super) async fn with_answer(&self, ending: Ending, read: Instant) -> Ending {
        match ending {
            Ending::Recorded { event, duplicate, conflict: false, answer: None } => {
                let answer = self.answer(event, duplicate, read).await;
                Ending::Recorded { event, duplicate, conflict: false, answer }
            }
            other => other,
        }
    }

    /// The answer of the source's handler to an event that is durable, if there is one by the deadline,
    /// which counts from the whole body.
    ///
    /// The handler runs once, whether or not anybody waits: this only looks.
    async fn answer(&self, event: Uuid, duplicate: bool, read: Instant) -> Told {
        let respond = self.source.respond()?;
        let metrics = &self.state.metrics;
        let left = respond.deadline.saturating_sub(read.elapsed());
        let waited = tokio::time::timeout(left, self.wait(event, respond)).await;
        let outcome = match &waited {
            Ok(Some(_)) if duplicate => "repeated",
            Ok(Some(_)) => "in_time",
            Ok(None) => "none",
            Err(_) => "late",
        };
        metrics.responded(self.source.name(), outcome);
        waited.unwrap_or_default()
    }

    async fn wait(&self, event: Uuid, respond: &Respond) -> Told {
        let mut listener = self.state.answers.listen(event, &respond.handler)?;
        loop {
            // Asked after we listen, so that nothing falls between.
            match self.state.store.answer(event, respond.handler.clone()).await {
                Ok(StoredAnswer::Open) => {}
                Ok(StoredAnswer::None) => return None,
                Ok(StoredAnswer::Whole { status, content_type, body }) => {
                    return Some(Answer {
                        status: status.and_then(|it| u16::try_from(it).ok()).unwrap_or(200),
                        content_type,
                        body: Bytes::from(body),
                    });
                }
                Err(error) => {
                    tracing::debug!(event.id = %event, error = %error, "an answer can't be looked for now");
                }
            }
            let told = tokio::time::timeout(LOOK_EVERY, listener.told()).await;
            match told {
                Ok(Some(told)) => return told,
                Ok(None) => return None,
                Err(_) => {}
            }
        }
    }
}

/// The handler's answer as ours. One that isn't a success is none: it was not asked for.
pub(super) fn response(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).ok().filter(StatusCode::is_success);
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::OK));
    if is_bodiless(answer.status) {
        return response.finish();
    }
    // Of an empty body without a type there is nothing to say.
    if !answer.content_type.is_empty()
        && let Ok(kind) = HeaderValue::from_str(&answer.content_type)
    {
        response.insert_header((CONTENT_TYPE, kind));
    }
    response.body(answer.body)
}
