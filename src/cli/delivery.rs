//! `hookonce delivery` and `hookonce dead`: one event for one handler, and what to do about it.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory, Subcommand};
use entity::{Name, State};
use uuid::Uuid;

use super::access::{Access, Act};
use super::moment;
use super::output::{Grid, count, plain};
use super::{Cli, Failure, Global, Output, unbuilt};
use crate::http::admin::shape::{Action, DeliveryFull};
use crate::store::DeliveryFilter;

/// The largest page, when all of them are wanted.
const PAGE: u32 = 500;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Deliveries, newest first.
    List(ListArgs),
    /// Deliveries with their tries.
    Show(Ids),
    /// Reopen dead ones under their ids; make pending ones due now.
    Retry(Ids),
    /// Take open ones away.
    Cancel(Chosen),
    /// Take dead ones away.
    Discard(Chosen),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Subcommand)]
pub(super) enum DeadVerb {
    /// Dead deliveries, newest first.
    List(DeadListArgs),
    /// Reopen them under their ids.
    Retry(Dead),
    /// Take them away.
    Discard(Dead),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only in this state: pending, leased, delivered, dead or cancelled
    #[arg(long, value_parser = state)]
    state: Option<State>,
    #[command(flatten)]
    only: Only,
    #[command(flatten)]
    page: Page,
}

#[derive(Args)]
pub(super) struct DeadListArgs {
    #[command(flatten)]
    only: Only,
    #[command(flatten)]
    page: Page,
}

#[derive(Args)]
struct Page {
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Which deliveries are meant.
#[derive(Args, Clone)]
struct Only {
    /// Only of this source
    #[arg(long)]
    source: Option<String>,
    /// Only of this handler
    #[arg(long)]
    handler: Option<String>,
    /// Only of this event type; a trailing `*` matches any rest
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// The event was recorded since: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// The event was recorded before: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = moment::parse)]
    until: Option<DateTime<Utc>>,
}

#[derive(Args)]
pub(super) struct Ids {
    /// The delivery's id
    #[arg(required = true, value_name = "ID")]
    ids: Vec<Uuid>,
}

#[derive(Args)]
pub(super) struct Chosen {
    #[command(flatten)]
    ids: Ids,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(super) struct Dead {
    /// The delivery's id; or choose by the options below
    #[arg(value_name = "ID", conflicts_with_all = ["all", "source", "handler", "kind", "since", "until"])]
    ids: Vec<Uuid>,
    /// All dead deliveries
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    only: Only,
    /// Only say which
    #[arg(long)]
    dry_run: bool,
}

/// Reads a state.
pub(super) fn state(text: &str) -> Result<State, String> {
    State::parse(text)
        .ok_or_else(|| "write pending, leased, delivered, dead or cancelled".to_owned())
}

/// Reads a name.
pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|why| why.to_string())
}

impl Only {
    fn filter(self, state: Option<State>, cursor: Option<String>, limit: u32) -> DeliveryFilter {
        DeliveryFilter {
            state,
            handler: self.handler,
            source: self.source,
            kind: self.kind,
            since: self.since,
            until: self.until,
            cursor,
            limit: Some(limit),
        }
    }

    fn is_everything(&self) -> bool {
        let Self { source, handler, kind, since, until } = self;
        source.is_none()
            && handler.is_none()
            && kind.is_none()
            && since.is_none()
            && until.is_none()
    }
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Verb::Other(words) = &verb {
        return Err(unbuilt::verb(&["delivery"], words, &Cli::command()));
    }
    let access = Access::open(global).await?;
    let result = match verb {
        Verb::List(args) => {
            list(args.only.filter(args.state, args.page.cursor, args.page.limit), &access, output)
                .await
        }
        Verb::Show(ids) => show(&ids.ids, &access, output).await,
        Verb::Retry(ids) => act(Act::Retry, ids.ids, &access, output).await,
        Verb::Cancel(args) => take_away(Act::Cancel, args, &access, global, output).await,
        Verb::Discard(args) => take_away(Act::Discard, args, &access, global, output).await,
        Verb::Other(_) => Ok(()),
    };
    access.close().await;
    result
}

pub(super) async fn run_dead(
    verb: DeadVerb,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    if let DeadVerb::Other(words) = &verb {
        return Err(unbuilt::verb(&["dead"], words, &Cli::command()));
    }
    let access = Access::open(global).await?;
    let result = match verb {
        DeadVerb::List(args) => {
            let filter = args.only.filter(Some(State::Dead), args.page.cursor, args.page.limit);
            list(filter, &access, output).await
        }
        DeadVerb::Retry(args) => dead(Act::Retry, args, &access, global, output).await,
        DeadVerb::Discard(args) => dead(Act::Discard, args, &access, global, output).await,
        DeadVerb::Other(_) => Ok(()),
    };
    access.close().await;
    result
}

async fn list(filter: DeliveryFilter, access: &Access, output: &Output) -> Result<(), Failure> {
    let page = access.deliveries(&filter).await?;
    output.list(&page.items, page.next_cursor.as_deref(), grid)
}

async fn show(ids: &[Uuid], access: &Access, output: &Output) -> Result<(), Failure> {
    for id in ids {
        output.one(&access.delivery(*id).await?, text)?;
    }
    Ok(())
}

