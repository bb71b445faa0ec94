//! `hookonce handler`: where events go, and what would be sent.

use std::ffi::OsString;

use clap::{CommandFactory, Subcommand};

use super::access::Access;
use super::output::{Grid, plain};
use super::{Cli, Failure, Global, Output, unbuilt};
use crate::http::admin::shape::{HandlerItem, HandlerTest};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Every handler.
    List,
    /// One handler with its settings.
    Show {
        /// Its name
        name: String,
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
        Verb::Other(_) => Ok(()),
    }
}

fn grid(handlers: &[HandlerItem]) -> Grid {
    let mut grid = Grid::new(["NAME", "KIND", "FROM", "EVENTS"]);
    for it in handlers {
        grid.row([it.name.clone(), it.kind.clone(), it.from.join(", "), it.events.join(", ")]);
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
