//! Cleanup deletes what has expired, in batches, and nothing that is still needed.

use std::time::Duration;

use entity::TryOutcome;
use hookonce::store::cleanup::Cursor;
use hookonce::store::upkeep_run::RunEnd;
use hookonce::store::{Retention, Swept, Verdict};
use hookonce::upkeep::CleanupSettings;
use hookonce::upkeep::cleanup::{Cleaned, Cleanup};
use sqlx::{Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::both_databases;
use crate::store::ground::{
    DAY, claim_one, dead, delivered, event, fresh, name, settle, settlement,
};
use crate::support::{Kind, TestDatabase, eventually};

pub const RETENTION: Retention = Retention { keys: DAY, bodies: DAY, dead: DAY, rejections: DAY };

pub fn settings() -> CleanupSettings {
    CleanupSettings {
        schedule: "0 */5 * * * *".to_owned(),
        batch: 10,
        pause: Duration::ZERO,
        max_run: Duration::from_secs(60),
        window: None,
    }
}

pub async fn expire(db: &TestDatabase, table: &str, condition: &str) {
    let past = match db.kind() {
        Kind::Postgres => "clock_timestamp() - interval '1 minute'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-60 seconds')",
    };
    db.run(&format!("UPDATE {table} SET expires_at = {past} WHERE {condition}")).await;
}

async fn clean(store: &hookonce::store::Store) -> Swept {
    let sources = [name("shop")];
    let settings = settings();
    let cleanup = Cleanup {
        store,
        settings: &settings,
        retention: RETENTION,
        sources: &sources,
        worker: "w",
        metrics: None,
    };
    match cleanup.run(None, &CancellationToken::new()).await.unwrap() {
        Cleaned::Ran { swept, more: false } => swept,
        other => panic!("{other:?}"),
    }
}

both_databases!(only_expired_keys_go_with_all_that_hangs_on_them, |db| async move {
    let store = db.store().await;
    for at in 0..25 {
        delivered(&store, &format!("old_{at}"), "a").await;
    }
    for at in 0..5 {
        delivered(&store, &format!("new_{at}"), "a").await;
    }
    // Another body under a known id hangs on the event too.
    crate::store::ground::record(&store, event("old_1", b"other", &[])).await;
    expire(&db, "event", "event_id LIKE 'old%'").await;
    let before = store.expired(RETENTION).await.unwrap();
    assert_eq!(before, Swept { events: 25, ..Swept::default() });
    let left = async || store.expired_left(RETENTION).await.unwrap();
    assert_eq!(
        left().await,
        [("event", 25), ("event_body", 0), ("rejection", 0), ("idempotency_key", 0)]
    );
    assert_eq!(clean(&store).await, Swept { events: 25, ..Swept::default() });
    assert_eq!(left().await[0], ("event", 0));
    for table in ["event", "event_body", "delivery", "attempt"] {
        assert_eq!(db.number(&format!("SELECT count(*) FROM {table}")).await, 5, "{table}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 0);
    // Forgotten means new.
    fresh(&store, event("old_1", b"{}", &[])).await;
});

both_databases!(an_event_with_an_open_delivery_stays_and_so_does_its_body, |db| async move {
    let store = db.store().await;
    fresh(&store, event("pending", b"{}", &["a"])).await;
    fresh(&store, event("leased", b"{}", &["b"])).await;
    claim_one(&store, "b").await.delivery.as_bytes();
    expire(&db, "event", "1 = 1").await;
    expire(&db, "event_body", "1 = 1").await;
    assert_eq!(clean(&store).await, Swept::default());
    assert_eq!(db.number("SELECT count(*) FROM event_body").await, 2);
});

both_databases!(a_dead_letter_keeps_its_event_for_its_own_retention, |db| async move {
    let store = db.store().await;
    let (_, young) = dead(&store, "young", "a").await;
    dead(&store, "old", "a").await;
    expire(&db, "event", "1 = 1").await;
    expire(&db, "event_body", "1 = 1").await;
    let long_ago = match db.kind() {
        Kind::Postgres => "clock_timestamp() - interval '2 days'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-2 days')",
    };
    db.run(&format!(
        "UPDATE delivery SET settled_at = {long_ago} WHERE event_id = (SELECT id FROM event WHERE event_id = 'old')"
    ))
    .await;
    assert_eq!(clean(&store).await.events, 1);
    assert!(store.delivery(young).await.unwrap().is_some());
    assert_eq!(
        db.number("SELECT count(*) FROM event_body").await,
        1,
        "a dead letter keeps its body"
    );
});

both_databases!(a_body_goes_by_its_own_retention_and_the_key_stays, |db| async move {
    let store = db.store().await;
    let (ours, _) = delivered(&store, "evt_1", "a").await;
    expire(&db, "event_body", "1 = 1").await;
    assert_eq!(store.expired(RETENTION).await.unwrap().bodies, 1);
    assert_eq!(clean(&store).await.bodies, 1);
    assert_eq!(store.event_body(ours).await.unwrap(), None);
    let again = crate::store::ground::record(&store, event("evt_1", b"{}", &["a"])).await;
    assert_eq!(again, hookonce::store::Recorded::Duplicate { event: ours, conflict: false });
});

both_databases!(
    a_batch_is_no_larger_than_its_limit_and_the_next_goes_on_behind_it,
    |db| async move {
        let store = db.store().await;
        for at in 0..7 {
            fresh(&store, event(&format!("evt_{at}"), b"{}", if at == 0 { &["a"] } else { &[] }))
                .await;
        }
        expire(&db, "event", "1 = 1").await;
        let first = store.sweep_events(3, DAY, Cursor::START).await.unwrap();
        assert_eq!(first.scanned, 3);
        assert!(first.deleted >= 2);
        let second = store.sweep_events(100, DAY, first.next).await.unwrap();
        assert_eq!(second.scanned, 4, "what had to stay is not looked at twice in a run");
    }
);

both_databases!(a_delivery_reopened_during_a_cleanup_is_never_lost, |db| async move {
    let store = db.store().await;
    for round in 0..15 {
        let mut deliveries = Vec::new();
        for at in 0..10 {
            deliveries.push(dead(&store, &format!("evt_{round}_{at}"), "a").await.1);
        }
        expire(&db, "event", "1 = 1").await;
        // Past its retention, so the cleanup may take what the retry reopens.
        let sweep = store.sweep_events(1000, Duration::ZERO, Cursor::START);
        let retries = async {
            let mut reopened = Vec::new();
            for delivery in &deliveries {
                if let Some(hookonce::store::Reopened::Reopened(id)) =
                    store.retry(*delivery).await.unwrap()
                {
                    reopened.push(id);
                }
            }
            reopened
        };
        let (swept, reopened) = tokio::join!(sweep, retries);
        swept.unwrap();
        for id in reopened {
            assert!(store.delivery(id).await.unwrap().is_some(), "a reopened delivery was deleted");
        }
        // Make way for the next round.
        while let Some(claim) = crate::store::ground::claim(&store, "a", 1).await.pop() {
            settle(&store, settlement(&claim, Verdict::Delivered, TryOutcome::Delivered)).await;
        }
    }
});

both_databases!(one_replica_runs_a_cleanup_and_a_lost_one_is_taken_over, |db| async move {
    let store = db.store().await;
    let lease = Duration::from_secs(60);
    let first = store.begin_run("cleanup", "w1", lease, None).await.unwrap().unwrap();
    assert_eq!(store.begin_run("cleanup", "w2", lease, None).await.unwrap(), None);
    let past = match db.kind() {
        Kind::Postgres => "clock_timestamp() - interval '1 second'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')",
    };
    db.run(&format!("UPDATE upkeep_run SET lease_until = {past}")).await;
    let second = store.begin_run("cleanup", "w2", lease, None).await.unwrap().unwrap();
    assert!(!store.renew_run(first, lease, Swept::default()).await.unwrap(), "it was taken over");
    let swept = Swept { events: 3, bodies: 2, rejections: 1, ..Swept::default() };
    store.finish_run(second, RunEnd::Done, swept).await.unwrap();
    let runs = store.runs("cleanup", 10).await.unwrap();
    let outcomes: Vec<_> = runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done", "lost"]);
    assert_eq!((runs[0].events, runs[0].bodies, runs[0].rejections), (3, 2, 1));
});

/// Stops whoever does this to a row, before he does it, until the session that is returned ends.
async fn stopped_before(db: &TestDatabase, what: &str) -> PgConnection {
    db.run(&format!(
        "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN COALESCE(NEW, OLD); END $$;
         CREATE TRIGGER wait_here BEFORE {what} FOR EACH ROW EXECUTE FUNCTION wait_here()"
    ))
    .await;
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    holder.execute("SELECT pg_advisory_lock(7)").await.unwrap();
    holder
}

/// Whether so many sessions wait for a lock.
async fn waiting(db: &TestDatabase, sessions: i64) -> Option<()> {
    let query = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    (db.number(query).await == sessions).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_round_during_a_cleanup_keeps_its_body_or_is_not_made() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    let (ours, _) = delivered(&store, "evt_1", "a").await;
    expire(&db, "event_body", "1 = 1").await;
    // The cleanup has taken its snapshot and locked the row when its DELETE comes to the trigger.
    let holder = stopped_before(&db, "DELETE ON event_body").await;
    let sweeping = tokio::spawn({
        let store = store.clone();
        async move { store.sweep_bodies(10, Cursor::START).await }
    });
    let patience = Duration::from_secs(10);
    eventually(patience, "the cleanup at its trigger", || waiting(&db, 1)).await;
    let replaying = tokio::spawn({
        let store = store.clone();
        async move { store.replay(ours, Vec::new(), true).await }
    });
    eventually(patience, "the replay, done or waiting", || async {
        if replaying.is_finished() { Some(()) } else { waiting(&db, 2).await }
    })
    .await;
    holder.close().await.unwrap();
    sweeping.await.unwrap().unwrap();
    let replayed = replaying.await.unwrap();
    let empty = "SELECT count(*) FROM delivery d WHERE d.state = 'pending'
                    AND NOT EXISTS (SELECT 1 FROM event_body b WHERE b.event_id = d.event_id)";
    assert_eq!(
        db.number(empty).await,
        0,
        "a pending delivery has nothing to deliver: {replayed:?}"
    );
}

both_databases!(a_new_round_keeps_its_body_for_the_next_cleanup, |db| async move {
    let store = db.store().await;
    let (ours, _) = delivered(&store, "evt_1", "a").await;
    expire(&db, "event_body", "1 = 1").await;
    assert_eq!(store.replay(ours, Vec::new(), true).await.unwrap().len(), 1);
    assert_eq!(clean(&store).await.bodies, 0);
    assert!(claim_one(&store, "a").await.event.is_some());
});

both_databases!(the_database_itself_lets_no_parent_go_before_its_children, |db| async move {
    let store = db.store().await;
    crate::store::ground::delivered(&store, "evt_1", "a").await;
    crate::store::ground::record(&store, event("evt_1", b"other", &["a"])).await;
    for (statement, why) in
        [("DELETE FROM event", "deliveries"), ("DELETE FROM delivery", "attempts")]
    {
        let error = db.try_run(statement).await.expect_err(statement);
        let error = error.as_database_error().expect("an answer of the database");
        assert!(error.is_foreign_key_violation(), "{why}: {error}");
    }
    db.run("DELETE FROM attempt").await;
    db.run("DELETE FROM delivery").await;
    let error = db.try_run("DELETE FROM event").await.expect_err("its body is there");
    assert!(error.as_database_error().is_some_and(|e| e.is_foreign_key_violation()), "{error}");
    db.run("DELETE FROM event_body").await;
    let error = db.try_run("DELETE FROM event").await.expect_err("its conflict is there");
    assert!(error.as_database_error().is_some_and(|e| e.is_foreign_key_violation()), "{error}");
    db.run("DELETE FROM event_conflict").await;
    assert_eq!(db.run("DELETE FROM event").await, 1);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_that_is_being_kept_keeps_its_event_from_a_cleanup() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"first", &[])).await;
    expire(&db, "event", "1 = 1").await;
    // Its statement has looked at everything else then.
    let holder = stopped_before(&db, "INSERT ON event_conflict").await;
    let keeping = tokio::spawn({
        let store = store.clone();
        async move { crate::store::ground::record(&store, event("evt_1", b"other", &[])).await }
    });
    eventually(Duration::from_secs(10), "the conflict at its trigger", || waiting(&db, 1)).await;
    let swept = store.sweep_events(10, Duration::ZERO, Cursor::START).await.unwrap();
    assert_eq!(swept.deleted, 0, "its event went while the conflict was on its way");
    holder.close().await.unwrap();
    let kept = keeping.await.unwrap();
    assert!(
        matches!(kept, hookonce::store::Recorded::Duplicate { conflict: true, .. }),
        "{kept:?}"
    );
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 1);
    assert_eq!(clean(&store).await.events, 1);
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 0);
}