/// Does it to each; one that isn't there is told and the others are done all the same.
async fn act(act: Act, ids: Vec<Uuid>, access: &Access, output: &Output) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut missing = None;
    for id in ids {
        match access.act(act, id).await {
            Ok(action) => done.push(action),
            Err(Failure::NotFound(why)) => {
                if let Some(before) = missing.replace(Failure::NotFound(why)) {
                    output.error(&before.to_string());
                }
            }
            Err(failure) => {
                // What was done must be known before the failure is.
                output.list(&done, None, actions)?;
                return Err(failure);
            }
        }
    }
    if !done.is_empty() || missing.is_none() {
        output.list(&done, None, actions)?;
    }
    missing.map_or(Ok(()), Err)
}

async fn take_away(
    wanted: Act,
    args: Chosen,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    if args.dry_run {
        return preview(args.ids.ids, access, output).await;
    }
    let count = count(args.ids.ids.len(), "delivery");
    output.insist(&format!("{} {count}?", wanted.verb()), global.yes())?;
    act(wanted, args.ids.ids, access, output).await
}

async fn preview(ids: Vec<Uuid>, access: &Access, output: &Output) -> Result<(), Failure> {
    let mut found = Vec::new();
    for id in ids {
        found.push(DeliveryFull { tries: None, ..access.delivery(id).await? });
    }
    output.say("nothing is changed");
    output.list(&found, None, grid)
}

async fn dead(
    wanted: Act,
    args: Dead,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let named = !args.ids.is_empty();
    if named && args.dry_run {
        return preview(args.ids, access, output).await;
    }
    if named && wanted == Act::Retry {
        return act(wanted, args.ids, access, output).await;
    }
    let ids = if named {
        args.ids
    } else {
        if !args.all && args.only.is_everything() {
            return Err(Failure::Usage(
                "say which: ids, --all, or --source, --handler, --type, --since, --until"
                    .to_owned(),
            ));
        }
        let found = all_dead(args.only, access).await?;
        if args.dry_run {
            output.say(&format!("nothing is changed; {} would be", found.len()));
            return output.list(&found, None, grid);
        }
        found.into_iter().map(|delivery| delivery.id).collect()
    };
    if ids.is_empty() {
        return output.list(&[] as &[Action], None, actions);
    }
    let question = format!("{} {}?", wanted.verb(), count(ids.len(), "dead delivery"));
    output.insist(&question, global.yes())?;
    act(wanted, ids, access, output).await
}

/// Every dead delivery that is meant, over all pages, before anything is changed: what is reopened
/// leaves the list and would move the pages.
async fn all_dead(only: Only, access: &Access) -> Result<Vec<DeliveryFull>, Failure> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let filter = only.clone().filter(Some(State::Dead), cursor, PAGE);
        let page = access.deliveries(&filter).await?;
        found.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

pub(super) fn grid(deliveries: &[DeliveryFull]) -> Grid {
    let mut grid =
        Grid::new(["ID", "HANDLER", "STATE", "TRIES", "SOURCE", "TYPE", "EVENT", "DUE", "CAUSE"]);
    for delivery in deliveries {
        let cause = delivery.cause.as_deref().unwrap_or_default();
        grid.row([
            delivery.id.to_string(),
            delivery.handler.clone(),
            delivery.state.as_str().to_owned(),
            delivery.attempts.to_string(),
            delivery.source.clone(),
            delivery.r#type.clone(),
            delivery.event_id.clone(),
            moment::show(delivery.due_at),
            cause.chars().take(60).collect(),
        ]);
    }
    grid
}

/// A delivery and its tries, for people.
pub(super) fn text(delivery: &DeliveryFull) -> String {
    let mut text = format!(
        "delivery {}  {}  {}  round {}  due {}",
        delivery.id,
        plain(&delivery.handler),
        delivery.state.as_str(),
        delivery.round,
        moment::show(delivery.due_at)
    );
    if let Some(settled) = delivery.settled_at {
        text += &format!("  settled {}", moment::show(settled));
    }
    text += &format!(
        "\n  event {}  {}  {}  {}",
        delivery.event,
        plain(&delivery.source),
        plain(&delivery.r#type),
        plain(&delivery.event_id)
    );
    if let Some(lane) = &delivery.lane {
        let waits = if delivery.waits { ", waits for the one before it" } else { "" };
        text += &format!("\n  lane \"{}\"{waits}", plain(lane));
    }
    if let Some(cause) = &delivery.cause {
        text += &format!("\n  {}", plain(cause));
    }
    for it in delivery.tries.iter().flatten() {
        let status = it.status.map(|status| format!("  {status}")).unwrap_or_default();
        let error =
            it.error.as_deref().map(|error| format!("  {}", plain(error))).unwrap_or_default();
        text += &format!(
            "\n  try {}  {}  {}{status}  {} ms{error}",
            it.n,
            moment::show(it.started_at),
            it.outcome.as_str(),
            it.duration_ms
        );
        if let Some(response) = it.response.as_deref().filter(|response| !response.is_empty()) {
            let first: String = plain(response).chars().take(200).collect();
            text += &format!("\n    {first}");
        }
    }
    text
}

/// What was done, for people.
pub(super) fn actions(done: &[Action]) -> Grid {
    let mut grid = Grid::new(["DELIVERY", "DONE"]);
    for action in done {
        let done = match action.state {
            Some(state) => format!("{} ({})", action.action, state.as_str()),
            None => action.action.clone(),
        };
        grid.row([action.delivery.to_string(), done]);
    }
    grid
}
