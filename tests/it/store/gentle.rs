//! What a cleanup and SQLite's log cost those who record beside them.

use std::time::Duration;

use chrono::Utc;
use hookonce::store::Store;
use hookonce::upkeep::CleanupSettings;
use hookonce::upkeep::cleanup::{Cleaned, Cleanup};
use tokio_util::sync::CancellationToken;

use super::cleanup::{RETENTION, expire, settings};
use crate::both_databases;
use crate::store::ground::event;
use crate::support::{Kind, TestDatabase, eventually};

async fn record(store: &Store, events: usize, body: &[u8]) {
    let batch = (0..events).map(|n| event(&format!("evt_{n}"), body, &[])).collect();
    for recorded in store.record_batch(batch).await {
        recorded.unwrap();
    }
}

/// One statement of a cleanup that is told to stop at once: how many events it deleted, and whether more are left.
async fn one_statement(store: &Store, scheduled: bool) -> (u64, bool) {
    let settings = CleanupSettings { batch: 1000, ..settings() };
    let cleanup = Cleanup {
        store,
        settings: &settings,
        retention: RETENTION,
        sources: &[],
        worker: "w",
        metrics: None,
    };
    let stopped = CancellationToken::new();
    stopped.cancel();
    // No run has begun since.
    let slot = scheduled.then(|| Utc::now() + Duration::from_secs(1));
    match cleanup.run(slot, &stopped).await.unwrap() {
        Cleaned::Ran { swept, more } => (swept.events, more),
        other => panic!("{other:?}"),
    }
}

both_databases!(a_scheduled_cleanup_is_gentle_unless_it_is_behind, |db| async move {
    let store = db.store().await;
    record(&store, 250, b"{}").await;
    expire(&db, "event", "1 = 1").await;
    assert_eq!(one_statement(&store, true).await, (64, true));
    assert_eq!(one_statement(&store, true).await, (64, true), "one that was stopped isn't behind");
    let an_hour_before = match db.kind() {
        Kind::Postgres => "started_at - interval '1 hour'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', started_at, '-1 hour')",
    };
    db.run(&format!("UPDATE upkeep_run SET started_at = {an_hour_before}")).await;
    assert_eq!(one_statement(&store, true).await, (122, false), "an hour was not enough");
    record(&store, 100, b"{}").await;
    expire(&db, "event", "1 = 1").await;
    assert_eq!(one_statement(&store, true).await, (64, true), "it has caught up");
    assert_eq!(one_statement(&store, false).await, (36, false), "somebody wants it now");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_sqlite_goes_into_the_file_before_the_writer_has_to() {
    let db = TestDatabase::sqlite().await;
    let store = db.store().await;
    // 25 MiB; the writer would wait for 64.
    record(&store, 100, &vec![b'x'; 256 << 10]).await;
    let url = db.url();
    let file = url.trim_start_matches("sqlite://").split('?').next().unwrap().to_owned();
    eventually(Duration::from_secs(30), "20 MiB in the file", || async {
        (std::fs::metadata(&file).unwrap().len() > 20 << 20).then_some(())
    })
    .await;
}
