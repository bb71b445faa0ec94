//! `--wait`: asks the admin API until every delivery is delivered.

use std::time::Duration;

use entity::{State, TryOutcome};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::{Failure, Global, Output, reachable};
use crate::http::AdminSettings;
use crate::secret::Secret;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(50);

/// For one answer of the admin API.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks an admin API about events.
pub(super) struct Watcher {
    client: reqwest::Client,
    url: Url,
    token: Option<Secret>,
}

/// What is read of an event: as in `http::admin::shape`.
#[derive(Deserialize)]
struct Event {
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
struct Delivery {
    handler: String,
    state: State,
    #[serde(default)]
    cause: Option<String>,
    #[serde(default)]
    tries: Vec<Try>,
}

#[derive(Deserialize)]
struct Try {
    outcome: TryOutcome,
}

impl Delivery {
    /// Whether the handler's own condition says that there is nothing to do.
    fn is_skipped(&self) -> bool {
        self.state == State::Cancelled
            && self.tries.last().is_some_and(|it| it.outcome == TryOutcome::Skipped)
    }
}

/// How far an event is.
enum Progress {
    /// Every delivery is delivered, or skipped; how many are delivered.
    Done(usize),
    /// Some are still to come; which and why.
    Open(String),
    /// One will never be; which and why.
    GivenUp(String),
}

impl Watcher {
    /// Asks the API of `--url`, or of the config's admin listener.
    pub(super) fn new(admin: Option<&AdminSettings>, global: &Global) -> Result<Self, Failure> {
        let url = match (global.url(), admin) {
            (Some(url), _) => url.clone(),
            (None, Some(admin)) => Url::parse(&format!("http://{}", reachable(admin.listen)))
                .map_err(|error| Failure::Usage(format!("admin.listen: {error}")))?,
            (None, None) => {
                return Err(Failure::Usage(
                    "--wait asks the daemon's admin API: name it by --url".to_owned(),
                ));
            }
        };
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_TIMEOUT);
        if url.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| Failure::Failed(error.to_string()))?;
        let token = global.token().or_else(|| admin.and_then(|admin| admin.token.clone()));
        Ok(Self { client, url, token })
    }

    /// Waits until every delivery of `events` is delivered. Fails when one is given up, and after
    /// `most`.
    pub(super) async fn until_delivered(
        &self,
        events: Vec<String>,
        most: Duration,
        output: &Output,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + most;
        let (mut open, mut delivered) = (events, 0);
        loop {
            let mut still_open = Vec::new();
            let mut why = String::new();
            for event in open {
                match self.ask(&event).await? {
                    Progress::Done(0) => output.warn(&format!("no handler takes event {event}")),
                    Progress::Done(deliveries) => delivered += deliveries,
                    Progress::GivenUp(why) => {
                        return Err(Failure::Failed(format!("event {event}: {why}")));
                    }
                    Progress::Open(reason) => {
                        why = format!("event {event}: {reason}");
                        still_open.push(event);
                    }
                }
            }
            if still_open.is_empty() {
                output.say(&format!("delivered {delivered}"));
                return Ok(());
            }
            if Instant::now() + PAUSE > deadline {
                return Err(Failure::Failed(format!(
                    "{} not delivered within {}; {why}",
                    still_open.len(),
                    humantime::format_duration(most)
                )));
            }
            open = still_open;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, event: &str) -> Result<Progress, Failure> {
        let mut url = self.url.clone();
        let Ok(()) = url.path_segments_mut().map(|mut path| {
            path.pop_if_empty().extend(["api", "v1", "events", event]);
        }) else {
            return Err(Failure::Usage(format!("{} can't be the admin API", self.url)));
        };
        let mut request = self.client.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let unreachable = |error: reqwest::Error| {
            let reason = crate::cli::failure::chain(&error.without_url());
            Failure::Unreachable(format!(
                "the admin API at {} can't be reached: {reason}",
                self.url
            ))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(unreachable)?;
        match status {
            200 => {}
            401 | 403 => {
                return Err(Failure::Failed(
                    "the admin API wants another token: give it by --token".to_owned(),
                ));
            }
            404 => return Err(Failure::NotFound(format!("the daemon knows no event {event}"))),
            status => return Err(Failure::Failed(format!("the admin API answered {status}"))),
        }
        let event: Event = serde_json::from_slice(&body)
            .map_err(|error| Failure::Failed(format!("the admin API's answer: {error}")))?;
        Ok(event.progress())
    }
}

impl Event {
    fn progress(&self) -> Progress {
        let (mut open, mut delivered) = (None, 0);
        for delivery in &self.deliveries {
            if delivery.is_skipped() {
                continue;
            }
            let Delivery { handler, state, cause, .. } = delivery;
            let cause = cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
            match state {
                State::Delivered => delivered += 1,
                State::Dead | State::Cancelled => {
                    return Progress::GivenUp(format!("{handler} is {}{cause}", state.as_str()));
                }
                State::Pending | State::Leased => {
                    open = Some(format!("{handler} is {}{cause}", state.as_str()));
                }
            }
        }
        match open {
            Some(open) => Progress::Open(open),
            None => Progress::Done(delivered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_done_when_every_delivery_is_delivered() {
        for (states, want) in [
            (&[][..], "done 0"),
            (&["delivered", "delivered"], "done 2"),
            (&["delivered", "pending"], "open h is pending (late)"),
            (&["leased"], "open h is leased (late)"),
            (&["pending", "dead"], "given up h is dead (late)"),
            (&["cancelled"], "given up h is cancelled (late)"),
        ] {
            let deliveries: Vec<_> = states
                .iter()
                .map(|state| serde_json::json!({"handler": "h", "state": state, "cause": "late"}))
                .collect();
            let json = serde_json::json!({ "id": "x", "deliveries": deliveries });
            let event: Event = serde_json::from_value(json).expect("an event");
            let got = match event.progress() {
                Progress::Done(deliveries) => format!("done {deliveries}"),
                Progress::Open(why) => format!("open {why}"),
                Progress::GivenUp(why) => format!("given up {why}"),
            };
            assert_eq!(got, want);
        }
    }

    #[test]
    fn a_skipped_delivery_is_not_waited_for() {
        let skipped = serde_json::json!({ "deliveries": [
            {"handler": "a", "state": "cancelled", "tries": [{"outcome": "skipped"}]},
            {"handler": "b", "state": "delivered", "tries": [{"outcome": "delivered"}]},
        ]});
        let event: Event = serde_json::from_value(skipped).expect("an event");
        assert!(matches!(event.progress(), Progress::Done(1)));
    }
}
