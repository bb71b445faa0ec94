//! Settings that would make an acknowledgement a lie are refused when the store opens.

use hookonce::store::{OpenError, Store};

use crate::support::database::store_settings;
use crate::support::{PostgresServer, TestDatabase};

async fn refusal(url: &str) -> String {
    match Store::open(&store_settings(url.to_owned())).await {
        Err(OpenError::Unsafe(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_or_database_without_synchronous_commit_is_refused() {
    let db = TestDatabase::postgres().await;
    let name = db.texts("SELECT current_database()::text").await.remove(0);
    db.run(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    assert!(refusal(&db.url()).await.contains("synchronous_commit is off"));
    db.run(&format!("ALTER DATABASE {name} SET synchronous_commit = on")).await;
    db.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    assert!(refusal(&db.url()).await.contains("default_transaction_read_only"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_synchronous_commit_later_does_not_reach_open_sessions() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    let name = db.texts("SELECT current_database()::text").await.remove(0);
    db.run(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let now: String = sqlx::query_scalar("SHOW synchronous_commit")
        .fetch_one(store.postgres().unwrap())
        .await
        .unwrap();
    assert_eq!(now, "on", "new connections of an open store are pinned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_fsync_or_full_page_writes_is_refused() {
    for (setting, value) in
        [("fsync", &["fsync=off"]), ("full_page_writes", &["full_page_writes=off"])]
    {
        let server =
            tokio::task::spawn_blocking(|| PostgresServer::start_with(value)).await.unwrap();
        let why = refusal(&server.url("postgres")).await;
        assert!(why.contains(&format!("{setting} is off")), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_on_one_sqlite_file_are_refused_and_a_reader_beside_is_welcome() {
    let db = TestDatabase::sqlite().await;
    let first = db.store().await;
    match Store::open(&db.settings()).await {
        Err(OpenError::Locked(why)) => assert!(why.contains("another hookonce works on"), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
    let beside = Store::open_beside(&db.settings()).await.unwrap();
    assert!(beside.events(&Default::default()).await.unwrap().items.is_empty());
    beside.close().await;
    first.close().await;
    drop(first);
    Store::open(&db.settings()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_that_keep_nothing_or_mean_nothing_are_refused() {
    for url in ["sqlite::memory:", "mysql://x", "nonsense", ""] {
        match Store::open(&store_settings(url.to_owned())).await {
            Err(OpenError::Url(_)) => {}
            other => panic!("{url}: {other:?}"),
        }
    }
}
