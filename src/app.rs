//! The daemon as a value: built from a [`Config`], given Rust handlers, and run until it is told to stop.
//!
//! Nothing here is global: two apps can live in one process.

use std::net::SocketAddr;
use std::sync::Arc;

use entity::Name;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::event::Event;
use crate::handler::Variables;
use crate::handler::{Context, Outcome, Pattern, Routes, function};
use crate::http::Stopper;
use crate::intake::NearCommits;
use crate::metric::Metrics;
use crate::source::{Source, Sources};
use crate::store::effect::Tx;
use crate::store::{OpenError, Store, StoreError};
use crate::worker::effect::Effect;
use crate::worker::{Callee, WorkerStop};

mod effects;
mod functions;
mod probe;
mod respond;
mod shutdown;
mod start;
mod trials;

use functions::Function;

/// A daemon that has not started yet.
pub struct App {
    config: Config,
    sources: Arc<Sources>,
    routes: Routes,
    callees: Vec<Callee>,
    handlers: Vec<crate::http::admin::shape::HandlerItem>,
    functions: Vec<Function>,
    faults: Vec<String>,
}

/// A daemon that serves. Dropping it without [`Running::shutdown`] leaves its tasks to the runtime.
#[derive(Debug)]
pub struct Running {
    store: Store,
    metrics: Metrics,
    public: SocketAddr,
    admin: SocketAddr,
    stoppers: [Stopper; 2],
    listeners: Vec<JoinHandle<std::io::Result<()>>>,
    readiness: crate::http::Readiness,
    near_commits: NearCommits,
    intake: TaskTracker,
    intake_closing: CancellationToken,
    worker: JoinHandle<()>,
    worker_stop: WorkerStop,
    gateways: TaskTracker,
    tunnels_closing: CancellationToken,
    upkeep: TaskTracker,
    upkeep_stop: CancellationToken,
    drain: std::time::Duration,
    grace: std::time::Duration,
}

/// Why an app can't be built.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BuildError(Vec<String>);

/// Why an app can't start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was given to [`App::on`] can't be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An address can't be listened on.
    #[error("{what} can't listen on {address}: {source}")]
    Listen {
        /// `server.listen` or `admin.listen`.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A listener ended by itself.
    #[error("a listener ended by itself: {0}")]
    Ended(String),
    /// What handshakes brought can't be read.
    #[error("captured secrets can't be read")]
    Captured(#[source] StoreError),
    /// The cleanup can't be scheduled.
    #[error(transparent)]
    Schedule(#[from] crate::upkeep::ScheduleError),
}

impl App {
    /// Compiles the sources and makes the handlers of `config`. Touches no network and no database.
    ///
    /// `environment` holds the variables that `exec.env` may pass on. Fails with every fault.
    pub fn build(config: Config, environment: &Variables) -> Result<Self, BuildError> {
        let mut faults = Vec::new();
        let mut sources = Vec::with_capacity(config.sources.len());
        for settings in &config.sources {
            match Source::compile(settings.clone()) {
                Ok(source) => sources.push(source),
                Err(found) => {
                    let name = &settings.name;
                    faults
                        .extend(found.into_iter().map(|fault| format!("sources.{name}: {fault}")));
                }
            }
        }
        let routes = Routes::of(&config.handlers);
        let mut callees = Vec::with_capacity(config.handlers.len());
        for settings in &config.handlers {
            match effects::effect_of(settings, environment, &config.databases) {
                Ok(effect) => callees.push(Callee {
                    name: settings.name.clone(),
                    effect,
                    shape: settings.shape.clone(),
                    timeout: settings.timeout,
                    concurrency: settings.concurrency,
                    retry: settings.retry.clone(),
                    lease: settings.lease,
                    versions: settings.versions.clone(),
                    control: settings.control.clone(),
                    responds: false,
                }),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(BuildError(faults));
        }
        let handlers = config.handlers.iter().map(trials::item).collect();
        let sources = Arc::new(Sources::new(sources));
        Ok(Self { config, sources, routes, callees, handlers, functions: Vec::new(), faults })
    }

    /// Adds a Rust function as a handler of a source's events whose type matches `events`.
    ///
    /// The handler is called `on.<source>.<events>`, with `_` for characters that a name can't hold;
    /// deliveries in the database know it by that name, so changing either makes a new handler. It is
    /// called at least once for each event, always with the same [`Context::delivery`]; see
    /// [`function::from_fn`]. What can't be used is reported by [`App::start`].
    #[must_use]
    pub fn on<F, Fut>(self, source: &str, events: &str, handler: F) -> Self
    where
        F: Fn(Event, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.add(source, events, Effect::Call(function::from_fn(handler)))
    }

    /// Adds a Rust function that works in the transaction that settles its delivery: what it does there
    /// is done exactly once for each event, whatever dies.
    ///
    /// Named like those of [`App::on`]. It gets the open transaction of our own database, with the
    /// delivery's row locked, and does its work by statements on it. Anything but
    /// [`Outcome::Delivered`], a panic or an error of a statement undoes all of it. What it does beside
    /// the transaction is not undone, so it should do nothing else; and it must not commit. On SQLite it
    /// holds the only writer: nothing is recorded meanwhile.
    ///
    /// ```
    /// # use hookonce::{app::App, handler::Outcome, store::sqlx};
    /// # fn add(app: App) -> App {
    /// app.on_tx("stripe", "charge.succeeded", |event, _context, mut tx| {
    ///     Box::pin(async move {
    ///         let Some(connection) = tx.postgres() else { return Outcome::reject("not PostgreSQL") };
    ///         let done = sqlx::query("INSERT INTO ledger (charge) VALUES ($1)")
    ///             .bind(&event.event_id)
    ///             .execute(connection)
    ///             .await;
    ///         match done {
    ///             Ok(_) => Outcome::done(),
    ///             Err(error) => Outcome::retry(error.to_string()),
    ///         }
    ///     })
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn on_tx<F>(self, source: &str, events: &str, handler: F) -> Self
    where
        F: for<'t> Fn(Event, Context, Tx<'t>) -> BoxFuture<'t, Outcome> + Send + Sync + 'static,
    {
        self.add(source, events, effects::in_transaction(handler))
    }

    fn add(mut self, source: &str, events: &str, effect: Effect) -> Self {
        let checked = functions::checked(source, events, effect, &self.sources);
        match checked.and_then(|new| functions::unless_taken(new, &self.functions, &self.callees)) {
            Ok(function) => self.functions.push(function),
            Err(fault) => self.faults.push(fault),
        }
        self
    }

    /// Starts serving. Everything is up when this returns.
    pub async fn start(self) -> Result<Running, RunError> {
        start::start(self).await
    }

    /// Serves until `shutdown`, then ends in order: nothing that was acknowledged is lost, and no
    /// delivery is left half-settled.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let mut running = self.start().await?;
        let ended = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = running.ended() => Some(ended),
        };
        running.shutdown().await;
        match ended {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

impl Running {
    /// The public listener's address.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// The admin listener's address.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The tables.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The figures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits for a listener to end by itself, which it never should.
    async fn ended(&mut self) -> RunError {
        let (ended, _, rest) =
            futures::future::select_all(std::mem::take(&mut self.listeners)).await;
        self.listeners = rest;
        RunError::Ended(match ended {
            Ok(Ok(())) => "it was stopped".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        })
    }

    /// Ends in order; see `app/shutdown.rs`.
    pub async fn shutdown(self) {
        shutdown::shutdown(self).await;
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.to_string())
}

fn named(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}
