//! Cleanup of many expired events while requests come in: the figures that the pages quote.
//!
//! Small in the normal tests, where it only has to work; `make bench-cleanup` runs it at full size in release mode.

mod idempotency;
mod load;
mod rows;
mod transform;

use std::time::{Duration, Instant};

use crate::both_databases;
use crate::daemon::stripe;
use crate::support::{DaemonPlan, eventually};

use load::Load;
use rows::fill;

/// For the whole cleanup.
const PATIENCE: Duration = Duration::from_secs(900);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

both_databases!(measure_expired_events_are_deleted_while_requests_come_in, |db| async move {
    let expired = setting("HOOKONCE_BENCH_EVENTS", 3_000);
    let rate = setting("HOOKONCE_BENCH_RATE", 50);
    let plan = DaemonPlan::on(&db).source(&stripe()).toml(
        "[cleanup]\nschedule = \"* * * * * *\"\nbatch = 1000\npause = \"50ms\"\nmax_run = \"15m\"",
    );
    let daemon = plan.start().await;
    fill(&db, expired).await;
    let seconds = if expired > 10_000 { 10 } else { 2 };

    let load = Load::start("before", daemon.public(), rate);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let before = load.stop().await;
    // Tests move rows, not clocks.
    let began = Instant::now();
    db.run("UPDATE event SET expires_at = received_at WHERE source = 'old'").await;
    let moved = began.elapsed();
    let began = Instant::now();
    let load = Load::start("during", daemon.public(), rate);
    eventually(PATIENCE, "the old events to go", || async {
        (db.number("SELECT count(*) FROM event WHERE source = 'old'").await == 0).then_some(())
    })
    .await;
    let took = began.elapsed();
    let during = load.stop().await;
    assert_eq!(db.number("SELECT count(*) FROM event WHERE source = 'old'").await, 0);
    assert_eq!(
        db.number("SELECT count(*) FROM event_body").await,
        db.number("SELECT count(*) FROM event").await
    );
    let kept = usize::try_from(db.number("SELECT count(*) FROM event").await).unwrap();
    assert_eq!(kept, before.acks() + during.acks(), "what came in meanwhile stays");
    eventually(Duration::from_secs(30), "a finished run", || async {
        let runs = "SELECT count(*) FROM upkeep_run WHERE chore = 'cleanup' AND finished_at IS NOT NULL AND events > 0";
        (db.number(runs).await > 0).then_some(())
    })
    .await;
    println!(
        "{:?}: {expired} expired events deleted in {:.1} s ({:.0} rows a second) at {rate} requests a second; \
         intake p50/p99/max before {before}, during {during}; (moving the rows took {moved:.1?})",
        db.kind(),
        took.as_secs_f64(),
        expired as f64 / took.as_secs_f64()
    );
});
