//! What a handler would do with an event, without doing it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entity::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lane::Lane;
use super::shape::{Shape, Shaped};
use super::{Context, Handler, Pattern};
use crate::event::Event;

/// What stands in place of a secret in a [`Draft`].
pub const HIDDEN: &str = "(hidden)";

/// A handler that can be asked what it would do.
#[derive(Clone)]
pub struct Trial {
    /// Its name.
    pub name: Name,
    /// The sources whose events it gets.
    pub from: Vec<Name>,
    /// The types that it gets.
    pub events: Vec<Pattern>,
    /// Which of them by their content, and in what form.
    pub shape: Option<Arc<Shape>>,
    /// How its deliveries are put into lanes.
    pub lane: Option<Lane>,
    /// How long one call may take.
    pub timeout: Duration,
    /// What would be called; `None` for what runs in the settling transaction.
    pub handler: Option<Arc<dyn Handler>>,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a handler would send, with its secrets hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// HTTP's method.
    pub method: Option<String>,
    /// Where to, without user, password and query.
    pub url: Option<String>,
    /// A program and its arguments.
    pub command: Vec<String>,
    /// Headers of a request, or variables of a program.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: Bytes,
}

/// How a trial ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// Why the handler doesn't get events like this one at all.
    pub unmatched: Option<String>,
    /// What `when` says; `None` without one, or when it failed.
    pub when: Option<bool>,
    /// What an expression failed with, in full: it may quote the event.
    pub failure: Option<String>,
    /// What would be sent; `None` when nothing would be, or when only the handler knows.
    pub draft: Option<Draft>,
}

impl Trial {
    /// Tries an event out, up to the call. The expressions are tried also when the handler wouldn't get
    /// the event: who asks wants to know them.
    pub async fn run(&self, event: &Event) -> Tried {
        let mut tried = Tried { unmatched: self.unmatched(event), ..Tried::default() };
        let lane =
            self.lane.as_ref().map(|it| it.of_kept(event.headers.clone(), event.body.clone()));
        let shaped = match &self.shape {
            Some(shape) => shape.apply(event).await,
            None => Shaped::Whole,
        };
        let has_when = self.shape.as_ref().is_some_and(|it| it.settings().when.is_some());
        let event = match &shaped {
            Shaped::Whole => event,
            Shaped::Changed(event) => event,
            Shaped::Skipped => {
                tried.when = Some(false);
                return tried;
            }
            Shaped::Failed(why) | Shaped::Slow(why) | Shaped::Crowded(why) => {
                tried.failure = Some(why.detail.clone());
                return tried;
            }
        };
        tried.when = has_when.then_some(true);
        let context = Context {
            keep: super::RESPONSE_BYTES_MAX,
            delivery: Uuid::nil(),
            handler: self.name.clone(),
            lane,
            attempt: 1,
            epoch: 0,
            stale: false,
            timeout: self.timeout,
            cancelled: CancellationToken::new(),
        };
        match self.handler.as_ref().and_then(|it| it.draft(event, &context)) {
            Some(Ok(draft)) => tried.draft = Some(draft),
            Some(Err(why)) => tried.failure = Some(why),
            None => tried.draft = Some(Draft { body: event.body.clone(), ..Draft::default() }),
        }
        tried
    }

