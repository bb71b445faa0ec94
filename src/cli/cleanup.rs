//! `hookonce cleanup`: delete what has expired, now.

use super::access::Access;
use super::output::Grid;
use super::{Failure, Global, Output, unbuilt};
use crate::http::admin::shape::CleanupDone;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[arg(long, hide = true)]
    print_pg_cron: bool,
}

pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<(), Failure> {
    if args.print_pg_cron {
        return Err(unbuilt::flag("--print-pg-cron"));
    }
    let access = Access::open(global).await?;
    let result = clean(&args, &access, global, output).await;
    access.close().await;
    result
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
        output.say("its time was up and more is left: run it again, or leave it to the schedule");
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
