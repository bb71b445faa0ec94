//! From the store's rows to what people see. The command line uses the same functions on its own
//! store, so both show the same.

use std::time::Duration;

use bytes::Bytes;
use entity::{Name, attempt, delivery, event, rejection, upkeep_run};
use uuid::Uuid;

use super::shape::{
    Action, CleanupPolicy, CleanupRun, DeliveryBrief, DeliveryFull, DiagnosisItem, EventFull,
    EventHead, EventItem, HandlerItem, HandlerTest, List, ReadmitItem, RejectionItem, RespondItem,
    SourceItem, Try,
};
use crate::event::Event;
use crate::handler::trial::{Draft, Tried};
use crate::handler::{HandlerSettings, Kind};
use crate::intake::readmit::{ReadmitOutcome, Readmitted};
use crate::received::{Headers, Received};
use crate::source::{Source, Sources};
use crate::store::captured::Captured;
use crate::store::{DeliveryRow, EventDetail, EventRow, Page, Removed, Reopened, Retention};
use crate::upkeep::CleanupSettings;
use crate::verify::Diagnosis;

mod replay;

impl<T, U: From<T>> From<Page<T>> for List<U> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items.into_iter().map(U::from).collect(), next_cursor: page.next_cursor }
    }
}

impl From<EventRow> for EventItem {
    fn from(row: EventRow) -> Self {
        let event = row.event;
        Self {
            id: event.id,
            source: event.source,
            event_id: event.event_id,
            r#type: event.r#type,
            received_at: event.received_at,
            size: event.size,
            duplicates: event.duplicates,
            conflict: event.conflict,
            held: event.held,
            replay_suspected: event.replay_of.is_some(),
            replay_of: event.replay_of,
            deliveries: row.deliveries.into_iter().map(DeliveryBrief::from).collect(),
        }
    }
}

impl From<delivery::Model> for DeliveryBrief {
    fn from(delivery: delivery::Model) -> Self {
        Self {
            id: delivery.id,
            handler: delivery.handler,
            state: delivery.state,
            attempts: delivery.attempts,
            due_at: delivery.due_at,
        }
    }
}

impl From<EventDetail> for EventFull {
    fn from(detail: EventDetail) -> Self {
        let event = detail.event;
        let deliveries = detail
            .deliveries
            .into_iter()
            .map(|one| delivery(one.delivery, &event, Some(one.tries)))
            .collect();
        Self {
            headers: detail.headers.as_deref().map(header_lines),
            digest: hex::encode(&event.digest),
            expires_at: event.expires_at,
            conflicts: detail.conflicts.iter().map(|other| hex::encode(&other.digest)).collect(),
            deliveries,
            event: EventHead {
                id: event.id,
                source: event.source,
                event_id: event.event_id,
                r#type: event.r#type,
                received_at: event.received_at,
                size: event.size,
                duplicates: event.duplicates,
                conflict: event.conflict,
                held: event.held,
                replay_suspected: event.replay_of.is_some(),
                replay_of: event.replay_of,
            },
        }
    }
}

impl From<DeliveryRow> for DeliveryFull {
    fn from(row: DeliveryRow) -> Self {
        delivery(row.delivery, &row.event, None)
    }
}

/// A delivery with the facts of its event; with its tries, when they are given.
#[must_use]
pub fn delivery(
    delivery: delivery::Model,
    event: &event::Model,
    tries: Option<Vec<attempt::Model>>,
) -> DeliveryFull {
    DeliveryFull {
        id: delivery.id,
        event: event.id,
        source: event.source.clone(),
        event_id: event.event_id.clone(),
        r#type: event.r#type.clone(),
        handler: delivery.handler,
        round: delivery.round,
        state: delivery.state,
        attempts: delivery.attempts,
        due_at: delivery.due_at,
        settled_at: delivery.settled_at,
        cause: delivery.cause,
        lane: delivery.lane,
        waits: delivery.lane_waits,
        tries: tries.map(|tries| tries.into_iter().map(Try::from).collect()),
    }
}

