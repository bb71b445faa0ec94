//! A handler of the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use entity::Name;

use crate::config::desk::Desk;
use crate::config::file::{FileExec, FileHandler, FileHttp, FileRetry, FileSource};
use crate::config::place::did_you_mean;
use crate::config::value::{Text, Waits};
use crate::handler::{ExecSettings, HandlerSettings, HttpSettings, Kind, Pattern};
use crate::retry::{Backoff, Limit, RetryPolicy};

mod amqp;
mod control;
mod kafka;
mod lane;
mod nats;
mod redis;
mod shape;
pub(crate) mod sql;
mod version;

use sql::Databases;

/// Statuses that say that the same request will never be accepted.
const DEAD_ON: &[u16] = &[400, 413, 415, 422];
const TIMEOUT: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(30);
/// A lease is renewed every third of it, and a renewal needs a round trip to the database.
const LEASE_MIN: Duration = Duration::from_secs(3);
const CONCURRENCY: u16 = 16;

/// Headers that hookonce sets itself, or that belong to the connection.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads a handler. `None` when it can't be used, which was reported.
pub(crate) fn settings(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileHandler,
    sources: &BTreeMap<String, FileSource>,
    databases: &Databases,
) -> Option<HandlerSettings> {
    let name = desk.name(&["handlers", text], text);
    let from = from(desk, text, file, sources);
    let events = events(desk, text, file);
    let shape = shape::shape(desk, text, file);
    let kind = kind(desk, text, file, databases);
    let timeout = file.timeout.map_or(TIMEOUT, |Text(span)| span);
    let timeout = desk.at_least(&["handlers", text, "timeout"], timeout, Duration::from_millis(1));
    let lease = file.lease.map_or(LEASE, |Text(span)| span);
    let lease = desk.at_least(&["handlers", text, "lease"], lease, LEASE_MIN);
    let lease = sql::lease(desk, text, kind.as_ref(), timeout, lease);
    let concurrency = file.concurrency.unwrap_or(CONCURRENCY);
    let concurrency = desk.within(&["handlers", text, "concurrency"], concurrency, 1..=1024);
    let mut retry = retry(desk, text, file.retry.as_ref());
    retry.on_unknown = control::on_unknown(desk, text, file, kind.as_ref());
    let control = control::control(desk, text, file, kind.as_ref());
    let lane = lane::lane(desk, text, file);
    let versions = version::versions(desk, text, file);
    Some(HandlerSettings {
        name: name?,
        from,
        events,
        shape,
        kind: kind?,
        timeout,
        concurrency,
        retry,
        lease,
        lane,
        versions,
        control,
    })
}

fn from(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileHandler,
    sources: &BTreeMap<String, FileSource>,
) -> Vec<Name> {
    let written = file.from.as_ref().map(|names| names.0.as_slice()).unwrap_or_default();
    if written.is_empty() && !desk.has_faults_under(&["handlers", text, "from"]) {
        desk.fault(
            &["handlers", text],
            format!(
                "`{text}` says no `from`: name the source, or a list of sources, that it handles"
            ),
        );
    }
    let mut from = Vec::new();
    for (at, source) in written.iter().enumerate() {
        let at = at.to_string();
        let path = ["handlers", text, "from", at.as_str()];
        if !sources.contains_key(source) {
            let near = did_you_mean(source, sources.keys().map(String::as_str));
            desk.fault(&path, format!("there is no source `{source}`{near}"));
        } else if let Ok(name) = Name::new(source)
            && !from.contains(&name)
        {
            from.push(name);
        }
    }
    from
}

fn events(desk: &mut Desk<'_>, text: &str, file: &FileHandler) -> Vec<Pattern> {
    let every = ["*".to_owned()];
    let written = file.events.as_ref().map_or(every.as_slice(), |names| names.0.as_slice());
    if written.is_empty() {
        desk.fault(
            &["handlers", text, "events"],
            "`events` is empty, so no event would match; leave it out to match all",
        );
    }
    let mut patterns = Vec::new();
    for (at, pattern) in written.iter().enumerate() {
        match Pattern::new(pattern) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => {
                desk.fault(&["handlers", text, "events", &at.to_string()], why.to_string());
            }
        }
    }
    patterns
}

fn kind(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileHandler,
    databases: &Databases,
) -> Option<Kind> {
    let table = ["handlers", text];
    let written: Vec<&str> = ["http", "exec", "log", "sql", "amqp", "kafka", "nats", "redis"]
        .into_iter()
        .filter(|kind| desk.is_written(&["handlers", text, kind]))
        .collect();
    if written.len() > 1 {
        let all = written.join(", ");
        desk.fault(&table, format!("`{text}` has {all}: a handler does one thing; make two of it"));
    }
    if file.dead_on.is_some() && file.http.is_none() {
        desk.fault(
            &["handlers", text, "dead_on"],
            "`dead_on` lists HTTP statuses: only for `http`",
        );
    }
    if let Some(http) = &file.http {
        let dead_on = dead_on(desk, text, file);
        return http_kind(desk, text, http, dead_on);
    }
    if let Some(exec) = &file.exec {
        return exec_kind(desk, text, exec);
    }
    if let Some(sql) = &file.sql {
        return sql::kind(desk, text, sql, databases);
    }
    if let Some(written) = &file.amqp {
        return amqp::kind(desk, text, written);
    }
    if let Some(written) = &file.kafka {
        return kafka::kind(desk, text, file, written);
    }
    if let Some(written) = &file.nats {
        return nats::kind(desk, text, written);
    }
    if let Some(written) = &file.redis {
        return redis::kind(desk, text, written);
    }
    if file.log.is_some() {
        return Some(Kind::Log);
    }
    // A kind that can't be read was reported where it stands.
    if written.is_empty() {
        desk.fault(
            &table,
            format!(
                "`{text}` says not what to do: add `http = {{ url = \"…\" }}`, `exec = {{ command = [\"…\"] }}`, `sql = {{ statements = [\"…\"] }}` or `log = {{}}`"
            ),
        );
    }
    None
}

