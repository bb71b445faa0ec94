//! A receiver for the tests of a service that embeds hookonce: the real one, on free ports of loopback
//! and an SQLite database of its own, which is gone with it.
//!
//! ```
//! use hookonce::fixture::Fixture;
//! use hookonce::handler::Outcome;
//! use hookonce::testing::{TestError, TestServer};
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), TestError> {
//! let config = r#"
//!     [sources.stripe]
//!     provider = "stripe"
//!     secrets = [{ value = "whsec_a9f3c2e17b6d4058913fd2c7e6a1b045" }]
//! "#;
//! let server = TestServer::start(config, |app| {
//!     app.on("stripe", "invoice.*", |_event, _context| async { Outcome::done() })
//! })
//! .await?;
//! let paid = Fixture::shipped("stripe", "invoice.paid")?.with_id("evt_1");
//! let answers = server.send_twice(&paid).await?;
//! assert_eq!(answers.iter().filter(|answer| answer.code == "accepted").count(), 1);
//! server.settled().await?;
//! assert_eq!(server.deliveries().await?.len(), 1);
//! server.stop().await;
//! # Ok(())
//! # }
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use entity::State;
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::{App, BuildError, RunError, Running};
use crate::config::{Config, Environment, Faults};
use crate::fixture::{Fixture, SendError, Sender, Sent, Unfit};
use crate::handler::Variables;
use crate::source::{Source, SourceSettings};
use crate::store::{DeliveryFilter, StoreError};

/// How long [`TestServer::settled`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at the deliveries.
const PAUSE: Duration = Duration::from_millis(10);

/// A running receiver. Dropping it ends it too, in the background, as long as the runtime lives.
#[derive(Debug)]
pub struct TestServer {
    /// `None` only while it is dropped.
    running: Option<Running>,
    sources: Vec<SourceSettings>,
    database_url: String,
    place: Option<TempDir>,
}

/// Why a test server can't do what a test asks for.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The config's text has faults.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The app can't be built of the config.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It can't start.
    #[error(transparent)]
    Start(#[from] RunError),
    /// There is no place for its database.
    #[error("a temporary folder can't be made: {0}")]
    Place(#[from] std::io::Error),
    /// The fixture can't be loaded.
    #[error(transparent)]
    Load(#[from] crate::fixture::LoadError),
    /// The fixture can't be changed or signed.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The fixture can't be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// No source, or more than one, could be meant; what to do about it.
    #[error("{0}")]
    Source(String),
    /// Its tables can't be read.
    #[error("the test server's tables can't be read")]
    Store(#[from] StoreError),
    /// Deliveries were still open at the deadline: each with its handler, state and last cause.
    #[error("not settled within {patience:?}: {}", .open.join("; "))]
    Unsettled {
        /// How long it was waited.
        patience: Duration,
        /// `handler of event: state (cause)`.
        open: Vec<String>,
    },
}

/// One event for one handler, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The handler's name; that of a function is `on.<source>.<types>`.
    pub handler: String,
    /// The source's name.
    pub source: String,
    /// Our id of the event.
    pub event: Uuid,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type.
    pub kind: String,
    /// Where it stands.
    pub state: State,
    /// Tries begun.
    pub attempts: i32,
    /// Why it isn't delivered.
    pub cause: Option<String>,
}

impl Delivery {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Leased)
    }
}

impl TestServer {
    /// Starts what a config's text says, with the handlers that `add` adds to it.
    ///
    /// `[server] listen`, `[admin] listen` and `[database]` are replaced: by free ports of loopback and a
    /// database that is gone at the end. Environment variables don't count. Relative paths are looked
    /// up in the working directory.
    pub async fn start(config: &str, add: impl FnOnce(App) -> App) -> Result<Self, TestError> {
        let environment = Environment::default();
        let (config, _doubts) = Config::read(config, "config", &environment, Path::new(""))?;
        Self::start_with(config, add).await
    }

    /// The same with a [`Config`] that was read or made already.
    pub async fn start_with(
        mut config: Config,
        add: impl FnOnce(App) -> App,
    ) -> Result<Self, TestError> {
        let place = tempfile::Builder::new().prefix("hookonce-test-").tempdir()?;
        let database_url = format!("sqlite://{}", place.path().join("hookonce.db").display());
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.server.listen = any_port;
        config.admin.listen = any_port;
        config.store.url.clone_from(&database_url);
        let sources = config.sources.clone();
        let app = add(App::build(config, &Variables::default())?);
        let running = app.start().await?;
        Ok(Self { running: Some(running), sources, database_url, place: Some(place) })
    }

    /// Where webhooks go: `http://127.0.0.1:…`, to which a source's path is added.
    #[must_use]
    pub fn url(&self) -> String {
        let address = self.running.as_ref().map(Running::public_address);
        address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// The admin API: `http://127.0.0.1:…`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        let address = self.running.as_ref().map(Running::admin_address);
        address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Its database, where functions of [`App::on_tx`] find their tables: make them before you send.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Sends a fixture, signed as of now, to the source that it was recorded from, else to the only one
    /// of its provider, else to the only one there is. An answer that isn't 2xx is no error.
    pub async fn send(&self, fixture: &Fixture) -> Result<Sent, TestError> {
        Ok(self.sender(fixture)?.send(fixture).await?)
    }

    /// The same to the source of this name.
    pub async fn send_to(&self, source: &str, fixture: &Fixture) -> Result<Sent, TestError> {
        let settings = self.sources.iter().find(|settings| settings.name.as_str() == source);
        let settings = settings.ok_or_else(|| self.no_source(&format!("no source `{source}`")))?;
        Ok(Sender::new(&self.url(), compile(settings)?)?.send(fixture).await?)
    }

    /// Sends one request twice at the same time, byte for byte the same: one answer says `accepted`,
    /// the other one `duplicate`.
    pub async fn send_twice(&self, fixture: &Fixture) -> Result<[Sent; 2], TestError> {
        let sent = self.sender(fixture)?.send_copies(fixture, 2).await?;
        let mut sent = sent.into_iter();
        match (sent.next(), sent.next()) {
            (Some(one), Some(other)) => Ok([one, other]),
            _ => Err(TestError::Source("two copies got no two answers".to_owned())),
        }
    }

    /// Sends the last one first, each after the answer to the one before; the answers in the order of
    /// sending.
    pub async fn send_reordered(&self, fixtures: &[Fixture]) -> Result<Vec<Sent>, TestError> {
        let mut answers = Vec::with_capacity(fixtures.len());
        for fixture in fixtures.iter().rev() {
            answers.push(self.send(fixture).await?);
        }
        Ok(answers)
    }

    /// Waits until no delivery is open: each one is delivered, dead or cancelled. At most 10 s.
    pub async fn settled(&self) -> Result<(), TestError> {
        self.settled_within(PATIENCE).await
    }

    /// The same with a deadline of your own.
    pub async fn settled_within(&self, patience: Duration) -> Result<(), TestError> {
        let deadline = Instant::now() + patience;
        loop {
            let mut open = self.deliveries().await?;
            open.retain(Delivery::is_open);
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let say = |it: &Delivery| {
                    let cause = it.cause.as_deref().unwrap_or("not tried yet");
                    format!("{} of {}: {} ({cause})", it.handler, it.event_id, it.state.as_str())
                };
                return Err(TestError::Unsettled {
                    patience,
                    open: open.iter().map(say).collect(),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Every delivery, oldest first.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>, TestError> {
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let mut filter = DeliveryFilter { limit: Some(500), ..DeliveryFilter::default() };
        loop {
            let page = running.store().deliveries(&filter).await?;
            all.extend(page.items.into_iter().map(|row| Delivery {
                handler: row.delivery.handler,
                source: row.event.source,
                event: row.event.id,
                event_id: row.event.event_id,
                kind: row.event.r#type,
                state: row.delivery.state,
                attempts: row.delivery.attempts,
                cause: row.delivery.cause,
            }));
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
        all.reverse();
        Ok(all)
    }

    /// Ends in order, and takes the database away.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    fn sender(&self, fixture: &Fixture) -> Result<Sender, TestError> {
        Ok(Sender::new(&self.url(), compile(self.source_of(fixture)?)?)?)
    }

    fn source_of(&self, fixture: &Fixture) -> Result<&SourceSettings, TestError> {
        let named = fixture.source.as_deref();
        if let Some(own) = self.sources.iter().find(|it| Some(it.name.as_str()) == named) {
            return Ok(own);
        }
        let of_provider = self
            .sources
            .iter()
            .filter(|it| fixture.provider.is_some() && it.provider == fixture.provider);
        match (of_provider.collect::<Vec<_>>().as_slice(), self.sources.as_slice()) {
            ([one], _) => Ok(one),
            ([], [one]) => Ok(one),
            ([], _) => Err(self.no_source("no source of its provider")),
            _ => Err(self.no_source("several sources of its provider")),
        }
    }

    fn no_source(&self, what: &str) -> TestError {
        let names: Vec<&str> = self.sources.iter().map(|it| it.name.as_str()).collect();
        let names = names.join(", ");
        TestError::Source(format!("there is {what}; name one by `send_to`: {names}"))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let place = self.place.take();
        // Outside of a runtime its tasks are gone already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                running.shutdown().await;
                drop(place);
            });
        }
    }
}

fn compile(settings: &SourceSettings) -> Result<Source, TestError> {
    Source::compile(settings.clone()).map_err(|faults| {
        TestError::Source(format!("source `{}`: {}", settings.name, faults.join("; ")))
    })
}
