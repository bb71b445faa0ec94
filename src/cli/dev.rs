//! Dev mode: a daemon that needs no config, and a line for everything that flows through it.

use std::fmt;
use std::path::Path;

use chrono::Local;
use owo_colors::{OwoColorize, Stream};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt as log;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::output::{self, plain};
use super::{Failure, Global, Output, serve};
use crate::config::Environment;
use crate::config::dev::{self, Dev};

/// Where requests and calls are told.
const FLOW: &str = "hookonce::flow";

pub(super) async fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let dev = dev::load(Path::new(""), &Environment::of_process())?;
    start_log(global, output)?;
    let banner = banner(&dev);
    let app = serve::build(global.isolated(dev.config))?;
    output.line(&banner)?;
    serve::until_signalled(|shutdown| app.run(shutdown)).await
}

fn start_log(global: &Global, output: &Output) -> Result<(), Failure> {
    // The lines of what flows say what matters here; the log only adds what goes wrong.
    let level = match global.verbosity() {
        0 => "warn,actix_http=off",
        1 => "info,sqlx=warn,sea_orm_migration=warn",
        _ => "debug",
    };
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|why| Failure::Failed(format!("the log: {why}")))?;
    tracing_subscriber::registry()
        .with(FlowLines { output: output.clone() }.with_filter(filter_fn(|it| it.target() == FLOW)))
        .with(log::layer().with_target(false).with_writer(output::talk).with_filter(filter))
        .try_init()
        .map_err(|why| Failure::Failed(format!("the log: {why}")))
}

fn banner(dev: &Dev) -> String {
    let config = &dev.config;
    let version = env!("CARGO_PKG_VERSION");
    let version = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    let mut text = format!(
        "  hookonce {version} · dev mode: no hookonce.toml found, data in ./{} (delete it any time)\n",
        dev::DIR
    );
    let urls: Vec<(String, &str)> = dev
        .secrets
        .iter()
        .filter_map(|(name, secret)| {
            let source = config.sources.iter().find(|source| source.name.as_str() == *name)?;
            Some((format!("http://{}{}", config.server.listen, source.path), secret.expose()))
        })
        .collect();
    let width = urls.iter().map(|(url, _)| url.len()).max().unwrap_or(0);
    for (n, (url, secret)) in urls.iter().enumerate() {
        let word = if n == 0 { "webhooks" } else { "" };
        text += &format!("  {word:<8}  {url:<width$}  secret {secret}\n");
    }
    text += &format!("  admin     http://{}\n", config.admin.listen);
    text + "  try       hookonce send stripe invoice.paid"
}

/// Prints a line for each request that came in and each call that went out.
struct FlowLines {
    output: Output,
}

impl<S: Subscriber> Layer<S> for FlowLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut flow = Flow::default();
        event.record(&mut flow);
        let line = flow.line(&Local::now().format("%H:%M:%S").to_string());
        // Whoever closed our standard output doesn't want to know; the daemon goes on.
        drop(self.output.line(&line));
    }
}

/// What is told about one request or call.
#[derive(Debug, Default)]
struct Flow {
    outgoing: bool,
    source: String,
    kind: String,
    event_id: String,
    bytes: Option<u64>,
    events: u64,
    status: String,
    handler: String,
    outcome: String,
    ms: f64,
}

impl Visit for Flow {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A value that was given with `%` comes here; its Debug is its Display.
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "flow" | "flow.kind" => self.outgoing = value == "out",
            "source" => self.source = value.to_owned(),
            "type" | "r#type" => self.kind = value.to_owned(),
            "event_id" => self.event_id = value.to_owned(),
            "status" => self.status = value.to_owned(),
            "handler" => self.handler = value.to_owned(),
            "outcome" => self.outcome = value.to_owned(),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "bytes" => self.bytes = Some(value),
            "events" => self.events = value,
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.record_u64(field, value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "ms" {
            self.ms = value;
        }
    }
}

impl Flow {
    fn line(&self, time: &str) -> String {
        let out = Stream::Stdout;
        let (mark, who, said) = if self.outgoing {
            let delivered = self.outcome == "delivered";
            let said = if delivered { String::new() } else { self.outcome.clone() };
            let mark = if delivered {
                "✓".if_supports_color(out, |mark| mark.green()).to_string()
            } else if self.outcome == "skipped" {
                "·".to_owned()
            } else {
                "✗".if_supports_color(out, |mark| mark.red()).to_string()
            };
            (mark, &self.handler, said)
        } else {
            match self.status.as_str() {
                "accepted" => ("→".to_owned(), &self.source, self.status.clone()),
                "duplicate" => ("=".to_owned(), &self.source, "duplicate, answered 200".to_owned()),
                "empty" => ("~".to_owned(), &self.source, "empty, answered".to_owned()),
                "handshake" => ("~".to_owned(), &self.source, "handshake, answered".to_owned()),
                code => {
                    let mark = "✗".if_supports_color(out, |mark| mark.red()).to_string();
                    (mark, &self.source, code.to_owned())
                }
            }
        };
        let size = match (self.status.as_str(), self.bytes) {
            ("duplicate", _) | (_, None) => String::new(),
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            (_, Some(bytes)) if bytes >= 1000 => format!("{:.1} KB", bytes as f64 / 1000.0),
            (_, Some(bytes)) => format!("{bytes} B"),
        };
        let took =
            if self.status == "duplicate" { String::new() } else { format!("{:.1} ms", self.ms) };
        let mut id = plain(&self.event_id);
        if self.events > 1 {
            id = format!("{id} and {} more", self.events - 1);
        }
        let line = format!(
            "{time}  {mark}  {:<8}  {:<28}  {id:<30}  {size:>8}  {said:<10} {took:>8}",
            plain(who),
            plain(&self.kind),
        );
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            source: "stripe".into(),
            kind: "invoice.paid".into(),
            event_id: "evt_1".into(),
            bytes: Some(2100),
            status: "accepted".into(),
            ms: 1.82,
            ..Flow::default()
        }
    }

    #[test]
    fn a_line_says_who_what_and_how() {
        owo_colors::set_override(false);
        let words = |flow: Flow| -> Vec<String> {
            flow.line("12:04:31").split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(
            words(flow()),
            [
                "12:04:31",
                "→",
                "stripe",
                "invoice.paid",
                "evt_1",
                "2.1",
                "KB",
                "accepted",
                "1.8",
                "ms"
            ]
        );
        assert_eq!(
            words(Flow { status: "duplicate".into(), ..flow() }),
            ["12:04:31", "=", "stripe", "invoice.paid", "evt_1", "duplicate,", "answered", "200"]
        );
        let call = Flow {
            outgoing: true,
            handler: "log".into(),
            outcome: "delivered".into(),
            bytes: None,
            status: String::new(),
            ..flow()
        };
        assert_eq!(words(call), ["12:04:31", "✓", "log", "invoice.paid", "evt_1", "1.8", "ms"]);
        owo_colors::unset_override();
    }
}
