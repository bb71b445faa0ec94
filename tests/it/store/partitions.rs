//! Bodies and attempts in a table for each day.

use std::time::Duration;

use chrono::Timelike;
use hookonce::store::cleanup::Cursor;
use hookonce::store::error::OpenError;
use hookonce::store::{Migrate, Recorded, Store, StoreSettings};
use sqlx::Connection;

use super::cleanup::RETENTION;
use super::ground::{DAY, claim_one, dead, delivered, event, fresh, record};
use super::pg_cron::{install, job, runs};
use super::plan::explain;
use crate::support::TestDatabase;

/// Where rows are, with how many.
async fn places(db: &TestDatabase, table: &str) -> Vec<String> {
    // The day is whichever the test runs on.
    let today = "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')";
    db.texts(&format!(
        "SELECT replace(tableoid::regclass::text, {today}, 'TODAY') || ' ' || count(*) FROM {table} GROUP BY tableoid ORDER BY 1"
    ))
    .await
}

/// Waits out the last minutes of a day of UTC: what a test writes and what it then calls today are of one day.
async fn clear_of_midnight() {
    let left = 86_400 - chrono::Utc::now().num_seconds_from_midnight();
    if left < 120 {
        tokio::time::sleep(Duration::from_secs(u64::from(left) + 1)).await;
    }
}

/// A store with its tables for days, on a day that doesn't end soon.
async fn partitioned(db: &TestDatabase) -> Store {
    clear_of_midnight().await;
    Store::open(&StoreSettings { partition_bodies: true, ..db.settings() }).await.unwrap()
}

/// An event of some days ago, with a body that has expired, a delivered delivery and its attempt; copied from
/// one that is there.
async fn of_old(db: &TestDatabase, days: i64) {
    let id = |nth: i64| {
        format!(
            "overlay(hookonce_first_id((clock_timestamp() AT TIME ZONE 'UTC')::date - {days})::text placing '{nth:012}' from 25)::uuid"
        )
    };
    let (event, delivery) = (id(1), id(2));
    for statement in [
        format!(
            "INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
             SELECT {event}, source, 'old_{days}', gen_random_uuid(), type, digest, size, received_at, clock_timestamp() - interval '1 minute'
               FROM event LIMIT 1"
        ),
        format!(
            "INSERT INTO event_body (event_id, headers, body, expires_at)
             SELECT {event}, headers, body, clock_timestamp() - interval '1 minute' FROM event_body LIMIT 1"
        ),
        format!(
            "INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at)
             SELECT {delivery}, {event}, 'a', 'delivered', 1, opened_at, due_at, settled_at FROM delivery WHERE state = 'delivered' LIMIT 1"
        ),
        format!(
            "INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome)
             VALUES ({delivery}, 1, 1, clock_timestamp(), 1, 'delivered')"
        ),
    ] {
        assert_eq!(db.run(&statement).await, 1, "{statement}");
    }
}

/// Tables for days before today.
async fn add_past(db: &TestDatabase, days: i64) {
    db.number(&format!(
        "SELECT hookonce_add_partitions((clock_timestamp() AT TIME ZONE 'UTC')::date - {days}, {days})::int8"
    ))
    .await;
}

/// Drops whatever can go; names without their days.
async fn drop_all(store: &Store) -> Vec<String> {
    let mut gone = Vec::new();
    while let Some(dropped) = store.drop_partition().await.unwrap() {
        gone.push(dropped.name);
    }
    gone
}

#[tokio::test]
async fn what_comes_goes_into_the_table_of_its_day() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    delivered(&store, "evt_1", "a").await;
    assert_eq!(places(&db, "event_body").await, ["event_body_on_TODAY 1"]);
    assert_eq!(places(&db, "attempt").await, ["attempt_on_TODAY 1"]);
    // Today and a week.
    let days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_body'::regclass";
    assert_eq!(db.number(days).await, 9, "and the one for ids of another time");
    assert!(store.add_partitions().await.unwrap());
    assert_eq!(db.number(days).await, 9);
    // Opening again, with or without the wish, changes nothing.
    partitioned(&db).await;
    let store = db.store().await;
    assert!(store.add_partitions().await.unwrap());
    delivered(&store, "evt_2", "a").await;
    assert_eq!(places(&db, "event_body").await, ["event_body_on_TODAY 2"]);
}

#[tokio::test]
async fn an_id_of_another_time_is_recorded_all_the_same() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    let mut strange = event("evt_1", b"{}", &["a"]);
    strange.id = uuid::Uuid::from_u128(0xffff_0000_0000_7000_8000_0000_0000_0001);
    fresh(&store, strange).await;
    assert_eq!(claim_one(&store, "a").await.event.expect("its event").event_id, "evt_1");
    assert_eq!(places(&db, "event_body").await, ["event_body_elsewhen 1"]);
}

