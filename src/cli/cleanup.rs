//! `hookonce cleanup`: delete what has expired, now; or let pg_cron do it.

use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::output::Grid;
use super::serve::Signals;
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
        return output.one(&access.dry_cleanup().await?, text);
    }
    // A script that says --yes needs no count; a person wants to see it first.
    if !global.yes() {
        let would = access.dry_cleanup().await?.swept;
        let question = format!(
            "delete {} expired events, {} bodies, {} rejections and {} idempotency keys?",
            would.events, would.bodies, would.rejections, would.idempotency_keys
        );
        output.insist(&question, false)?;
    }
    let (done, interrupted) = until_signalled(access).await?;
    if interrupted {
        output.one(&done, text)?;
        return Err(Failure::Interrupted);
    }
    if !done.complete {
        output.warn("its time was up and more is left: run it again, or leave it to the schedule");
    }
    output.one(&done, text)
}

/// Runs it, and says whether it was interrupted: then it ends behind the batch under way, and its claim is given back.
async fn until_signalled(access: &Access) -> Result<(CleanupDone, bool), Failure> {
    let mut signals = Signals::new().map_err(|why| Failure::Failed(format!("signals: {why}")))?;
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(access.cleanup(&stop));
    tokio::select! {
        done = &mut running => return Ok((done?, false)),
        () = signals.next() => stop.cancel(),
    }
    Ok((running.await?, true))
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