impl From<attempt::Model> for Try {
    fn from(attempt: attempt::Model) -> Self {
        Self {
            n: attempt.n,
            started_at: attempt.started_at,
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome,
            status: attempt.status,
            error: attempt.error,
            response: attempt.response.as_deref().map(lossy),
        }
    }
}

impl From<rejection::Model> for RejectionItem {
    fn from(rejection: rejection::Model) -> Self {
        let (detail, diagnosis) = Diagnosis::apart(&rejection.detail);
        Self {
            id: rejection.id,
            source: rejection.source,
            code: rejection.code,
            detail: detail.to_owned(),
            diagnosis: diagnosis.map(|it| DiagnosisItem {
                cause: it.cause.to_string(),
                also: it.also.map(|also| also.to_string()),
                step: it.cause.step().to_string(),
                sentence: it.sentence,
            }),
            received_at: rejection.received_at,
            peer: rejection.peer,
            method: rejection.method,
            target: lossy(rejection.target.as_ref()),
            size: rejection.body.len(),
            readmitted_as: rejection.readmitted_as,
            headers: None,
            body: None,
        }
    }
}

/// A rejection as it is listed.
#[must_use]
pub fn rejection_listed(rejection: rejection::Model, sources: &Sources) -> RejectionItem {
    concealed(rejection, sources).into()
}

/// A rejection with its headers and body, bytes that aren't UTF-8 replaced.
#[must_use]
pub fn rejection_in_full(rejection: rejection::Model, sources: &Sources) -> RejectionItem {
    let rejection = concealed(rejection, sources);
    let headers = Some(header_lines(&rejection.headers));
    let body = Some(lossy(&rejection.body));
    RejectionItem { headers, body, ..RejectionItem::from(rejection) }
}

/// Hides what in a request's head opens its source's door: it may have been refused for its body
/// only. The kept bytes stay, because readmission verifies them.
fn concealed(mut rejection: rejection::Model, sources: &Sources) -> rejection::Model {
    if let Some(source) = sources.named(&rejection.source) {
        let mut received = Received {
            method: String::new(),
            target: lossy(&rejection.target),
            headers: Headers::from_bytes(&rejection.headers),
            body: Bytes::new(),
            peer: None,
            arrived_at: rejection.arrived_at,
        };
        source.conceal(&mut received);
        rejection.headers = received.headers.as_bytes().to_vec();
        rejection.target = received.target.into_bytes();
    }
    rejection
}

impl From<Reopened> for Action {
    fn from(reopened: Reopened) -> Self {
        let (delivery, action, state) = match reopened {
            Reopened::Reopened(id) => (id, "reopened", None),
            Reopened::New(id) => (id, "new", None),
            Reopened::Skipped(id, state) => (id, "skipped", Some(state)),
        };
        Self { delivery, action: action.to_owned(), state }
    }
}

/// What cancelling (`done` is `cancelled`) or discarding (`discarded`) did; `None` when there is no
/// such delivery.
#[must_use]
pub fn removed(delivery: Uuid, done: &str, removed: Removed) -> Option<Action> {
    match removed {
        Removed::Done => Some(Action { delivery, action: done.to_owned(), state: None }),
        Removed::Skipped(state) => {
            Some(Action { delivery, action: "skipped".to_owned(), state: Some(state) })
        }
        Removed::NotFound => None,
    }
}

impl From<Readmitted> for ReadmitItem {
    fn from(readmitted: Readmitted) -> Self {
        let (outcome, event, detail) = match readmitted.outcome {
            ReadmitOutcome::Accepted(event) => ("accepted", Some(event), None),
            ReadmitOutcome::Duplicate(event) => ("duplicate", Some(event), None),
            ReadmitOutcome::WouldPass => ("would_pass", None, None),
            ReadmitOutcome::Refused { code, detail } => (code, None, Some(detail)),
        };
        Self { rejection: readmitted.rejection, outcome: outcome.to_owned(), event, detail }
    }
}

