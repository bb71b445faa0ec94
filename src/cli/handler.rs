//! `hookonce handler`: where events go, and what would be sent.

use std::ffi::OsString;

use clap::{CommandFactory, Subcommand};

use super::access::Access;
use super::output::{Grid, plain};
use super::{Cli, Failure, Global, Output, moment, unbuilt};
use crate::http::admin::shape::{HandlerItem, HandlerTest, PauseDone, PausedItem};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Every handler.
    List,
    /// One handler with its settings.
    Show {
        /// Its name
        name: String,
    },
    /// Call it no more, on any replica, until it is resumed. Calls that run go on; events are recorded as ever.
    Pause {
        #[command(flatten)]
        which: Which,
        /// Why, for whoever finds it paused
        #[arg(long)]
        reason: Option<String>,
    },
    /// Call it again, whatever paused it.
    Resume {
        #[command(flatten)]
        which: Which,
    },
    /// What it would do with an event: match, `when`, `transform`, and what would be sent. Sends nothing.
    Test {
        /// Its name
        name: String,
        /// A recorded event: our id or the provider's
        #[arg(long, value_name = "ID")]
        event: String,
    },
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Handlers by name, or all of them.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Their names
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// Every handler
    #[arg(long)]
    all: bool,
}

impl Which {
    async fn names(self, access: &Access) -> Result<Vec<String>, Failure> {
        if !self.all {
            // All of them are there, or nothing is done.
            for name in &self.names {
                access.handler(name).await?;
            }
            return Ok(self.names);
        }
        Ok(access.handlers().await?.items.into_iter().map(|it| it.name).collect())
    }
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Verb::Other(words) = &verb {
        return Err(unbuilt::verb(&["handler"], words, &Cli::command()));
    }
    let access = Access::open(global).await?;
    let result = act(verb, &access, output).await;
    access.close().await;
    result
}

async fn act(verb: Verb, access: &Access, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::List => output.list(&access.handlers().await?.items, None, grid),
        Verb::Show { name } => output.one(&access.handler(&name).await?, text),
        Verb::Test { name, event } => {
            let tested = access.test_handler(&name, &event).await?;
            output.one(&tested, tested_text)?;
            match tested.error {
                None => Ok(()),
                Some(_) => Err(Failure::Failed(format!("{name} can't handle this event"))),
            }
        }
        Verb::Pause { which, reason } => {
            let mut done = Vec::new();
            for name in which.names(access).await? {
                match access.pause(&name, reason.clone()).await {
                    Ok(paused) => done.push(paused),
                    Err(failure) => return told(&done, failure, output),
                }
            }
            output.list(&done, None, pauses)
        }
        Verb::Resume { which } => {
            let mut done = Vec::new();
            for name in which.names(access).await? {
                match access.resume(&name).await {
                    Ok(resumed) => done.push(resumed),
                    Err(failure) => return told(&done, failure, output),
                }
            }
            output.list(&done, None, pauses)
        }
        Verb::Other(_) => Ok(()),
    }
}

/// What was done must be known before the failure is.
fn told(done: &[PauseDone], failure: Failure, output: &Output) -> Result<(), Failure> {
    output.list(done, None, pauses)?;
    Err(failure)
}

fn pauses(done: &[PauseDone]) -> Grid {
    let mut grid = Grid::new(["HANDLER", "NOW", "CHANGED"]);
    for it in done {
        let changed = if it.changed { "yes" } else { "no: it was so already" };
        grid.row([it.handler.clone(), standing(it.paused.as_ref()), changed.to_owned()]);
    }
    grid
}

/// Whether it runs, and if not, why.
fn standing(paused: Option<&PausedItem>) -> String {
    let Some(it) = paused else { return "runs".to_owned() };
    let until = match it.tries_again_in_seconds {
        Some(secs) => format!(", tries again in {secs:.0}s"),
        None => String::new(),
    };
    let since = moment::show(it.since);
    format!("paused by {} since {since}{until}: {}", it.by, it.reason)
}

fn grid(handlers: &[HandlerItem]) -> Grid {
    let mut grid = Grid::new(["NAME", "KIND", "FROM", "EVENTS", "NOW"]);
    for it in handlers {
        let (from, events) = (it.from.join(", "), it.events.join(", "));
        let now = it.paused.as_ref().map_or("runs", |_| "paused");
        grid.row([it.name.clone(), it.kind.clone(), from, events, now.to_owned()]);
    }
    grid
}

fn text(it: &HandlerItem) -> String {
    let mut grid = Grid::default();
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("name", it.name.clone());
    pair("kind", it.kind.clone());
    pair("from", it.from.join(", "));
    pair("events", it.events.join(", "));
    pair("now", standing(it.paused.as_ref()));
    let settings = it.settings.iter().filter_map(|it| it.as_object()).flatten();
    for (key, value) in settings.filter(|(key, _)| !matches!(key.as_str(), "from" | "events")) {
        let shown = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        pair(key, plain(&shown));
    }
    grid.text()
}

fn tested_text(it: &HandlerTest) -> String {
    let mut grid = Grid::default();
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("handler", it.handler.clone());
    pair("event", it.event.to_string());
    match &it.unmatched {
        None => pair("matches", "yes".to_owned()),
        Some(why) => pair("matches", format!("no: {}", plain(why))),
    }
    if let Some(when) = it.when {
        pair("when", if when { "true".to_owned() } else { "false: skipped".to_owned() });
    }
    if let Some(why) = &it.error {
        pair("error", plain(why));
    }
    if let (Some(method), Some(url)) = (&it.method, &it.url) {
        pair("sends", format!("{method} {}", plain(url)));
    }
    if !it.command.is_empty() {
        pair("runs", plain(&it.command.join(" ")));
    }
    let mut text = grid.text();
    if !it.headers.is_empty() {
        text += if it.command.is_empty() { "\n\nheaders\n" } else { "\n\nenvironment\n" };
        for (name, value) in &it.headers {
            text += &format!("  {}: {}\n", plain(name), plain(value));
        }
    }
    match (&it.body, it.size) {
        (Some(body), _) => text += &format!("\nbody ({} bytes)\n{}\n", body.len(), plain(body)),
        (None, Some(size)) => text += &format!("\nbody: {size} bytes that are no text\n"),
        (None, None) => {}
    }
    text
}
