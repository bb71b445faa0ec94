//! `hookonce idempotency`: keys as they stand, and giving one back.

use std::ffi::OsString;

use clap::{Args, CommandFactory, Subcommand};

use super::access::Access;
use super::output::{Grid, plain};
use super::{Cli, Failure, Global, Output, moment, unbuilt};
use crate::http::admin::shape::IdempotencyKeyItem;
use crate::store::idempotency::KeyFilter;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Keys, by scope and key.
    List(ListArgs),
    /// One key and its answer, without the answer's body.
    Show(ShowArgs),
    /// Give a key back, so that its next request runs: look first whether the old one had its effect.
    Release(ReleaseArgs),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only of this scope, such as payments:*
    #[arg(long)]
    scope: Option<String>,
    /// Only this key
    #[arg(long)]
    key: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = ["processing", "completed", "failed", "uncertain"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The client's key
    key: String,
    /// Whose, when several have it
    #[arg(long)]
    scope: Option<String>,
    /// Show the answer's body, too
    #[arg(long)]
    body: bool,
}

#[derive(Args)]
pub(super) struct ReleaseArgs {
    /// The client's key
    key: String,
    /// Whose, when several have it
    #[arg(long)]
    scope: Option<String>,
    /// Only say what would be released
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Verb::Other(words) = &verb {
        return Err(unbuilt::verb(&["idempotency"], words, &Cli::command()));
    }
    let access = Access::open(global).await?;
    let result = match verb {
        Verb::List(args) => list(args, &access, output).await,
        Verb::Show(args) => {
            let found = one(&access, &args.key, args.scope, args.body).await;
            found.and_then(|found| output.one(&found, text))
        }
        Verb::Release(args) => release(args, &access, global, output).await,
        Verb::Other(_) => Ok(()),
    };
    access.close().await;
    result
}

async fn list(args: ListArgs, access: &Access, output: &Output) -> Result<(), Failure> {
    let filter = KeyFilter {
        scope: args.scope,
        key: args.key,
        status: args.status,
        with_bodies: false,
        cursor: args.cursor,
        limit: Some(args.limit),
    };
    let page = access.keys(&filter).await?;
    output.list(&page.items, page.next_cursor.as_deref(), |keys| {
        let mut grid =
            Grid::new(["SCOPE", "KEY", "STATUS", "RUNS", "ANSWER", "CREATED", "EXPIRES", "WHY"]);
        for it in keys {
            grid.row([
                // Enough to tell principals apart; `-o json` has the whole.
                it.scope.split_once(':').map_or(it.scope.clone(), |(gateway, hash)| {
                    format!("{gateway}:{}", hash.chars().take(12).collect::<String>())
                }),
                plain(&it.key),
                it.status.clone(),
                it.attempts.to_string(),
                it.response_status.map(|status| status.to_string()).unwrap_or_default(),
                moment::show(it.created_at),
                moment::show(it.expires_at),
                it.failure.as_deref().map(plain).unwrap_or_default().chars().take(60).collect(),
            ]);
        }
        grid
    })
}

/// The one key that is meant. A scope may be given by its beginning.
async fn one(
    access: &Access,
    key: &str,
    scope: Option<String>,
    with_bodies: bool,
) -> Result<IdempotencyKeyItem, Failure> {
    let scope = scope.map(|scope| format!("{}*", scope.trim_end_matches('*')));
    let filter = KeyFilter {
        scope,
        key: Some(key.to_owned()),
        with_bodies,
        limit: Some(2),
        ..KeyFilter::default()
    };
    let mut found = access.keys(&filter).await?.items;
    if found.len() > 1 {
        let scopes: Vec<String> = found.into_iter().map(|it| it.scope).collect();
        return Err(Failure::Failed(format!(
            "several principals have the key `{}`: say --scope, such as {}",
            plain(key),
            scopes.join(" or ")
        )));
    }
    found.pop().ok_or_else(|| Failure::NotFound(format!("there is no key `{}`", plain(key))))
}

async fn release(
    args: ReleaseArgs,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let found = one(access, &args.key, args.scope, false).await?;
    if args.dry_run {
        return output.one(&found, text);
    }
    if !global.yes() {
        let question = format!(
            "release the key {} of {}, which is {}? Its next request will run",
            plain(&found.key),
            found.scope,
            found.status
        );
        output.insist(&question, false)?;
    }
    access.release_key(&found).await?;
    output.one(&one(access, &found.key, Some(found.scope), false).await?, text)
}

fn text(it: &IdempotencyKeyItem) -> String {
    let mut grid = Grid::new(["", ""]);
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("scope", it.scope.clone());
    pair("key", plain(&it.key));
    pair("status", it.status.clone());
    pair("runs", it.attempts.to_string());
    pair("created", moment::show(it.created_at));
    pair("expires", moment::show(it.expires_at));
    pair("request", it.request_hash.clone());
    for (name, at) in [("leased until", it.lease_until), ("completed", it.completed_at)] {
        if let Some(at) = at {
            pair(name, moment::show(at));
        }
    }
    if let Some(point) = &it.recovery_point {
        pair("reached", plain(point));
    }
    if let Some(status) = it.response_status {
        pair("answer", status.to_string());
    }
    if let Some(why) = &it.failure {
        pair("why", plain(why));
    }
    let mut text = grid.text();
    for (name, value) in &it.response_headers {
        text += &format!("\n{}: {}", plain(name), plain(value));
    }
    if let Some(body) = &it.response_body {
        text += &format!("\n\n{}", body.lines().map(plain).collect::<Vec<_>>().join("\n"));
    }
    text
}
