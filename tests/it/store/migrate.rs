//! Migrations run on both databases, there and back, and once however many start at once.

use hookonce::store::{Migrate, OpenError, Store, migrate};

use crate::store::ground::{event, fresh};
use crate::support::database::store_settings;
use crate::support::{Kind, TestDatabase};

async fn there_and_back(db: TestDatabase) {
    let settings = store_settings(db.url());
    let unchecked = hookonce::store::StoreSettings { migrate: Migrate::Check, ..settings.clone() };
    match Store::open(&unchecked).await {
        Err(OpenError::Migration(why)) => assert!(why.contains("hookonce migrate up"), "{why}"),
        other => panic!("opened without tables: {other:?}"),
    }
    for steps in [1, 2, 2] {
        migrate::up(&settings).await.unwrap();
        assert!(migrate::status(&settings).await.unwrap().iter().all(|step| step.applied));
        Store::open(&unchecked).await.unwrap().close().await;
        migrate::down(&settings, steps).await.unwrap();
        assert!(migrate::status(&settings).await.unwrap().iter().any(|step| !step.applied));
    }
}

crate::both_databases!(events_of_before_are_found_by_their_ids, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &[])).await;
    store.close().await;
    // The file is locked until then.
    drop(store);
    let settings = db.settings();
    let steps = migrate::status(&settings).await.unwrap();
    let at = steps.iter().position(|step| step.name.ends_with("dedupe_group")).unwrap();
    migrate::down(&settings, (steps.len() - at).try_into().unwrap()).await.unwrap();
    let store = Store::open(&settings).await.unwrap();
    assert_eq!(store.event("evt_1").await.unwrap().len(), 1);
});

#[tokio::test(flavor = "multi_thread")]
async fn postgres_goes_up_and_down_and_up_again() {
    there_and_back(TestDatabase::postgres_without_tables().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_goes_up_and_down_and_up_again() {
    there_and_back(TestDatabase::sqlite_without_tables()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_at_once_migrate_once() {
    let db = TestDatabase::postgres_without_tables().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let settings = db.settings();
        tasks.spawn(async move { Store::open(&settings).await.unwrap().close().await });
    }
    tasks.join_all().await;
    let steps = migrate::status(&db.settings()).await.unwrap().len();
    assert_eq!(db.number("SELECT count(*) FROM seaql_migrations").await, steps as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let db = TestDatabase::postgres().await;
    db.run(
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_future', 0)",
    )
    .await;
    match Store::open(&db.settings()).await {
        Err(OpenError::Migration(why)) => assert!(why.contains("newer hookonce"), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_hold_the_same_columns() {
    let postgres = TestDatabase::postgres().await;
    let sqlite = TestDatabase::sqlite().await;
    let of_postgres = postgres
        .texts(
            "SELECT table_name || '.' || column_name FROM information_schema.columns
              WHERE table_schema = 'public' AND table_name <> 'seaql_migrations' ORDER BY 1",
        )
        .await;
    let of_sqlite = sqlite
        .texts(
            "SELECT t.name || '.' || c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
              WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name <> 'seaql_migrations' ORDER BY 1",
        )
        .await;
    assert!(of_postgres.len() > 40, "{}", of_postgres.len());
    let mut sorted = (of_postgres, of_sqlite);
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_ends_half_way_leaves_nothing_behind() {
    for db in [TestDatabase::postgres_without_tables().await, TestDatabase::sqlite_without_tables()]
    {
        let settings = store_settings(db.url());
        // SQLite's file is made by whoever opens it.
        if db.kind() == Kind::Sqlite {
            migrate::up(&settings).await.unwrap();
            let all = migrate::status(&settings).await.unwrap().len();
            migrate::down(&settings, all.try_into().unwrap()).await.unwrap();
        }
        // In the way of a later statement, as a kill would be.
        db.run("CREATE TABLE attempt (n integer)").await;
        migrate::up(&settings).await.unwrap_err();
        db.run("DROP TABLE attempt").await;
        migrate::up(&settings).await.unwrap();
    }
}
