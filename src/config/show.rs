//! The effective config as a table, for people: every value that is used, no secret.

use std::time::Duration;

use toml::{Table, Value};

use super::Config;
use crate::handler::version::OnStale;
use crate::handler::{HandlerSettings, Kind};
use crate::retry::{Backoff, Limit, RetryPolicy};
use crate::secret::Secret;
use crate::source::{OnIdConflict, OnReplay, SourceSettings};
use crate::store::Migrate;

mod control;
mod gateway;

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

/// The effective config as a table in the shape of the file.
#[must_use]
pub fn table(config: &Config) -> Table {
    let mut all = Table::new();
    all.insert("server".into(), server(config).into());
    all.insert("admin".into(), admin(config).into());
    all.insert("database".into(), database(config).into());
    all.insert("cleanup".into(), cleanup(config).into());
    let kept = config.retention;
    all.insert(
        "retention".into(),
        table_of([
            ("keys", span(kept.keys)),
            ("bodies", span(kept.bodies)),
            ("dead", span(kept.dead)),
            ("rejections", span(kept.rejections)),
        ])
        .into(),
    );
    let sources: Table =
        config.sources.iter().map(|it| (it.name.to_string(), source(it).into())).collect();
    all.insert("sources".into(), sources.into());
    let handlers: Table =
        config.handlers.iter().map(|it| (it.name.to_string(), handler(it).into())).collect();
    all.insert("handlers".into(), handlers.into());
    let url = |url: &Secret| table_of([("url", without_password(url.expose()).into())]);
    let databases: Table =
        config.databases.iter().map(|it| (it.name.to_string(), url(&it.url).into())).collect();
    if !databases.is_empty() {
        all.insert("databases".into(), databases.into());
    }
    let gateways: Table =
        config.gateways.iter().map(|it| (it.name.to_string(), gateway::table(it).into())).collect();
    all.insert("gateways".into(), gateways.into());
    let log = Value::from(config.telemetry.log.as_str());
    all.insert("telemetry".into(), table_of([("log", log)]).into());
    all
}