    fn unmatched(&self, event: &Event) -> Option<String> {
        if !self.from.contains(&event.source) {
            return Some(format!("`from` doesn't name the source `{}`", event.source));
        }
        if !self.events.iter().any(|pattern| pattern.matches(&event.kind)) {
            return Some(format!("no pattern of `events` matches the type `{}`", event.kind));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::shape::ShapeSettings;
    use crate::handler::{ExecSettings, HttpSettings, exec, http, log, sample};
    use crate::secret::Secret;

    fn trial(handler: Arc<dyn Handler>, when: Option<&str>, transform: Option<&str>) -> Trial {
        let settings = ShapeSettings {
            when: when.map(str::to_owned),
            transform: transform.map(str::to_owned),
        };
        Trial {
            name: Name::new("billing").expect("a name"),
            from: vec![Name::new("stripe").expect("a name")],
            events: vec![Pattern::new("invoice.*").expect("a pattern")],
            shape: Shape::new(&settings).expect("expressions").map(Arc::new),
            lane: None,
            timeout: Duration::from_secs(1),
            handler: Some(handler),
        }
    }

    #[tokio::test]
    async fn what_would_be_posted_is_shown_without_secrets() {
        let settings = HttpSettings {
            url: "http://u:p4ss@127.0.0.1:1/hook?key=s3cret".parse().expect("a URL"),
            headers: vec![("x-key".to_owned(), Secret::new("s3cret".to_owned()))],
            sign: Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())),
            deny_private: false,
            dead_on: Vec::new(),
        };
        let handler = Arc::new(http::HttpHandler::new(&settings, 1).expect("a handler"));
        let tried = trial(handler, Some("body.a == 1"), Some("{b: .a}"))
            .run(&sample::event(b"{\"a\": 1}"))
            .await;
        assert_eq!((&tried.unmatched, tried.when, &tried.failure), (&None, Some(true), &None));
        let draft = tried.draft.expect("a draft");
        assert_eq!(draft.method.as_deref(), Some("POST"));
        assert_eq!(draft.url.as_deref(), Some("http://127.0.0.1:1/hook"));
        assert_eq!(&draft.body[..], b"{\"b\":1}");
        let header = |name: &str| {
            let found = draft.headers.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("hookonce-event-id"), Some("evt_1"));
        assert_eq!(header("x-key"), Some(HIDDEN));
        assert_eq!(header("webhook-signature"), Some(HIDDEN));
        assert!(!format!("{draft:?}").contains("s3cret") && !format!("{draft:?}").contains("p4ss"));
    }

    #[tokio::test]
    async fn what_would_be_run_is_shown_without_the_values_that_are_passed_on() {
        let settings =
            ExecSettings { command: vec!["cat".to_owned()], env: vec!["TOKEN".to_owned()] };
        let environment = [("TOKEN".to_owned(), "s3cret".into())].into();
        let handler = exec::ExecHandler::new(&settings, &environment).expect("a handler");
        let tried = trial(Arc::new(handler), None, None).run(&sample::event(b"{}")).await;
        let draft = tried.draft.expect("a draft");
        assert!(draft.command[0].ends_with("/cat"), "{draft:?}");
        assert!(draft.headers.contains(&("TOKEN".to_owned(), HIDDEN.to_owned())), "{draft:?}");
        assert!(draft.headers.contains(&("HOOKONCE_EVENT_ID".to_owned(), "evt_1".to_owned())));
    }

    #[tokio::test]
    async fn it_says_why_nothing_would_be_sent() {
        let tried = trial(Arc::new(log::LogHandler), Some("body.a == 2"), None)
            .run(&sample::event(b"{\"a\": 1}"))
            .await;
        assert_eq!((tried.when, tried.draft), (Some(false), None));
        let tried = trial(Arc::new(log::LogHandler), Some("body.gone == 2"), None)
            .run(&sample::event(b"{\"a\": 1}"))
            .await;
        assert!(tried.failure.is_some_and(|why| why.contains("gone")));
        let mut event = sample::event(b"{\"a\": 1}");
        event.kind = "charge.failed".to_owned();
        let tried = trial(Arc::new(log::LogHandler), None, None).run(&event).await;
        assert!(tried.unmatched.is_some_and(|why| why.contains("`charge.failed`")));
        event.source = Name::new("github").expect("a name");
        let tried = trial(Arc::new(log::LogHandler), None, None).run(&event).await;
        assert!(tried.unmatched.is_some_and(|why| why.contains("`github`")));
    }
}
