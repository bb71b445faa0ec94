//! sqlx 0.9.0's `Pool::begin()` is not cancel-safe on PostgreSQL: a future dropped between sending
//! BEGIN and reading its reply hands back a connection inside an open transaction, where the next
//! statements "succeed" and are discarded. These tests fall into the trap on purpose.

// The point is to call what clippy forbids.
#![expect(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use hookonce::store::Recorded;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::ground::{event, record};
use crate::support::{PostgresServer, TestDatabase};

/// Drops futures of `begin()` at changing moments after their first poll.
async fn drop_begins(pool: &PgPool, round: u32) {
    for at in 0..20_u64 {
        let moment = Duration::from_micros((at * 37 + u64::from(round) * 11) % 400);
        let begun = tokio::time::timeout(moment, pool.begin()).await;
        // One that came through is rolled back by its own drop.
        drop(begun);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_pool_loses_statements_in_this_trap() {
    let db = TestDatabase::postgres().await;
    db.run("CREATE TABLE probe (n integer)").await;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect(&db.url())
        .await
        .unwrap();
    for round in 0..300 {
        drop_begins(&pool, round).await;
        for _ in 0..4 {
            sqlx::query("INSERT INTO probe VALUES (1)").execute(&pool).await.unwrap();
        }
        if db.number("SELECT count(*) FROM probe").await < i64::from(round + 1) * 4 {
            return;
        }
    }
    panic!("no statement was lost: has sqlx mended begin()? Then this room's defences can go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_the_store_is_lost_after_dropped_begins() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    let pool = store.postgres().unwrap();
    db.run("CREATE TABLE probe (n integer)").await;
    for round in 0..100_u32 {
        drop_begins(pool, round).await;
        for _ in 0..4 {
            sqlx::query("INSERT INTO probe VALUES (1)").execute(pool).await.unwrap();
        }
        let recorded = record(&store, event(&format!("evt_{round}"), b"{}", &["a"])).await;
        assert!(matches!(recorded, Recorded::Fresh { .. }));
    }
    // By a connection of its own: what any other program sees.
    assert_eq!(db.number("SELECT count(*) FROM probe").await, 400);
    assert_eq!(db.number("SELECT count(*) FROM event").await, 100);
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_for_open_transactions_fills_no_log() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let store = db.store().await;
    let pool = store.postgres().unwrap();
    for round in 0..20 {
        sqlx::query("SELECT 1").execute(pool).await.unwrap();
        record(&store, event(&format!("evt_{round}"), b"{}", &["a"])).await;
    }
    // What the server says of each end without a beginning.
    sqlx::raw_sql("ROLLBACK").execute(pool).await.unwrap();
    let log = server.log();
    let told = log.matches("there is no transaction in progress").count();
    assert_eq!(told, 1, "this one alone:\n{log}");
}
