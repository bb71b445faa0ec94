//! The connections of the hot paths: at hand between two calls, and not trusted for long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::TryOutcome;
use hookonce::store::{Settled, Store, Verdict};
use sqlx::{Connection, Executor, PgConnection};

use super::ground::{claim_one, event, room, settlement, try_record};
use crate::support::{TestDatabase, eventually, within};

/// Transactions of the database so far.
async fn committed(db: &TestDatabase) -> i64 {
    db.number("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await
}

/// Ends all sessions of the database but the one that asks, and waits until they are gone.
async fn end_sessions(db: &TestDatabase) {
    let others =
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut admin = PgConnection::connect(&db.url()).await.unwrap();
    let end = format!("SELECT pg_terminate_backend(pid) {others}");
    admin.execute(sqlx::AssertSqlSafe(end)).await.unwrap();
    let left = format!("SELECT count(*) {others} AND application_name = 'hookonce'");
    eventually(Duration::from_secs(20), "the sessions' end", || async {
        (db.number(&left).await == 0).then_some(())
    })
    .await;
    admin.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_a_row_ask_their_connection_nothing() {
    const CALLS: i64 = 500;
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    store.claim("w", vec![room("a", 1)]).await.unwrap();
    let before = committed(&db).await;
    let begun = Instant::now();
    for _ in 0..CALLS {
        store.claim("w", vec![room("a", 1)]).await.unwrap();
    }
    let asked = i64::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    // A session tells how many transactions it had when it ends.
    within(Duration::from_secs(20), "the store's end", store.close()).await;
    let mut looks = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    let more = loop {
        looks += 1;
        let more = committed(&db).await - before;
        if more >= CALLS {
            break more;
        }
        assert!(Instant::now() < deadline, "{more} transactions for {CALLS} claims");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // One a call; what is asked once a second; and what looked here.
    assert!(more < CALLS * 3 / 2 + asked + looks, "{more} transactions for {CALLS} claims");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_rested_is_asked_before_it_serves() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    try_record(&store, event("evt_1", b"{}", &["a"])).await.unwrap();
    let claimed = claim_one(&store, "a").await;
    end_sessions(&db).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // Its connection is dead, and neither call is tried again by the store.
    let settlement = settlement(&claimed, Verdict::Delivered, TryOutcome::Delivered);
    let settled = store.settle_batch(vec![settlement]).await.pop().unwrap();
    assert_eq!(settled.unwrap(), Settled::Done);
    end_sessions(&db).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    store.claim("w", vec![room("a", 1)]).await.unwrap();
}

/// Some find a connection at rest, and some wait for one that is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_callers_than_connections_are_served_in_turn() {
    let db = TestDatabase::postgres().await;
    let store = Arc::new(db.store().await);
    let callers = (0..6).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..50 {
                store.claim("w", vec![room("a", 1)]).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

#[test]
fn a_store_may_be_dropped_where_no_runtime_is() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (db, store): (TestDatabase, Store) = runtime.block_on(async {
        let db = TestDatabase::postgres().await;
        let store = db.store().await;
        store.claim("w", vec![room("a", 1)]).await.unwrap();
        try_record(&store, event("evt_1", b"{}", &[])).await.unwrap();
        (db, store)
    });
    drop(store);
    assert_eq!(runtime.block_on(db.number("SELECT count(*) FROM event")), 1);
    runtime.block_on(async { drop(db) });
}