fn table_of<const N: usize>(pairs: [(&str, Value); N]) -> Table {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn span(span: Duration) -> Value {
    humantime::format_duration(span).to_string().into()
}

fn size(bytes: usize) -> Value {
    bytesize::ByteSize::b(bytes as u64).display().iec().to_string().into()
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Value {
    Value::Array(values.into_iter().map(|value| value.to_string().into()).collect())
}

fn hidden<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Value {
    texts(secrets.into_iter().map(|_| HIDDEN))
}

fn server(config: &Config) -> Table {
    let it = &config.server;
    table_of([
        ("listen", it.listen.to_string().into()),
        ("trusted_proxies", texts(&it.trusted_proxies)),
        ("max_inflight", size(it.max_inflight)),
        ("body_timeout", span(it.body_timeout)),
        ("ack_deadline", span(it.ack_deadline)),
        ("drain", span(it.drain)),
        ("grace", span(it.grace)),
    ])
}

fn admin(config: &Config) -> Table {
    let it = &config.admin;
    let mut table =
        table_of([("listen", it.listen.to_string().into()), ("hosts", texts(&it.hosts))]);
    if it.token.is_some() {
        table.insert("token".into(), HIDDEN.into());
    }
    table
}

fn database(config: &Config) -> Table {
    let it = &config.store;
    let migrate = match it.migrate {
        Migrate::Auto => "auto",
        Migrate::Check => "check",
        Migrate::Off => "off",
    };
    table_of([
        ("url", without_password(&it.url).into()),
        ("migrate", migrate.into()),
        ("connections", i64::from(it.connections).into()),
        ("statement_timeout", span(it.statement_timeout)),
        ("partition_bodies", it.partition_bodies.into()),
    ])
}

/// A URL as it may be shown: without its password, which may stand in two places.
#[must_use]
pub fn without_password(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return HIDDEN.to_owned() };
    if url.scheme() == "sqlite" {
        return text.to_owned();
    }
    if url.password().is_some() && url.set_password(Some("hidden")).is_err() {
        return HIDDEN.to_owned();
    }
    if url.query().is_some_and(|query| query.contains("password")) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let value = if key.contains("password") { "hidden".into() } else { value };
                (key.into_owned(), value.into_owned())
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.into()
}

/// A handler's URL as it may be shown: its query often holds a key.
fn without_query(url: &url::Url) -> String {
    let mut shown = url.clone();
    if shown.query().is_some() {
        shown.set_query(Some("hidden"));
    }
    without_password(shown.as_str())
}

fn cleanup(config: &Config) -> Table {
    let it = &config.cleanup;
    let mut table = table_of([
        ("schedule", it.schedule.as_str().into()),
        ("batch", i64::from(it.batch).into()),
        ("pause", span(it.pause)),
        ("max_run", span(it.max_run)),
    ]);
    if let Some((from, to)) = it.window {
        let window = format!("{}-{}", from.format("%H:%M"), to.format("%H:%M"));
        table.insert("window".into(), window.into());
    }
    table
}

fn source(it: &SourceSettings) -> Table {
    // The vocabulary's own words: the preset with the operator's over it.
    let mut table = match Value::try_from(&it.spec) {
        Ok(Value::Table(table)) => table,
        _ => Table::new(),
    };
    let conflict = match it.on_id_conflict {
        OnIdConflict::Flag => "flag",
        OnIdConflict::Reject => "reject",
    };
    let replay = it.on_replay.map(|on_replay| match on_replay {
        OnReplay::Flag => "flag".to_owned(),
        OnReplay::Reject => "reject".to_owned(),
    });
    let group = it.dedupe_group.as_ref().unwrap_or(&it.name);
    table.extend(table_of([
        ("path", it.path.as_str().into()),
        ("secrets", hidden(&it.secrets)),
        ("max_body", size(it.max_body)),
        ("on_id_conflict", conflict.into()),
        ("conflict_ignore", texts(&it.conflict_ignore)),
        ("dedupe_group", group.as_str().into()),
        ("allow_ips", texts(&it.allow_ips)),
    ]));
    let optional = [
        ("provider", it.provider.clone()),
        ("on_replay", replay),
        ("tolerance", it.tolerance.map(|it| humantime::format_duration(it).to_string())),
        ("rate_limit", it.rate_limit.map(|it| format!("{it}/s"))),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            table.insert(key.into(), value.into());
        }
    }
    if let Some(respond) = &it.respond {
        let handler = respond.handler.as_str().into();
        let inner = table_of([("handler", handler), ("deadline", span(respond.deadline))]);
        table.insert("respond".into(), inner.into());
    }
    table
}

