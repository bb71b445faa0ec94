//! From settings to a handler that can be called.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use super::{Handler, HandlerSettings, Kind, broker, exec, http, log};

/// Environment variables that `exec.env` may name, by name. Read once at start by whoever may read
/// the process's environment; this room doesn't.
pub type Variables = BTreeMap<String, OsString>;

/// Makes a handler of its settings, without an environment to pass on.
///
/// Fails with a sentence that says what is wrong: a program that isn't there, a URL that can't be
/// called, a header that HTTP forbids, a signing secret that isn't one, or an `exec.env` (use
/// [`build_in`] then: a variable that was asked for is never silently left out).
pub fn build(settings: &HandlerSettings) -> Result<Arc<dyn Handler>, String> {
    if let Kind::Exec(exec) = &settings.kind
        && !exec.env.is_empty()
    {
        return Err(format!(
            "handler `{}`: `exec.env` names {}, but no environment was given to take them from",
            settings.name,
            exec.env.join(", ")
        ));
    }
    build_in(settings, &Variables::new())
}

/// Makes a handler of its settings. `exec.env` names are looked up in `environment`; one that isn't
/// set there isn't set for the program either.
///
/// Fails as [`build`] does, but for `exec.env`.
pub fn build_in(
    settings: &HandlerSettings,
    environment: &Variables,
) -> Result<Arc<dyn Handler>, String> {
    let made: Result<Arc<dyn Handler>, String> = match &settings.kind {
        Kind::Http(spec) => http::HttpHandler::new(spec, settings.concurrency)
            .map(|handler| Arc::new(handler) as Arc<dyn Handler>),
        Kind::Exec(spec) => exec::ExecHandler::new(spec, environment)
            .map(|handler| Arc::new(handler) as Arc<dyn Handler>),
        Kind::Amqp(spec) => broker::amqp::shared(spec),
        Kind::Kafka(spec) => broker::kafka::shared(spec, settings.timeout),
        Kind::Nats(spec) => broker::nats::shared(spec),
        Kind::Redis(spec) => broker::redis::shared(spec),
        Kind::Log => Ok(Arc::new(log::LogHandler)),
        Kind::Sql(_) => Err("`sql` is no call: `App::build` makes it".to_owned()),
    };
    made.map_err(|fault| format!("handler `{}`: {fault}", settings.name))
}
