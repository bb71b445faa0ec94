//! `hookonce replay`: many deliveries at once.

use chrono::Utc;
use entity::{Name, State};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::access::Access;
use super::delivery;
use super::output::Grid;
use super::serve::Signals;
use super::{Failure, Global, Output, moment};
use crate::config::did_you_mean;
use crate::http::admin::shape::{ReplayReport, ReplayTally, ReplaysRequest};
use crate::replay::Filter;

mod diff;

pub(super) use diff::{NOT_OVER_THE_API, Rehearsal, Rehearsed};

use diff::{WithDiff, with_diff};

/// Without a filter: everything that is dead.
///
/// Dead deliveries are reopened under their id, so that receivers can know them. What is open or delivered is
/// passed over, so the same command may be repeated. Events that were recorded after its beginning are not
/// touched. Ctrl-C stops it, and says how to go on.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Only those that are dead, delivered or cancelled [default: dead; with --again delivered ones too]
    #[arg(long, value_parser = delivery::state)]
    state: Option<State>,
    /// Only events of this source
    #[arg(long)]
    source: Option<String>,
    /// Only deliveries of this handler
    #[arg(long, conflicts_with = "to_handler")]
    handler: Option<String>,
    /// Only events of this type; a trailing `*` matches any rest
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events recorded since: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = when)]
    since: Option<String>,
    /// Only events recorded before: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = when)]
    until: Option<String>,
    /// To this handler, which need not have had the events, as far as its `from` and `events` match
    #[arg(long, value_name = "HANDLER", value_parser = delivery::name)]
    to_handler: Option<Name>,
    /// Also what was delivered: a new round under a new id, which receivers won't dedupe
    #[arg(long)]
    again: bool,
    /// Only count what would happen
    #[arg(long)]
    dry_run: bool,
    /// At most so many deliveries in a time: 50/s, 600/m
    #[arg(long, value_name = "R/s", value_parser = rate)]
    rate: Option<String>,
    /// Begin anew, also when the same --again was stopped before its end
    #[arg(long)]
    restart: bool,
    /// Carry on the replay that was stopped
    #[arg(long, value_name = "ID", conflicts_with_all = [
        "state", "source", "handler", "kind", "since", "until", "to_handler", "again", "dry_run", "restart",
    ])]
    resume: Option<Uuid>,
    /// With --dry-run: run the statements of SQL handlers for the first N [default: 10], and roll them back
    #[arg(
        long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10",
        requires = "dry_run", value_parser = clap::value_parser!(u16).range(1..=1000),
    )]
    diff: Option<u16>,
}

/// Checks a time, and keeps it as it was written: the same words are the same replay.
fn when(text: &str) -> Result<String, String> {
    moment::parse(text).map(|_| text.to_owned())
}

/// The same for a rate.
fn rate(text: &str) -> Result<String, String> {
    crate::replay::rate(text).map(|_| text.to_owned())
}

pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<(), Failure> {
    let (resume, diff) = (args.resume, args.diff);
    // Before anything is asked of it.
    if diff.is_some() && global.url().is_some() {
        return Err(Failure::Usage(NOT_OVER_THE_API.to_owned()));
    }
    let wanted = wanted(args);
    wanted.asked().resolve(Utc::now()).map_err(Failure::Usage)?;
    let access = Access::open(global).await?;
    let result = match resume {
        Some(id) => go_on(id, &wanted, &access, output).await,
        None => match diff {
            Some(most) => rehearse(wanted, most, &access, output).await,
            None => begin(wanted, &access, global, output).await,
        },
    };
    access.close().await;
    result
}

fn wanted(args: Args) -> ReplaysRequest {
    ReplaysRequest {
        filter: Filter {
            state: args.state,
            source: args.source,
            handler: args.handler,
            r#type: args.kind,
            since: args.since,
            until: args.until,
        },
        to_handler: args.to_handler.map(|name| name.to_string()),
        again: args.again,
        dry_run: args.dry_run,
        rate: args.rate,
        restart: args.restart,
    }
}

async fn go_on(
    id: Uuid,
    wanted: &ReplaysRequest,
    access: &Access,
    output: &Output,
) -> Result<(), Failure> {
    let report = access.resume_replay(id, wanted.rate.as_deref()).await?;
    if report.state == "done" {
        output.say("it was done already; nothing was changed");
        return output.one(&report, text);
    }
    follow(report, access, output).await
}

async fn begin(
    wanted: ReplaysRequest,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    known(&wanted, access).await?;
    if wanted.dry_run {
        let report = access.begin_replay(&wanted).await?;
        output.say("nothing is changed; this would be done:");
        return output.one(&report, text);
    }
    if wanted.again {
        output.warn(
            "--again makes new deliveries under new ids: receivers can't know that they had them",
        );
    }
    // A script that says --yes needs no count; a person wants to see it first.
    if !global.yes() {
        let would =
            access.begin_replay(&ReplaysRequest { dry_run: true, ..wanted.clone() }).await?;
        if would.opened == 0 && !would.continued {
            output.say("there is nothing to replay");
            return output.one(&would, text);
        }
        output.insist(&question(&would), false)?;
    }
    let report = access.begin_replay(&wanted).await?;
    follow(report, access, output).await
}