fn dead_on(desk: &mut Desk<'_>, text: &str, file: &FileHandler) -> Vec<u16> {
    let Some(written) = &file.dead_on else { return DEAD_ON.to_vec() };
    for (at, status) in written.iter().enumerate() {
        if !(300..600).contains(status) {
            desk.fault(
                &["handlers", text, "dead_on", &at.to_string()],
                format!("{status} is not the HTTP status of a failure (300 to 599)"),
            );
        }
    }
    written.clone()
}

fn http_kind(desk: &mut Desk<'_>, text: &str, file: &FileHttp, dead_on: Vec<u16>) -> Option<Kind> {
    let Some(Text(url)) = &file.url else {
        if !desk.has_faults_under(&["handlers", text, "http"]) {
            desk.fault(
                &["handlers", text, "http"],
                "`url` is missing: where are the events to go?",
            );
        }
        return None;
    };
    let mut headers = Vec::new();
    for (name, value) in &file.headers {
        let path = ["handlers", text, "http", "headers", name.as_str()];
        let lower = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            desk.fault(&path, format!("`{}` is not a header's name", name.escape_debug()));
        } else if OWN_HEADERS.contains(&lower.as_str())
            || lower.starts_with("webhook-")
            || lower.starts_with("hookonce-")
        {
            desk.fault(&path, format!("`{name}` is set by hookonce itself: remove it"));
        }
        let Some(value) = desk.text(&path, value) else { continue };
        if value.expose().bytes().any(|b| b != b'\t' && !(b' '..0x7f).contains(&b)) {
            desk.fault(
                &path,
                format!("the value of `{name}` has characters that no header can hold"),
            );
        }
        headers.push((name.clone(), value));
    }
    let sign =
        file.sign.as_ref().and_then(|sign| desk.token(&["handlers", text, "http", "sign"], sign));
    Some(Kind::Http(HttpSettings {
        url: url.clone(),
        headers,
        sign,
        deny_private: file.deny_private,
        dead_on,
    }))
}

fn exec_kind(desk: &mut Desk<'_>, text: &str, file: &FileExec) -> Option<Kind> {
    let path = ["handlers", text, "exec", "command"];
    let written = file.command.as_deref().unwrap_or_default();
    let Some((program, arguments)) = written.split_first() else {
        if !desk.has_faults_under(&["handlers", text, "exec"]) {
            desk.fault(&path, "`command` is missing: name the program, then its arguments");
        }
        return None;
    };
    if program.is_empty() || written.iter().any(|part| part.contains('\0')) {
        desk.fault(&path, "`command` begins with the program and holds no NUL");
    }
    for (at, name) in file.env.iter().enumerate() {
        if name.is_empty() || name.contains(['=', '\0']) || name.starts_with("HOOKONCE_") {
            desk.fault(
                &["handlers", text, "exec", "env", &at.to_string()],
                format!(
                    "`{}` can't be passed on: write the name of a variable, not HOOKONCE_…",
                    name.escape_debug()
                ),
            );
        }
    }
    // As everywhere in the file, a relative path lies beside it; a bare name is looked up in PATH.
    let program = if program.contains('/') && Path::new(program).is_relative() {
        desk.dir.join(program).to_string_lossy().into_owned()
    } else {
        program.clone()
    };
    let command = std::iter::once(program).chain(arguments.iter().cloned()).collect();
    Some(Kind::Exec(ExecSettings { command, env: file.env.clone() }))
}

fn retry(desk: &mut Desk<'_>, text: &str, file: Option<&FileRetry>) -> RetryPolicy {
    let usual = RetryPolicy::default();
    let Some(file) = file else { return usual };
    let path = ["handlers", text, "retry"];
    let backoff = file.backoff.as_ref().map(|Waits(backoff)| backoff.clone());
    let limit = match (file.r#for, file.attempts) {
        (Some(_), Some(_)) => {
            desk.fault(&path, "`for` and `attempts` both say when to give up: choose one");
            usual.limit
        }
        (Some(Text(span)), None) => Limit::For(span),
        (None, Some(0)) => {
            desk.fault(&path, "`attempts` must be at least 1: the first try counts");
            usual.limit
        }
        (None, Some(attempts)) => Limit::Attempts(attempts),
        // A list of waits says by its length how often to try.
        (None, None) => match &backoff {
            Some(Backoff::List(waits)) => {
                Limit::Attempts(u32::try_from(waits.len()).unwrap_or(u32::MAX).saturating_add(1))
            }
            _ => usual.limit,
        },
    };
    RetryPolicy { limit, backoff: backoff.unwrap_or(usual.backoff), on_unknown: usual.on_unknown }
}
