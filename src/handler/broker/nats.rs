//! Messages of a NATS subject that a JetStream stream keeps: acknowledged by the stream, known by their id.

use std::error::Error as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::{
    ConnectError, ConnectErrorKind, ConnectOptions, HeaderMap, HeaderValue, ServerAddr, jetstream,
};
use bytes::Bytes;
use tokio::sync::Mutex;

use super::fields;
use crate::event::Event;
use crate::handler::facts::header_value;
use crate::handler::trial::Draft;
use crate::handler::{Context, Handler, Outcome, Reply};
use crate::secret::Secret;

/// For a connection, its handshakes included, unless the call has less time.
const CONNECT: Duration = Duration::from_secs(5);

/// For the stream's word; the call's own deadline is usually shorter.
const ACK: Duration = Duration::from_secs(60);

/// Servers of one NATS, checked. They may hold a password, so `Debug` and `shown` have none.
#[derive(Clone)]
pub struct NatsServers {
    urls: Secret,
    shown: String,
}

impl std::fmt::Debug for NatsServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NatsServers({})", self.shown)
    }
}

impl NatsServers {
    /// Checks `nats://` (or `tls://`) URLs with commas between, `user:password@` or `token@` in the first. The
    /// error says what is wrong and shows nothing of them.
    pub fn new(urls: Secret) -> Result<Self, String> {
        let mut shown = Vec::new();
        for text in urls.expose().split(',').map(str::trim) {
            if !text.starts_with("nats://") && !text.starts_with("tls://") {
                return Err(
                    "must begin with nats:// or tls://, such as nats://127.0.0.1:4222".to_owned()
                );
            }
            let server =
                ServerAddr::from_str(text).map_err(|_| "can't be read as a URL of NATS")?;
            if server.host().is_empty() {
                return Err("names no host".to_owned());
            }
            shown.push(format!("{}://{}:{}", server.scheme(), server.host(), server.port()));
        }
        Ok(Self { shown: shown.join(","), urls })
    }

    /// Without users and passwords.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn addresses(&self) -> Result<Vec<ServerAddr>, String> {
        let texts = self.urls.expose().split(',').map(str::trim);
        texts.map(|text| ServerAddr::from_str(text).map_err(|_| "is no URL".to_owned())).collect()
    }
}

/// A subject of the operator's.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Where NATS is.
    pub servers: NatsServers,
    /// Where messages go; a stream must take it.
    pub subject: String,
}

/// Publishes events to a subject.
pub struct NatsHandler {
    settings: NatsSettings,
    addresses: Vec<ServerAddr>,
    /// Made by the first call; it connects again by itself.
    connected: Mutex<Option<(async_nats::Client, jetstream::Context)>>,
}

impl NatsHandler {
    /// Connects to nothing yet.
    pub fn new(settings: &NatsSettings) -> Result<Self, String> {
        let addresses =
            settings.servers.addresses().map_err(|why| format!("`nats.server` {why}"))?;
        Ok(Self { settings: settings.clone(), addresses, connected: Mutex::new(None) })
    }