/// A handler's table.
pub(crate) fn handler(it: &HandlerSettings) -> Table {
    let mut table = table_of([
        ("from", texts(&it.from)),
        ("events", texts(it.events.iter().map(|pattern| pattern.as_str()))),
        ("timeout", span(it.timeout)),
        ("concurrency", i64::from(it.concurrency).into()),
        ("retry", retry(&it.retry).into()),
        ("lease", span(it.lease)),
    ]);
    if let Some(shape) = &it.shape {
        let written = shape.settings();
        for (key, text) in [("when", &written.when), ("transform", &written.transform)] {
            if let Some(text) = text {
                table.insert(key.into(), text.as_str().into());
            }
        }
    }
    if let Some(lane) = &it.lane {
        table.insert("lane".into(), lane.place().into());
        table.insert("on_dead".into(), if lane.skip_dead { "skip" } else { "block" }.into());
    }
    if let Some(versions) = &it.versions {
        table.insert("version".into(), versions.place().into());
        let stale = match versions.on_stale {
            OnStale::Flag => "flag",
            OnStale::Skip => "skip",
        };
        table.insert("stale".into(), stale.into());
    }
    control::control(&mut table, it);
    match &it.kind {
        Kind::Http(http) => {
            let headers: Table =
                http.headers.iter().map(|(name, _)| (name.clone(), HIDDEN.into())).collect();
            let mut inner = table_of([
                ("url", without_query(&http.url).into()),
                ("headers", headers.into()),
                ("deny_private", http.deny_private.into()),
            ]);
            if http.sign.is_some() {
                inner.insert("sign".into(), HIDDEN.into());
            }
            table.insert("http".into(), inner.into());
            let statuses = http.dead_on.iter().map(|status| i64::from(*status).into()).collect();
            table.insert("dead_on".into(), Value::Array(statuses));
        }
        Kind::Exec(exec) => {
            let inner = table_of([("command", texts(&exec.command)), ("env", texts(&exec.env))]);
            table.insert("exec".into(), inner.into());
        }
        Kind::Sql(sql) => {
            let mut inner = table_of([("statements", texts(&sql.written))]);
            if let Some(database) = &sql.database {
                inner.insert("database".into(), database.as_str().into());
            }
            table.insert("sql".into(), inner.into());
        }
        Kind::Nats(nats) => {
            let inner = table_of([
                ("server", nats.servers.shown().into()),
                ("subject", nats.subject.as_str().into()),
            ]);
            table.insert("nats".into(), inner.into());
        }
        Kind::Amqp(amqp) => {
            let inner = table_of([
                ("server", amqp.server.shown().into()),
                ("exchange", amqp.exchange.as_str().into()),
                ("routing_key", amqp.routing_key.as_str().into()),
            ]);
            table.insert("amqp".into(), inner.into());
        }
        Kind::Kafka(kafka) => {
            let mut inner = table_of([
                ("server", kafka.servers.as_str().into()),
                ("topic", kafka.topic.as_str().into()),
            ]);
            if kafka.keyed {
                inner.insert("key".into(), "lane".into());
            }
            table.insert("kafka".into(), inner.into());
        }
        Kind::Redis(redis) => {
            let inner = table_of([
                ("server", redis.server.to_string().into()),
                ("stream", redis.stream.as_str().into()),
                ("max_len", i64::try_from(redis.max_len).unwrap_or(i64::MAX).into()),
                ("remember", span(redis.remember)),
            ]);
            table.insert("redis".into(), inner.into());
        }
        Kind::Log => {
            table.insert("log".into(), Table::new().into());
        }
    }
    table
}

fn retry(policy: &RetryPolicy) -> Table {
    let limit = match policy.limit {
        Limit::For(time) => ("for", span(time)),
        Limit::Attempts(count) => ("attempts", i64::from(count).into()),
    };
    let text = |time: Duration| humantime::format_duration(time).to_string().replace(' ', "");
    let backoff = match &policy.backoff {
        Backoff::Exponential { first, max } => format!("{}..{}", text(*first), text(*max)).into(),
        Backoff::List(waits) => texts(waits.iter().map(|wait| text(*wait))),
    };
    table_of([limit, ("backoff", backoff)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, want) in [
            ("postgres://u:p4ss@db/h", "postgres://u:hidden@db/h"),
            (
                "postgres://u@db/h?sslmode=require&password=p4ss",
                "postgres://u@db/h?sslmode=require&password=hidden",
            ),
            ("sqlite://hookonce.db", "sqlite://hookonce.db"),
            ("https://billing.internal/x", "https://billing.internal/x"),
            ("p4ss", "(hidden)"),
        ] {
            assert_eq!(without_password(url), want);
        }
    }

    #[test]
    fn the_query_of_a_handlers_url_is_never_shown() {
        for (url, want) in [
            ("https://u:p4ss@h.internal/x?k=s3cret", "https://u:hidden@h.internal/x?hidden"),
            ("https://h.internal/x", "https://h.internal/x"),
        ] {
            assert_eq!(without_query(&url.parse().expect("a URL")), want);
        }
    }
}
