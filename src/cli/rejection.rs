//! `hookonce rejection`: requests that were refused at the door.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory, Subcommand};
use uuid::Uuid;

use super::access::Access;
use super::moment;
use super::output::{Grid, plain};
use super::{Cli, Failure, Global, Output, unbuilt};
use crate::http::admin::shape::{ReadmitItem, ReadmitRequest, RejectionItem};
use crate::store::RejectionFilter;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Refused requests, newest first.
    List(ListArgs),
    /// Refused requests with headers and body.
    Show {
        /// The rejection's id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Uuid>,
    },
    /// Verify kept requests again with today's secrets, as of when they came, and record what passes.
    Readmit(ReadmitArgs),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only of this source
    #[arg(long)]
    source: Option<String>,
    /// Only with this code, such as signature_mismatch
    #[arg(long)]
    code: Option<String>,
    /// Kept since: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args)]
pub(super) struct ReadmitArgs {
    /// Only these
    #[arg(value_name = "ID")]
    ids: Vec<Uuid>,
    /// Only of this source
    #[arg(long)]
    source: Option<String>,
    /// Kept since: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// All that are kept
    #[arg(long)]
    all: bool,
    /// Only say what would pass
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Verb::Other(words) = &verb {
        return Err(unbuilt::verb(&["rejection"], words, &Cli::command()));
    }
    let access = Access::open(global).await?;
    let result = match verb {
        Verb::List(args) => list(args, &access, output).await,
        Verb::Show { ids } => show(&ids, &access, output).await,
        Verb::Readmit(args) => readmit(args, &access, output).await,
        Verb::Other(_) => Ok(()),
    };
    access.close().await;
    result
}

async fn list(args: ListArgs, access: &Access, output: &Output) -> Result<(), Failure> {
    let filter = RejectionFilter {
        source: args.source,
        code: args.code,
        id: None,
        since: args.since,
        cursor: args.cursor,
        limit: Some(args.limit),
    };
    let page = access.rejections(&filter).await?;
    output.list(&page.items, page.next_cursor.as_deref(), |rejections| {
        let mut grid =
            Grid::new(["ID", "RECEIVED", "SOURCE", "CODE", "CAUSE", "PEER", "SIZE", "DETAIL"]);
        for it in rejections {
            grid.row([
                it.id.to_string(),
                moment::show(it.received_at),
                it.source.clone(),
                it.code.clone(),
                it.diagnosis.as_ref().map_or(String::new(), |found| found.cause.clone()),
                it.peer.clone().unwrap_or_default(),
                it.size.to_string(),
                it.detail.chars().take(80).collect(),
            ]);
        }
        grid
    })
}

async fn show(ids: &[Uuid], access: &Access, output: &Output) -> Result<(), Failure> {
    for id in ids {
        output.one(&access.rejection(*id).await?, text)?;
    }
    Ok(())
}

fn text(it: &RejectionItem) -> String {
    let mut grid = Grid::default();
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("id", it.id.to_string());
    pair("source", it.source.clone());
    pair("code", it.code.clone());
    pair("detail", it.detail.clone());
    if let Some(found) = &it.diagnosis {
        let also = found.also.as_ref().map_or(String::new(), |also| format!(" and {also}"));
        pair("cause", format!("{}{also} (step: {})", found.cause, found.step));
        pair("", found.sentence.clone());
    }
    pair("received", moment::show(it.received_at));
    pair("peer", it.peer.clone().unwrap_or_default());
    pair("request", format!("{} {}", it.method, it.target));
    pair("size", format!("{} bytes", it.size));
    if let Some(event) = it.readmitted_as {
        pair("readmitted", event.to_string());
    }
    let mut text = grid.text() + "\n";
    for (name, value) in it.headers.iter().flatten() {
        text += &format!("\n{}: {}", plain(name), plain(value));
    }
    if let Some(body) = &it.body {
        text += &format!("\n\n{}", body.lines().map(plain).collect::<Vec<_>>().join("\n"));
    }
    text
}

async fn readmit(args: ReadmitArgs, access: &Access, output: &Output) -> Result<(), Failure> {
    if args.ids.is_empty() && args.source.is_none() && args.since.is_none() && !args.all {
        return Err(Failure::Usage("say which: ids, --source, --since or --all".to_owned()));
    }
    let wanted = ReadmitRequest {
        ids: args.ids.clone(),
        source: args.source,
        since: args.since.map(|since| since.to_rfc3339()),
        dry_run: args.dry_run,
    };
    let done = access.readmit(&wanted).await?;
    output.list(&done, None, readmitted)?;
    named(&args.ids, &done)
}

/// Whether each that was named became an event, or would. Of those that a filter found nobody expects it.
fn named(ids: &[Uuid], done: &[ReadmitItem]) -> Result<(), Failure> {
    let mut refused = 0;
    for id in ids {
        match done.iter().find(|it| it.rejection == *id).map(|it| it.outcome.as_str()) {
            None | Some("not_found") => {
                return Err(Failure::NotFound(format!(
                    "there is no rejection {id} among those that were asked for"
                )));
            }
            Some("accepted" | "duplicate" | "would_pass") => {}
            Some(_) => refused += 1,
        }
    }
    if refused == 0 {
        return Ok(());
    }
    Err(Failure::Failed(format!("{refused} of {} are still refused", ids.len())))
}

fn readmitted(done: &[ReadmitItem]) -> Grid {
    let mut grid = Grid::new(["REJECTION", "OUTCOME", "EVENT", "DETAIL"]);
    for it in done {
        grid.row([
            it.rejection.to_string(),
            it.outcome.clone(),
            it.event.map(|event| event.to_string()).unwrap_or_default(),
            it.detail.clone().unwrap_or_default(),
        ]);
    }
    grid
}