#[tokio::test]
async fn tables_that_are_filled_become_the_first_partition_and_lose_nothing() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    delivered(&store, "evt_1", "a").await;
    dead(&store, "evt_2", "b").await;
    fresh(&store, event("evt_3", b"{\"n\":3}", &["c"])).await;
    db.run("CREATE ROLE of_partitions_test").await;
    db.run("GRANT SELECT ON event_body TO of_partitions_test").await;
    assert!(!store.add_partitions().await.unwrap(), "nobody asked for partitions");
    assert_eq!(store.drop_partition().await.unwrap(), None);

    let partitioned = partitioned(&db).await;
    let until = "SELECT count(*) FROM event_body WHERE tableoid::regclass::text ~ '^event_body_until_[0-9]{8}$'";
    assert_eq!(db.number(until).await, 3);
    let may = "SELECT has_table_privilege('of_partitions_test', 'event_body', 'SELECT')::int::int8";
    assert_eq!(db.number(may).await, 1);
    db.run("REVOKE SELECT ON event_body FROM of_partitions_test").await;
    let indexes = "SELECT indexname::text FROM pg_indexes WHERE tablename IN ('event_body', 'attempt') ORDER BY 1";
    assert_eq!(db.texts(indexes).await, ["attempt_pkey", "event_body_expiry", "event_body_pkey"]);

    // A daemon that was there before goes on, with the statements that it had prepared.
    fresh(&store, event("evt_4", b"{}", &["a"])).await;
    let again = record(&store, event("evt_4", b"{}", &["a"])).await;
    assert!(matches!(again, Recorded::Duplicate { .. }), "{again:?}");
    let claimed = claim_one(&partitioned, "c").await;
    assert_eq!(claimed.event.expect("its event").body, "{\"n\":3}");
    delivered(&partitioned, "evt_5", "d").await;
    assert_eq!(db.number("SELECT count(*) FROM event_body").await, 5);
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 3);
}

#[tokio::test]
async fn a_day_goes_as_a_whole_once_nothing_of_it_is_needed() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    delivered(&store, "today", "a").await;
    add_past(&db, 5).await;
    for days in 1..=5 {
        of_old(&db, days).await;
    }
    // Its body hasn't expired; its delivery is dead; its event hasn't expired; its delivery waits.
    let of = |days: i64| format!("(SELECT id FROM event WHERE event_id = 'old_{days}')");
    db.run(&format!(
        "UPDATE event_body SET expires_at = now() + interval '1 hour' WHERE event_id = {}",
        of(1)
    ))
    .await;
    db.run(&format!("UPDATE delivery SET state = 'dead' WHERE event_id = {}", of(2))).await;
    db.run("UPDATE event SET expires_at = now() + interval '1 hour' WHERE event_id = 'old_3'")
        .await;
    db.run(&format!(
        "UPDATE delivery SET state = 'pending', settled_at = NULL WHERE event_id = {}",
        of(4)
    ))
    .await;

    let gone = drop_all(&store).await;
    let names = |table: &str| gone.iter().filter(|it| it.starts_with(table)).count();
    // Of the third the body alone; of the fifth both.
    assert_eq!((gone.len(), names("event_body_on_"), names("attempt_on_")), (4, 2, 2), "{gone:?}");
    let left = "SELECT e.event_id || ' ' || (SELECT count(*) FROM event_body b WHERE b.event_id = e.id)
        || ' ' || (SELECT count(*) FROM attempt a JOIN delivery d ON d.id = a.delivery_id WHERE d.event_id = e.id)
        FROM event e ORDER BY 1";
    assert_eq!(
        db.texts(left).await,
        ["old_1 1 0", "old_2 1 1", "old_3 0 1", "old_4 1 1", "old_5 0 0", "today 1 1"]
    );
}

#[tokio::test]
async fn what_expired_is_deleted_row_by_row_a_day_later() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    for id in ["old", "older", "new"] {
        delivered(&store, id, "a").await;
    }
    let age = |id: &str, hours: i64| {
        format!(
            "UPDATE event SET expires_at = now() - interval '{hours} hours' WHERE event_id = '{id}'"
        )
    };
    db.run(&age("old", 23)).await;
    db.run(&age("older", 25)).await;
    let swept = store.expired(RETENTION).await.unwrap();
    assert_eq!((swept.events, swept.bodies), (1, 0));
    let batch = store.sweep_events(10, DAY, Cursor::START).await.unwrap();
    assert_eq!((batch.scanned, batch.deleted), (1, 1));
    assert_eq!(db.texts("SELECT event_id FROM event ORDER BY 1").await, ["new", "old"]);
    db.run("UPDATE event_body SET expires_at = now() - interval '25 hours'").await;
    let batch = store.sweep_bodies(10, Cursor::START).await.unwrap();
    assert_eq!((batch.scanned, batch.deleted), (2, 2));
}

