//! Sums over a time, and how things stand; by the admin API and by the database alike.

use serde_json::{Value, json};

use super::{NO_CLEANUP, PATIENCE, STRIPE, stripe, with_three_events};
use crate::both_databases;
use crate::support::{Kind, TestDatabase, eventually};

/// What doesn't change between two questions.
fn lasting(stats: &Value) -> [&Value; 3] {
    [&stats["sources"], &stats["handlers"], &stats["cleanup"]]
}

async fn move_back(db: &TestDatabase, table: &str, column: &str, condition: &str, hours: u32) {
    let then = match db.kind() {
        Kind::Postgres => format!("clock_timestamp() - interval '{hours} hours'"),
        Kind::Sqlite => format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-{hours} hours')"),
    };
    db.run(&format!("UPDATE {table} SET {column} = {then} WHERE {condition}")).await;
}

both_databases!(stats_sum_what_came_and_say_how_things_stand, |db| async move {
    let daemon = with_three_events(&db).await;
    let forged = stripe().at(chrono::Utc::now().timestamp() - 3600).event("evt_late", "x");
    daemon.sender().send(STRIPE, &forged).await.assert_refused(401, "timestamp_stale");
    eventually(PATIENCE, "the rejection", || async {
        (db.number("SELECT count(*) FROM rejection").await == 1).then_some(())
    })
    .await;
    // One event of long ago doesn't count, whatever became of it.
    move_back(&db, "event", "received_at", "event_id = 'evt_1'", 2).await;

    let here = daemon.run(&["stats", "-o", "json"]).await.json();
    let url = daemon.admin_url();
    let there = daemon.run(&["stats", "-o", "json", "--url", &url]).await.json();
    assert_eq!(lasting(&here), lasting(&there));
    let source = &here["sources"][0];
    assert_eq!(source["source"], "stripe");
    assert_eq!((&source["events"], &source["duplicates"]), (&json!(2), &json!(1)));
    assert_eq!(source["rejected"], json!({"timestamp_stale": 1}));
    let handler = &here["handlers"][0];
    assert_eq!(handler["handler"], "audit");
    assert_eq!((&handler["deliveries"], &handler["tries"]), (&json!({"delivered": 2}), &json!(2)));
    assert_eq!((&handler["pending"], &handler["dead"]), (&json!(0), &json!(0)));
    let tables = here["tables"].as_array().unwrap();
    assert!(tables.iter().any(|it| it["table"] == "event" && it["expired"] == 0), "{here}");

    let longer = daemon.run(&["stats", "--since", "3h", "-o", "json"]).await.json();
    assert_eq!(longer["sources"][0]["events"], 3);
    let said = daemon.run(&["stats"]).await;
    let text = said.code(0).text();
    for part in
        ["stripe", "audit", "rejected: stripe timestamp_stale 1", "cleanup: last ended well"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    daemon.run(&["stats", "--since", "soon"]).await.code(2);
});

both_databases!(a_failed_cleanup_shows_in_stats_and_in_readyz, |db| async move {
    let mut daemon = with_three_events(&db).await;
    // A SQLite file belongs to one at a time.
    daemon.stop().await;
    let store = db.store().await;
    let lease = std::time::Duration::from_secs(60);
    let run = store.begin_run("cleanup", "w", lease, None).await.unwrap().unwrap();
    let failed = hookonce::store::upkeep_run::RunEnd::Failed("disk full".to_owned());
    store.finish_run(run, failed, Default::default()).await.unwrap();
    store.close().await;
    drop(store);
    let fault = daemon.run(&["stats", "-o", "json"]).await.json()["cleanup"]["fault"].clone();
    assert!(fault.as_str().unwrap().ends_with("by w failed: disk full"), "{fault}");
    // A daemon that starts looks at once.
    let plan = crate::support::DaemonPlan::on(&db).source(&stripe()).toml(NO_CLEANUP);
    let again = plan.start().await;
    eventually(PATIENCE, "the detail", || async {
        let ready = again.get("/readyz").await;
        let text = String::from_utf8_lossy(&ready.body).into_owned();
        (ready.status == 200 && text.starts_with("ok\n") && text.contains("disk full"))
            .then_some(())
    })
    .await;
});
