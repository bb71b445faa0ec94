//! A chore runs once for each time that the schedule strikes, whoever is nudged.

use std::time::Duration;

use hookonce::store::Swept;
use hookonce::store::upkeep_run::RunEnd;

use crate::both_databases;
use crate::support::Kind;

const LEASE: Duration = Duration::from_secs(60);

both_databases!(a_strike_of_the_schedule_is_run_once_over_all_replicas, |db| async move {
    let store = db.store().await;
    // Often, because a replica may look just before another one begins, and begin after it finished.
    for n in 0..40 {
        let strike = Some(store.probe().await.unwrap().now);
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
    let first = "(SELECT min(started_at) FROM upkeep_run)";
    db.run(&format!("UPDATE upkeep_run SET finished_at = {old} WHERE started_at = {first}")).await;
    store.begin_run("cleanup", "w", LEASE, None).await.unwrap().unwrap();
    assert_eq!(db.number("SELECT count(*) FROM upkeep_run").await, 2, "the young one and this one");
});
