//! The log: text on a terminal, JSON otherwise.
//!
//! `main` sets it up once for the process; a library must not, and an embedder has a subscriber of
//! its own. What senders write (ids, types, paths) only ever stands in fields, which both formats
//! escape, so that no request can forge a line.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is said about other crates unless the settings name them. The HTTP framework calls every
/// broken request an error, so anybody could fill the log; the database driver repeats what the
/// store says better. The client of RabbitMQ shows the body of a message that came back.
const QUIET: &str = "actix_http=off,actix_server=warn,sqlx=warn,sea_orm=warn,sea_orm_migration=warn,\
                     lapin=off,hyper=warn,h2=warn,reqwest=warn,rustls=warn,tokio_cron_scheduler=warn";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// A level such as `info`, or directives such as `info,hookonce::http=debug`.
    pub log: String,
    /// How lines look; by standard error being a terminal when `None`.
    pub format: Option<Format>,
    /// Colours, where lines are text; by standard error being a terminal when `None`.
    pub color: Option<bool>,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error(
        "telemetry.log: `{text}` is neither a level nor a list of directives such as `info,hookonce=debug`"
    )]
    Filter {
        /// What was written.
        text: String,
        /// Where it fails.
        #[source]
        source: ParseError,
    },
    /// Somebody was first.
    #[error("the process has a log already")]
    AlreadySet(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of this process on standard error: standard output is for data.
///
/// Also what other crates say through the `log` facade is heard. `RUST_LOG` is not read: the config
/// is the one place to look.
pub fn start(settings: &TelemetrySettings) -> Result<(), TelemetryError> {
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let color = settings.color.unwrap_or(terminal);
    subscriber(&settings.log, format, color, io::stderr)?
        .try_init()
        .map_err(TelemetryError::AlreadySet)
}

/// Whether [`start`] would accept this filter; for `check`.
pub fn check_filter(text: &str) -> Result<(), TelemetryError> {
    filter(text).map(drop)
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let text = text.trim();
    let directives = if text.is_empty() { "info" } else { text };
    // For one target the later directive wins, so the settings can make the quiet ones talk.
    EnvFilter::builder()
        .parse(format!("{QUIET},{directives}"))
        .map_err(|source| TelemetryError::Filter { text: text.to_owned(), source })
}

fn subscriber<W>(
    log: &str,
    format: Format,
    color: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter(log)?);
    Ok(match format {
        Format::Text => Box::new(
            registry.with(fmt::layer().with_ansi(color).with_target(false).with_writer(writer)),
        ),
        Format::Json => Box::new(
            registry.with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(writer),
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("a lock").clone()).expect("text")
        }
    }

    fn logged(log: &str, format: Format, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            subscriber(log, format, false, move || writer.clone()).expect("a subscriber");
        tracing::subscriber::with_default(subscriber, say);
        lines.text()
    }

    #[test]
    fn a_senders_value_can_not_forge_a_line() {
        let say = || {
            let id = "evt_1\n2026-11-23T12:00:00Z ERROR forged \u{1b}[31mred";
            tracing::info!(event.event_id = id, "recorded");
        };
        for format in [Format::Text, Format::Json] {
            let text = logged("info", format, say);
            assert_eq!(text.lines().count(), 1, "{format:?}: {text}");
            assert!(!text.contains('\u{1b}'), "{format:?}: {text}");
        }
    }

    #[test]
    fn json_lines_have_flat_dotted_fields() {
        let text = logged("info", Format::Json, || {
            tracing::info!(source.name = "stripe", body.bytes = 7, "recorded");
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(line["message"], "recorded");
        assert_eq!(line["source.name"], "stripe");
        assert_eq!(line["body.bytes"], 7);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_framework_is_quiet_unless_asked_for() {
        let say = || tracing::error!(target: "actix_http::h1::dispatcher", "stream error");
        assert_eq!(logged("debug", Format::Text, say), "");
        assert!(logged("info,actix_http=error", Format::Text, say).contains("stream error"));
        let flow = || tracing::debug!(target: "hookonce::flow", "in");
        assert_eq!(logged("info", Format::Text, flow), "");
        assert!(!logged("info,hookonce::flow=debug", Format::Text, flow).is_empty());
    }

    #[test]
    fn a_filter_that_can_not_be_read_says_where_it_stands() {
        let error = check_filter("info,hookonce=loud").expect_err("a bad filter");
        assert!(error.to_string().starts_with("telemetry.log: `info,hookonce=loud`"), "{error}");
        assert!(check_filter("").is_ok());
        assert!(check_filter("warn").is_ok());
    }
}