impl From<&Source> for SourceItem {
    fn from(source: &Source) -> Self {
        Self {
            name: source.name().to_string(),
            path: source.path().to_owned(),
            provider: source.provider().map(str::to_owned),
            integrity: source.facts().integrity.as_str().to_owned(),
            state: if source.is_pending() { "pending" } else { "active" }.to_owned(),
            url: source.public_url().map(str::to_owned),
            respond: source.respond().map(|it| RespondItem {
                handler: it.handler.to_string(),
                deadline: humantime::format_duration(it.deadline).to_string(),
            }),
            captured_at: None,
            captured_secret: None,
        }
    }
}

/// A source with what was captured for it; its secret in the open only with `reveal`.
#[must_use]
pub fn source_in_full(source: &Source, captured: &[Captured], reveal: bool) -> SourceItem {
    let own = captured.iter().find(|it| it.source == source.name().as_str());
    SourceItem {
        captured_at: own.map(|it| it.captured_at),
        captured_secret: own.filter(|_| reveal).map(|it| it.secret.expose().to_owned()),
        ..SourceItem::from(source)
    }
}

impl From<&HandlerSettings> for HandlerItem {
    fn from(handler: &HandlerSettings) -> Self {
        let kind = match handler.kind {
            Kind::Http(_) => "http",
            Kind::Exec(_) => "exec",
            Kind::Log => "log",
            Kind::Sql(_) => "sql",
            Kind::Redis(_) => "redis",
            Kind::Nats(_) => "nats",
            Kind::Amqp(_) => "amqp",
            Kind::Kafka(_) => "kafka",
        };
        Self {
            name: handler.name.to_string(),
            kind: kind.to_owned(),
            from: handler.from.iter().map(ToString::to_string).collect(),
            events: handler.events.iter().map(|p| p.as_str().to_owned()).collect(),
            settings: None,
            paused: None,
        }
    }
}

/// An event as a handler is given it. Fails when a row holds what none of ours can.
pub fn handed_over(detail: EventDetail, body: Vec<u8>) -> Result<Event, String> {
    let row = detail.event;
    Ok(Event {
        id: row.id,
        source: Name::new(&row.source).map_err(|why| why.to_string())?,
        event_id: row.event_id,
        kind: row.r#type,
        received_at: row.received_at,
        headers: Headers::from_bytes(&detail.headers.unwrap_or_default()),
        body: Bytes::from(body),
    })
}

/// What a trial found.
#[must_use]
pub fn handler_test(handler: &Name, event: Uuid, tried: Tried) -> HandlerTest {
    let Tried { unmatched, when, failure, draft } = tried;
    let size = draft.as_ref().map(|draft| draft.body.len());
    let Draft { method, url, command, headers, body } = draft.unwrap_or_default();
    let body = size.and_then(|_| String::from_utf8(body.to_vec()).ok());
    HandlerTest {
        handler: handler.to_string(),
        event,
        matches: unmatched.is_none(),
        unmatched,
        when,
        error: failure,
        method,
        url,
        command,
        headers,
        body,
        size,
    }
}

impl CleanupPolicy {
    /// Writes the settings out.
    #[must_use]
    pub fn new(settings: &CleanupSettings, retention: Retention) -> Self {
        let text = |duration: Duration| humantime::format_duration(duration).to_string();
        Self {
            schedule: settings.schedule.clone(),
            batch: settings.batch,
            pause: text(settings.pause),
            max_run: text(settings.max_run),
            window: settings
                .window
                .map(|(from, to)| format!("{}-{}", from.format("%H:%M"), to.format("%H:%M"))),
            keys: text(retention.keys),
            bodies: text(retention.bodies),
            dead: text(retention.dead),
            rejections: text(retention.rejections),
        }
    }
}

impl From<upkeep_run::Model> for CleanupRun {
    fn from(run: upkeep_run::Model) -> Self {
        Self {
            id: run.id,
            worker: run.worker,
            started_at: run.started_at,
            finished_at: run.finished_at,
            outcome: run.outcome,
            events: run.events,
            bodies: run.bodies,
            rejections: run.rejections,
            error: run.error,
        }
    }
}

/// Stored header lines as pairs, bytes that aren't UTF-8 replaced.
fn header_lines(bytes: &[u8]) -> Vec<(String, String)> {
    Headers::from_bytes(bytes).iter().map(|(name, value)| (name.to_owned(), lossy(value))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
