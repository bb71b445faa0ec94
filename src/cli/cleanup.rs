//! `hookonce cleanup`: delete what has expired, now; or let pg_cron do it.

use super::access::Access;
use super::output::Grid;
use super::{Failure, Global, Output};
use crate::http::admin::shape::CleanupDone;
use crate::store::pg_cron::PgCron;
use crate::upkeep::schedule;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Only print the SQL that lets pg_cron clean inside PostgreSQL, by the config's [cleanup] and [retention]
    #[arg(long, conflicts_with = "dry_run")]
    print_pg_cron: bool,
}

pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<(), Failure> {
    if args.print_pg_cron {
        return print_pg_cron(global, output);
    }
    let access = Access::open(global).await?;
    let result = clean(&args, &access, global, output).await;
    access.close().await;
    result
}

/// Connects to nothing: the operator reads it, and runs it.
fn print_pg_cron(global: &Global, output: &Output) -> Result<(), Failure> {
    let config = global.load()?.config;
    let cleanup = &config.cleanup;
    let schedule = schedule::for_pg_cron(&cleanup.schedule).map_err(Failure::Usage)?;
    let sources: Vec<_> = config.sources.iter().map(|source| source.name.clone()).collect();
    let job = PgCron {
        schedule: &schedule,
        batch: cleanup.batch,
        pause: cleanup.pause,
        max_run: cleanup.max_run,
        window: cleanup.window,
        retention: config.retention,
        sources: &sources,
    };
    let script = job.script(&config.store).map_err(|why| Failure::Usage(why.to_string()))?;
    output.line(script.trim_end())
}

async fn clean(
    args: &Args,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    if args.dry_run {
        return output.one(&access.cleanup(true).await?, text);
    }
    // A script that says --yes needs no count; a person wants to see it first.
    if !global.yes() {
        let would = access.cleanup(true).await?.swept;
        let question = format!(
            "delete {} expired events, {} bodies, {} rejections and {} idempotency keys?",
            would.events, would.bodies, would.rejections, would.idempotency_keys
        );
        output.insist(&question, false)?;
    }
    let done = access.cleanup(false).await?;
    if !done.complete {
        output.warn("its time was up and more is left: run it again, or leave it to the schedule");
    }
    output.one(&done, text)
}

fn text(done: &CleanupDone) -> String {
    let mut grid = Grid::new(["ROWS", if done.dry_run { "WOULD BE DELETED" } else { "DELETED" }]);
    for (rows, count) in [
        ("events", done.swept.events),
        ("bodies", done.swept.bodies),
        ("rejections", done.swept.rejections),
        ("idempotency keys", done.swept.idempotency_keys),
    ] {
        grid.row([rows.to_owned(), count.to_string()]);
    }
    grid.text()
}