#[tokio::test]
async fn events_are_recorded_and_delivered_while_days_come_and_go() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    delivered(&store, "first", "a").await;
    add_past(&db, 30).await;
    for days in 1..=30 {
        of_old(&db, days).await;
    }
    let (done, mut count) = (tokio_util::sync::CancellationToken::new(), 0_usize);
    let dropping = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            let gone = drop_all(&store).await;
            done.cancel();
            gone
        }
    });
    // At least a few, however fast the dropping is.
    while !done.is_cancelled() || count < 20 {
        delivered(&store, &format!("evt_{count}"), "a").await;
        count += 1;
    }
    // One that somebody held for too long is left to the next run.
    let mut gone = dropping.await.unwrap();
    gone.extend(drop_all(&store).await);
    assert_eq!(gone.len(), 60, "{gone:?}");
    let here = "SELECT count(*) FROM event e JOIN event_body b ON b.event_id = e.id JOIN delivery d ON d.event_id = e.id
        JOIN attempt a ON a.delivery_id = d.id WHERE e.event_id LIKE 'evt_%' AND d.state = 'delivered'";
    assert_eq!(usize::try_from(db.number(here).await).unwrap(), count);
}

#[tokio::test]
async fn a_table_that_somebody_holds_is_left_for_later() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    delivered(&store, "first", "a").await;
    add_past(&db, 1).await;
    of_old(&db, 1).await;
    let mut reader = sqlx::PgConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM event_body, attempt")
        .execute(&mut reader)
        .await
        .unwrap();
    assert_eq!(store.drop_partition().await.unwrap(), None);
    sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.unwrap();
    assert_eq!(drop_all(&store).await.len(), 2);
}

#[tokio::test]
async fn a_row_of_a_clock_that_was_wrong_keeps_its_day_from_a_table_and_nothing_else() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    let mut strange = event("evt_1", b"{}", &["a"]);
    // A day that has no table yet: ten days ahead.
    let millis = (chrono::Utc::now() + chrono::TimeDelta::days(10)).timestamp_millis();
    strange.id =
        uuid::Uuid::from_u128((u128::try_from(millis).unwrap() << 80) | (0x7 << 76) | (1 << 63));
    fresh(&store, strange).await;
    assert_eq!(places(&db, "event_body").await, ["event_body_elsewhen 1"]);
    let ahead =
        "SELECT hookonce_add_partitions((clock_timestamp() AT TIME ZONE 'UTC')::date + 8, 4)::int8";
    assert_eq!(db.number(ahead).await, 7, "four days of two tables, but for one");
    // And a daemon starts.
    let store = partitioned(&db).await;
    delivered(&store, "evt_2", "b").await;
}

#[tokio::test]
async fn a_daemon_that_may_not_migrate_says_that_partitions_are_missing() {
    let db = TestDatabase::postgres().await;
    let asks = |migrate| StoreSettings { partition_bodies: true, migrate, ..db.settings() };
    match Store::open(&asks(Migrate::Check)).await {
        Err(OpenError::Migration(why)) => assert!(why.contains("hookonce migrate up"), "{why}"),
        other => panic!("opened: {other:?}"),
    }
    hookonce::store::migrate::up(&asks(Migrate::Check)).await.unwrap();
    Store::open(&asks(Migrate::Check)).await.unwrap();
}

#[tokio::test]
async fn the_procedure_for_pg_cron_drops_days_too() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    delivered(&store, "today", "a").await;
    add_past(&db, 2).await;
    of_old(&db, 1).await;
    of_old(&db, 2).await;
    install(&db, &job(DAY, 2)).await;
    db.run("CALL hookonce_cleanup()").await;
    assert_eq!(places(&db, "event_body").await, ["event_body_on_TODAY 1"]);
    assert_eq!(drop_all(&store).await, [""; 0]);
    assert_eq!(runs(&db).await, ["pg_cron done 0 0 0"]);
}

#[tokio::test]
async fn a_claim_and_a_sweep_look_into_the_days_that_they_need() {
    let db = TestDatabase::postgres_without_tables().await;
    let store = partitioned(&db).await;
    delivered(&store, "first", "a").await;
    add_past(&db, 20).await;
    fresh(&store, event("evt_1", b"{}", &["b"])).await;
    let mut c = sqlx::PgConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut c).await.unwrap();
    for (setting, value) in hookonce::store::HOT_PLANNING {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET {setting} = {value}")))
            .execute(&mut c)
            .await
            .unwrap();
    }
    let claim = include_str!("../../../src/store/sql/claim.postgres.sql");
    let plan = explain(
        &mut c,
        claim,
        "ARRAY['b'], ARRAY[10], ARRAY[30.0], 'w', '{}', '{}', '{}', '{}', '{}'",
    )
    .await;
    plan.assert_no_full_scan();
    assert_eq!(plan.read_of("event_body_"), 1, "{plan:?}");
}
