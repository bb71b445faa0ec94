//! `hookonce serve`: the daemon. The only place that knows signals, which a load of `send` listens to as well.

use tokio_util::sync::CancellationToken;

use super::failure::chain;
use super::{Failure, Global, Loaded, Output};
use crate::app::{App, RunError};
use crate::config::{Config, Environment};
use crate::handler::Kind;
use crate::telemetry::{self, TelemetrySettings};

pub(super) async fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let Loaded { config, warnings, .. } = global.load_file()?;
    for warning in &warnings {
        output.warn(&warning.to_string());
    }
    let settings = TelemetrySettings {
        log: filter(&config.telemetry.log, global),
        color: global.color(),
        ..config.telemetry.clone()
    };
    telemetry::start(&settings).map_err(|why| Failure::Failed(chain(&why)))?;
    let app = build(config)?;
    until_signalled(|shutdown| app.run(shutdown)).await
}

/// What the config logs, as `-v` and `-q` change it.
fn filter(configured: &str, global: &Global) -> String {
    match (global.quiet(), global.verbosity()) {
        (true, _) => "warn".to_owned(),
        (false, 0) => configured.to_owned(),
        (false, 1) => format!("{configured},hookonce=debug"),
        (false, _) => format!("{configured},hookonce=trace"),
    }
}

/// The app of a config; its faults are the config's.
pub(super) fn build(config: Config) -> Result<App, Failure> {
    let environment = Environment::of_process().only(passed_on(&config).iter().map(String::as_str));
    App::build(config, &environment).map_err(|why| Failure::Usage(why.to_string()))
}

/// The variables that exec handlers pass on.
pub(super) fn passed_on(config: &Config) -> Vec<String> {
    config
        .handlers
        .iter()
        .filter_map(|handler| match &handler.kind {
            Kind::Exec(exec) => Some(exec.env.iter().cloned()),
            Kind::Http(_)
            | Kind::Log
            | Kind::Sql(_)
            | Kind::Redis(_)
            | Kind::Nats(_)
            | Kind::Amqp(_)
            | Kind::Kafka(_) => None,
        })
        .flatten()
        .collect()
}

/// Runs until SIGTERM or SIGINT, then lets it end in order; a second signal ends it at once.
pub(super) async fn until_signalled<F, Fut>(run: F) -> Result<(), Failure>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), RunError>>,
{
    let mut signals = Signals::new().map_err(|why| Failure::Failed(format!("signals: {why}")))?;
    let shutdown = CancellationToken::new();
    let running = run(shutdown.clone());
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return result.map_err(Failure::from),
        () = signals.next() => {
            tracing::info!("shutting down; a second signal ends it at once");
            shutdown.cancel();
        }
    }
    tokio::select! {
        result = &mut running => result.map_err(Failure::from),
        () = signals.next() => Err(Failure::Interrupted),
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Store(error) => error.into(),
            RunError::Build(error) => Self::Usage(error.to_string()),
            RunError::Captured(error) => error.into(),
            RunError::Listen { .. } | RunError::Ended(_) | RunError::Schedule(_) => {
                Self::Failed(chain(&error))
            }
        }
    }
}

/// SIGTERM and SIGINT.
#[cfg(unix)]
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can interrupt us then; the run's own end is all there is to wait for.
            std::future::pending::<()>().await;
        }
    }
}