/// Counts, and shows what statements would do, in our own database and in others.
async fn rehearse(
    wanted: ReplaysRequest,
    most: u16,
    access: &Access,
    output: &Output,
) -> Result<(), Failure> {
    known(&wanted, access).await?;
    let report = access.begin_replay(&wanted).await?;
    let diff = access.rehearse_replay(&wanted, most.into()).await?;
    output.say("nothing is changed: what was tried is rolled back");
    if diff.is_empty() {
        output.say("no `sql` handler would be called");
    }
    output.one(&WithDiff { report, diff }, with_diff)
}

/// What would be done, as a question.
fn question(would: &ReplayReport) -> String {
    let sum = |of: fn(&ReplayTally) -> u64| would.handlers.iter().map(of).sum::<u64>();
    let parts = [
        (sum(|it| it.reopened), "reopen"),
        (sum(|it| it.new_round), "deliver again"),
        (sum(|it| it.backfilled), "deliver for the first time"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what} {count}"))
        .collect();
    let parts = if parts.is_empty() { "nothing more".to_owned() } else { parts.join(", ") };
    match (would.id, would.made_at) {
        (Some(id), Some(at)) => format!(
            "carry on the replay {id} of {} (--restart begins anew): {parts}?",
            moment::show(at)
        ),
        _ => format!("{parts}?"),
    }
}

/// Names that nobody has are slips.
async fn known(wanted: &ReplaysRequest, access: &Access) -> Result<(), Failure> {
    for name in [&wanted.to_handler, &wanted.filter.handler].into_iter().flatten() {
        let handlers = access.handlers().await?.items;
        check("handler", name, handlers.iter().map(|it| it.name.as_str()))?;
    }
    if let Some(name) = &wanted.filter.source {
        let sources = access.sources().await?.items;
        check("source", name, sources.iter().map(|it| it.name.as_str()))?;
    }
    Ok(())
}

fn check<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), Failure> {
    if known.clone().any(|it| it == name) {
        return Ok(());
    }
    let near = did_you_mean(name, known);
    Err(Failure::NotFound(format!("there is no {what} `{name}` in the config{near}")))
}

/// Sees it to its end, with a bar; a signal stops it.
async fn follow(report: ReplayReport, access: &Access, output: &Output) -> Result<(), Failure> {
    let Some(id) = report.id else {
        return Err(Failure::Failed("the replay has no id".to_owned()));
    };
    let mut signals = Signals::new().map_err(|why| Failure::Failed(format!("signals: {why}")))?;
    output.say(&format!("replay {id}"));
    let bar = output.bar(report.total);
    let stop = CancellationToken::new();
    let how = format!("`hookonce replay --resume {id}` goes on where it stopped");
    let followed = {
        let mut seen = |report: &ReplayReport| {
            bar.at(report.looked_at, format!("{} opened", report.opened));
        };
        let mut following = std::pin::pin!(access.follow_replay(id, &stop, &mut seen));
        loop {
            tokio::select! {
                followed = &mut following => break followed,
                () = signals.next() => {
                    if stop.is_cancelled() {
                        // Not even stopping it can be waited for.
                        output.say(&how);
                        return Err(Failure::Interrupted);
                    }
                    stop.cancel();
                }
            }
        }
    };
    bar.clear();
    let mut report = match followed {
        Ok(report) => report,
        Err(failure) => {
            output.say(&how);
            return Err(failure);
        }
    };
    if stop.is_cancelled() && report.state == "running" {
        report = access.stop_replay(id).await?;
    }
    output.one(&report, text)?;
    match (report.state.as_str(), report.error) {
        ("done", _) => Ok(()),
        (_, Some(why)) => Err(Failure::Failed(format!("the replay was stopped: {why}"))),
        _ if stop.is_cancelled() => {
            output.say(&how);
            Err(Failure::Interrupted)
        }
        _ => Err(Failure::Failed(format!("somebody stopped the replay; {how}"))),
    }
}

/// What was done or would be, for people.
fn text(report: &ReplayReport) -> String {
    let mut grid = Grid::new(["HANDLER", "REOPENED", "NEW ROUND", "FIRST TIME", "SKIPPED"]);
    for tally in &report.handlers {
        let skipped = &tally.skipped;
        let skipped: Vec<String> = [
            (skipped.open, "open"),
            (skipped.delivered, "delivered"),
            (skipped.cancelled, "cancelled"),
            (skipped.no_body, "body gone"),
            (skipped.no_handler, "no such handler"),
            (skipped.held, "held"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
        grid.row([
            tally.handler.clone(),
            tally.reopened.to_string(),
            tally.new_round.to_string(),
            tally.backfilled.to_string(),
            skipped.join(", "),
        ]);
    }
    let looked = match (report.dry_run, report.total) {
        (true, _) => String::new(),
        (false, Some(total)) => format!("\n{}: {} of {total} rows", report.state, report.looked_at),
        (false, None) => format!("\n{}: {} rows", report.state, report.looked_at),
    };
    format!("{}{looked}", grid.text())
}