    /// What to publish by. Never while it is away: the client would keep the message and send it when it is
    /// back, after we had called it failed.
    async fn stream(&self, patience: Duration) -> Result<jetstream::Context, String> {
        let mut connected = self.connected.lock().await;
        if let Some((client, stream)) = &*connected {
            return match client.connection_state() {
                State::Connected => Ok(stream.clone()),
                State::Pending | State::Disconnected => Err("not connected".to_owned()),
            };
        }
        let patience = patience.min(CONNECT);
        let mut options = ConnectOptions::new().name("hookonce").connection_timeout(patience);
        if let Some(first) = self.addresses.first()
            && let Some(user) = first.username()
        {
            options = match first.password() {
                Some(password) => options.user_and_password(user.to_owned(), password.to_owned()),
                None => options.token(user.to_owned()),
            };
        }
        let connecting = options.connect(self.addresses.clone());
        let client = match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(format!("no connection: {}", refused(&error))),
            Err(_) => return Err("no connection in time".to_owned()),
        };
        let mut stream = jetstream::new(client.clone());
        stream.set_timeout(ACK);
        *connected = Some((client, stream.clone()));
        Ok(stream)
    }

    async fn publish(&self, event: &Event, context: &Context) -> Result<Reply, Outcome> {
        let NatsSettings { servers, subject } = &self.settings;
        let failed = |why: String| {
            Outcome::retry(format!("subject `{subject}` at {}: {why}", servers.shown()))
        };
        let stream = self.stream(context.timeout).await.map_err(failed)?;
        let headers = headers(event, context).map_err(failed)?;
        let sent = stream.publish_with_headers(subject.clone(), headers, event.body.clone()).await;
        let acked = match sent {
            Ok(acked) => acked.await,
            Err(error) => Err(error),
        };
        match acked {
            Ok(ack) => {
                let before = if ack.duplicate { ", there before" } else { "" };
                let body = format!("{} {}{before}", ack.stream, ack.sequence);
                Ok(Reply { body: Bytes::from(body), ..Reply::default() })
            }
            Err(error) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Outcome::reject(format!(
                    "subject `{subject}`: the message is larger than the server's max_payload"
                )),
                PublishErrorKind::StreamNotFound => {
                    failed("no stream takes this subject: make one, or correct it".to_owned())
                }
                kind => failed(kind.to_string()),
            }),
        }
    }
}

/// The facts, and the id by which a stream knows a repeat.
fn headers(event: &Event, context: &Context) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let id = ("Nats-Msg-Id", context.delivery.to_string());
    for (name, value) in fields(event, context).chain([id]) {
        let value = HeaderValue::from_str(&header_value(&value))
            .map_err(|_| format!("the header {name} can't be sent"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Why there is no connection: of an error on the wire its cause as well, such as a certificate. Of others the
/// kind alone, as their causes could hold what we log in with.
fn refused(error: &ConnectError) -> String {
    let kind = error.kind();
    let is_wire =
        matches!(kind, ConnectErrorKind::Io | ConnectErrorKind::Tls | ConnectErrorKind::Dns);
    match error.source().filter(|_| is_wire) {
        Some(cause) => format!("{kind}: {cause}"),
        None => kind.to_string(),
    }
}

#[async_trait::async_trait]
impl Handler for NatsHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        match self.publish(event, context).await {
            Ok(reply) => Outcome::Delivered(reply),
            Err(outcome) => outcome,
        }
    }

    fn draft(&self, event: &Event, context: &Context) -> Option<Result<Draft, String>> {
        let lines = fields(event, context);
        Some(Ok(Draft {
            method: Some("PUB".to_owned()),
            url: Some(format!("{} {}", self.settings.servers.shown(), self.settings.subject)),
            headers: lines.map(|(name, value)| (name.to_owned(), value)).collect(),
            body: event.body.clone(),
            ..Draft::default()
        }))
    }
}

/// Makes one as a shared handler.
pub(crate) fn shared(settings: &NatsSettings) -> Result<Arc<dyn Handler>, String> {
    Ok(Arc::new(NatsHandler::new(settings)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (urls, shown) in [
            ("nats://127.0.0.1", "nats://127.0.0.1:4222"),
            ("tls://ann:hunter2@a:1, nats://b", "tls://a:1,nats://b:4222"),
        ] {
            let servers = NatsServers::new(Secret::new(urls.to_owned())).expect("servers");
            assert_eq!(servers.shown(), shown);
            assert!(!format!("{servers:?}").contains("hunter2"));
        }
        for urls in ["", "http://hunter2@x", "nats://a,hunter2"] {
            let why = NatsServers::new(Secret::new(urls.to_owned())).expect_err("no servers");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
