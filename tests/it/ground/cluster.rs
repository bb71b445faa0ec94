//! The throw-away cluster: durable, survives a kill, leaves nothing.

use std::sync::Arc;

use crate::both_databases;
use crate::support::{Kind, PostgresServer, TestDatabase};

both_databases!(each_test_has_a_migrated_database_of_its_own, |db| async move {
    let other = match db.kind() {
        Kind::Postgres => TestDatabase::postgres().await,
        Kind::Sqlite => TestDatabase::sqlite().await,
    };
    assert_ne!(db.url(), other.url());
    let insert = "INSERT INTO upkeep_run (id, chore, worker, started_at, lease_until, outcome, events, bodies, rejections)
                  VALUES ('00000000-0000-7000-8000-000000000001', 'cleanup', 'w', '2026-01-01 00:00:00+00',
                          '2026-01-01 00:00:00+00', 'running', 0, 0, 0)";
    let insert = match db.kind() {
        Kind::Postgres => insert.to_owned(),
        // There a UUID is its sixteen bytes.
        Kind::Sqlite => insert.replace(
            "'00000000-0000-7000-8000-000000000001'",
            "x'00000000000070008000000000000001'",
        ),
    };
    assert_eq!(db.run(&insert).await, 1);
    assert_eq!(db.number("SELECT count(*) FROM upkeep_run").await, 1);
    assert_eq!(other.number("SELECT count(*) FROM upkeep_run").await, 0);
});

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_cluster_runs_with_durable_settings() {
    let db = TestDatabase::postgres().await;
    let settings = "SELECT setting FROM pg_settings
        WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name";
    assert_eq!(db.texts(settings).await, ["on", "on", "on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cluster_comes_back_with_what_was_committed_and_leaves_nothing() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    db.run("CREATE TABLE kept (n bigint)").await;
    for n in 1..=3 {
        db.run(&format!("INSERT INTO kept VALUES ({n})")).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
        assert_eq!(db.number("SELECT max(n) FROM kept").await, n);
    }
    let dir = server.dir().to_owned();
    assert!(dir.exists());
    drop((db, server));
    assert!(!dir.exists(), "{} is left behind", dir.display());
}
