//! A chore runs once for each time that the schedule strikes, whoever is nudged.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hookonce::store::upkeep_run::RunEnd;
use hookonce::store::{Store, Swept};

use crate::both_databases;
use crate::support::{Kind, eventually};

const LEASE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(20);

/// A time after all that was written before, which on SQLite may take the rest of a millisecond.
async fn a_moment_later(store: &Store) -> DateTime<Utc> {
    let now = store.probe().await.unwrap().now;
    eventually(PATIENCE, "the database's clock to go on", || async {
        let later = store.probe().await.unwrap().now;
        (later > now).then_some(later)
    })
    .await
}

both_databases!(a_strike_of_the_schedule_is_run_once_over_all_replicas, |db| async move {
    let store = db.store().await;
    // Often, because a replica may look just before another one begins, and begin after it finished.
    for n in 0..40 {
        let strike = Some(a_moment_later(&store).await);
        let mut tasks = tokio::task::JoinSet::new();
        for replica in 0..6 {
            let store = store.clone();
            tasks.spawn(async move {
                let worker = format!("w{replica}");
                let run = store.begin_run("cleanup", &worker, LEASE, strike).await.unwrap();
                if let Some(run) = run {
                    store.finish_run(run, RunEnd::Done, Swept::default()).await.unwrap();
                }
                run.is_some()
            });
        }
        let ran = tasks.join_all().await.into_iter().filter(|ran| *ran).count();
        assert_eq!(ran, 1, "strike {n}");
    }
    let next = Some(store.probe().await.unwrap().now + chrono::TimeDelta::seconds(1));
    assert!(
        store.begin_run("cleanup", "w", LEASE, next).await.unwrap().is_some(),
        "the next strike"
    );
});

both_databases!(a_failed_run_leaves_its_strike_to_another, |db| async move {
    let store = db.store().await;
    let strike = Some(store.probe().await.unwrap().now - chrono::TimeDelta::seconds(5));
    let run = store.begin_run("cleanup", "w1", LEASE, strike).await.unwrap().unwrap();
    store.finish_run(run, RunEnd::Failed("no\0".to_owned()), Swept::default()).await.unwrap();
    assert!(store.begin_run("cleanup", "w2", LEASE, strike).await.unwrap().is_some());
    let runs = store.runs("cleanup", 10).await.unwrap();
    assert_eq!(runs[1].error.as_deref(), Some("no\\0"));
});

both_databases!(the_probe_tells_the_databases_time_and_that_it_takes_writes, |db| async move {
    let store = db.store().await;
    let probe = store.probe().await.unwrap();
    assert!(probe.writable);
    let skew = (chrono::Utc::now() - probe.now).num_seconds().abs();
    assert!(skew < 60, "{skew}");
});

both_databases!(runs_of_a_quarter_of_a_year_ago_are_forgotten, |db| async move {
    let store = db.store().await;
    for _ in 0..2 {
        let run = store.begin_run("cleanup", "w", LEASE, None).await.unwrap().unwrap();
        store.finish_run(run, RunEnd::Done, Swept::default()).await.unwrap();
    }
    let old = match db.kind() {
        Kind::Postgres => "clock_timestamp() - interval '91 days'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-91 days')",
    };
    // Not by its time: both may have begun in one millisecond.
    let first = "(SELECT id FROM upkeep_run ORDER BY started_at, id LIMIT 1)";
    db.run(&format!("UPDATE upkeep_run SET finished_at = {old} WHERE id = {first}")).await;
    store.begin_run("cleanup", "w", LEASE, None).await.unwrap().unwrap();
    assert_eq!(db.number("SELECT count(*) FROM upkeep_run").await, 2, "the young one and this one");
});
