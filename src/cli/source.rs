//! `hookonce source`: where webhooks come in, and the secrets that handshakes handed over.

use std::ffi::OsString;

use clap::{CommandFactory, Subcommand};

use super::access::Access;
use super::moment;
use super::output::{Grid, plain};
use super::{Cli, Failure, Global, Output, unbuilt};
use crate::http::admin::shape::SourceItem;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Every source, with its state and the URL to give to the provider.
    List,
    /// One source.
    Show {
        /// Its name
        name: String,
        /// Show the secret that a handshake handed over, for the provider's own form
        #[arg(long)]
        reveal: bool,
    },
    /// Forget the secret that a handshake handed over, and wait for another one.
    Reopen {
        /// The source's name
        name: String,
    },
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Verb::Other(words) = &verb {
        return Err(unbuilt::verb(&["source"], words, &Cli::command()));
    }
    let access = Access::open(global).await?;
    let result = act(verb, &access, global, output).await;
    access.close().await;
    result
}

async fn act(verb: Verb, access: &Access, global: &Global, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::List => output.list(&access.sources().await?.items, None, grid),
        Verb::Show { name, reveal } => output.one(&access.source(&name, reveal).await?, text),
        Verb::Reopen { name } => {
            let question = format!(
                "forget the secret of {name}? Until another handshake, everything it is sent is refused"
            );
            output.insist(&question, global.yes())?;
            output.one(&access.reopen(&name).await?, text)
        }
        Verb::Other(_) => Ok(()),
    }
}

fn grid(sources: &[SourceItem]) -> Grid {
    let mut grid = Grid::new(["NAME", "STATE", "PROVIDER", "INTEGRITY", "URL"]);
    for it in sources {
        grid.row([
            it.name.clone(),
            it.state.clone(),
            it.provider.clone().unwrap_or_default(),
            it.integrity.clone(),
            it.url.clone().unwrap_or_else(|| it.path.clone()),
        ]);
    }
    grid
}

fn text(it: &SourceItem) -> String {
    let mut grid = Grid::default();
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("name", it.name.clone());
    pair("state", it.state.clone());
    pair("provider", it.provider.clone().unwrap_or_default());
    pair("integrity", it.integrity.clone());
    pair("path", it.path.clone());
    pair("url", it.url.clone().unwrap_or_default());
    if let Some(respond) = &it.respond {
        let within = plain(&respond.deadline);
        pair("respond", format!("{}, within {within}", plain(&respond.handler)));
    }
    if let Some(at) = it.captured_at {
        pair("captured", moment::show(at));
    }
    if let Some(secret) = &it.captured_secret {
        pair("secret", plain(secret));
    }
    grid.text()
}
