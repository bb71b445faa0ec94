//! Changing things: retry, replay, cancel, discard, readmit, cleanup; nothing without a yes.

use serde_json::{Value, json};

use super::{PATIENCE, STRIPE, stripe, with_three_events};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::leash::signal;
use crate::support::{
    Answer, Daemon, DaemonPlan, Endpoint, Kind, TestDatabase, eventually, within,
};

/// A daemon whose three deliveries are dead, because their endpoint refuses them.
async fn with_three_dead(db: &TestDatabase, endpoint: &Endpoint) -> Daemon {
    endpoint.answer_otherwise(Answer::status(400).body("no"));
    let daemon = DaemonPlan::on(db)
        .source(&stripe())
        .calls("billing", "stripe", &endpoint.url("/"), "")
        .start()
        .await;
    for n in 1..=3 {
        daemon
            .sender()
            .send(STRIPE, &stripe().event(&format!("evt_{n}"), "x"))
            .await
            .assert_accepted();
    }
    wait_until_settled(db, PATIENCE).await;
    assert_eq!(count(db, "dead").await, 3);
    daemon
}

async fn count(db: &TestDatabase, state: &str) -> i64 {
    db.number(&format!("SELECT count(*) FROM delivery WHERE state = '{state}'")).await
}

async fn dead_ids(daemon: &Daemon) -> Vec<String> {
    let lines = daemon.run(&["dead", "list", "-o", "jsonl"]).await.lines();
    lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

both_databases!(dead_letters_are_retried_cancelled_and_discarded_by_name, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = with_three_dead(&db, &endpoint).await;
    let listed = daemon.run(&["dead", "list", "-o", "json"]).await.json();
    assert!(listed["items"][0]["cause"].as_str().unwrap().contains("400"), "{listed}");
    let ids = dead_ids(&daemon).await;
    endpoint.answer_otherwise(Answer::ok());

    // Looking changes nothing; nor does asking without an answer.
    daemon.run(&["dead", "retry", "--all", "--dry-run"]).await.code(0);
    daemon.run(&["dead", "discard", &ids[0]]).await.code(2).says("--yes");
    daemon.run(&["dead", "retry"]).await.code(2);
    assert_eq!(count(&db, "dead").await, 3);

    let retried = daemon.run(&["delivery", "retry", &ids[0], "-o", "json"]).await.json();
    assert_eq!(retried["items"][0]["action"], "reopened");
    assert_eq!(retried["items"][0]["delivery"], json!(ids[0]));
    eventually(PATIENCE, "the retried one", || async {
        (count(&db, "delivered").await == 1).then_some(())
    })
    .await;
    // Delivered is final.
    let again = daemon.run(&["delivery", "retry", &ids[0], "-o", "json"]).await.json();
    assert_eq!(
        (&again["items"][0]["action"], &again["items"][0]["state"]),
        (&json!("skipped"), &json!("delivered"))
    );

    daemon.run(&["dead", "discard", &ids[1], "--yes"]).await.code(0);
    let url = daemon.admin_url();
    daemon.run(&["dead", "retry", "--all", "--yes", "--url", &url]).await.code(0);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(dead_ids(&daemon).await, Vec::<String>::new());
    assert_eq!(count(&db, "delivered").await, 2);
});

both_databases!(a_waiting_delivery_is_cancelled_and_stays_so, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::status(500));
    let retry = "retry = { attempts = 9, backoff = [\"1h\"] }";
    let plan =
        DaemonPlan::on(&db).source(&stripe()).calls("billing", "stripe", &endpoint.url("/"), retry);
    let daemon = plan.start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    let id = eventually(PATIENCE, "a delivery that waits for its next try", || async {
        let lines =
            daemon.run(&["delivery", "list", "--state", "pending", "-o", "jsonl"]).await.lines();
        let one = lines.first().filter(|one| one["attempts"] == 1)?;
        Some(one["id"].as_str().unwrap().to_owned())
    })
    .await;
    daemon.run(&["delivery", "cancel", &id]).await.code(2);
    daemon.run(&["delivery", "cancel", &id, "--yes"]).await.code(0);
    assert_eq!(count(&db, "cancelled").await, 1);
    let retried = daemon.run(&["delivery", "retry", &id, "-o", "json"]).await.json();
    assert_eq!(retried["items"][0]["action"], "skipped");
    assert_eq!(endpoint.count(), 1);
});

both_databases!(a_replay_reopens_what_is_dead_and_repeats_only_when_told, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = with_three_dead(&db, &endpoint).await;
    endpoint.answer_otherwise(Answer::ok());
    // Three events at once are called in no order.
    let calls = endpoint.calls();
    let first = calls.iter().find(|call| call.header("hookonce-event-id") == "evt_1");
    let first = first.expect("a call for evt_1").webhook_id().to_owned();

    daemon.run(&["event", "replay", "evt_1", "--dry-run"]).await.code(0);
    assert_eq!(endpoint.count(), 3);
    daemon.run(&["event", "replay", "evt_1"]).await.code(0);
    let calls = endpoint.wait_for_calls(4, PATIENCE).await;
    assert_eq!(calls[3].webhook_id(), first, "the same delivery");
    wait_until_settled(&db, PATIENCE).await;

    let skipped = daemon.run(&["event", "replay", "evt_1", "-o", "json"]).await.json();
    assert_eq!(skipped["items"][0]["action"], "skipped");
    daemon.run(&["event", "replay", "evt_1", "--again"]).await.code(2);
    let again = daemon.run(&["event", "replay", "evt_1", "--again", "--yes", "-o", "json"]).await;
    assert_eq!(again.says("warning").json()["items"][0]["action"], "new");
    let calls = endpoint.wait_for_calls(5, PATIENCE).await;
    assert_ne!(calls[4].webhook_id(), first, "a new round has a new id");
    assert_eq!(calls[4].header("hookonce-attempt"), "1");
});

both_databases!(a_replay_that_fails_half_way_says_what_it_did, |db| async move {
    let daemon = with_three_events(&db).await;
    wait_until_settled(&db, PATIENCE).await;
    let gone =
        "DELETE FROM event_body WHERE event_id = (SELECT id FROM event WHERE event_id = 'evt_2')";
    assert_eq!(db.run(gone).await, 1);
    let words = ["event", "replay", "evt_1", "evt_2", "evt_3", "--again", "--yes", "-o", "json"];
    let said = daemon.run(&words).await;
    let done: Value = serde_json::from_str(&said.code(1).says("body").text()).unwrap();
    let events: Vec<_> = done["items"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(events, ["new"], "{done}");
});

both_databases!(cleanup_says_what_it_would_delete_and_deletes_it_when_told, |db| async move {
    let daemon = with_three_events(&db).await;
    let past = match db.kind() {
        Kind::Postgres => "now() - interval '1 day'",
        Kind::Sqlite => "'2026-01-01 00:00:00.000'",
    };
    db.run(&format!("UPDATE event SET expires_at = {past} WHERE event_id <> 'evt_3'")).await;
    let would = daemon.run(&["cleanup", "--dry-run", "-o", "json"]).await.json();
    assert_eq!(
        (&would["swept"]["events"], &would["dry_run"]),
        (&json!(2), &json!(true)),
        "{would}"
    );
    daemon.run(&["cleanup"]).await.code(2).says("--yes");
    assert_eq!(db.number("SELECT count(*) FROM event").await, 3);
    let done = daemon.run(&["cleanup", "--yes", "-o", "json"]).await.json();
    assert_eq!(done["swept"]["events"], 2, "{done}");
    assert_eq!(db.texts("SELECT event_id FROM event").await, ["evt_3"]);
    // Its key is forgotten: what comes now is new.
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "invoice.paid")).await.assert_accepted();
});

both_databases!(a_cleanup_that_is_interrupted_gives_its_claim_back, |db| async move {
    let plan = DaemonPlan::on(&db).source(&stripe());
    let mut daemon = plan.toml("[cleanup]\nbatch = 1\npause = \"59s\"").start().await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        daemon.sender().send(STRIPE, &stripe().event(id, "x")).await.assert_accepted();
    }
    daemon.stop().await;
    let past = match db.kind() {
        Kind::Postgres => "now() - interval '1 day'",
        Kind::Sqlite => "'2026-01-01 00:00:00.000'",
    };
    db.run(&format!("UPDATE event SET expires_at = {past}")).await;
    for left in [2, 1] {
        let mut running = daemon.command(&["cleanup", "--yes"]).kill_on_drop(true).spawn().unwrap();
        eventually(PATIENCE, "its first batch", || async {
            (db.number("SELECT count(*) FROM event").await == left).then_some(())
        })
        .await;
        signal("INT", &[running.id().unwrap()]);
        let status = within(PATIENCE, "its end", running.wait()).await.unwrap();
        assert_eq!(status.code(), Some(130));
    }
    // The second one was let in at once.
    assert_eq!(db.texts("SELECT DISTINCT outcome FROM upkeep_run").await, ["partial"]);
});

both_databases!(cleanup_prints_the_job_for_pg_cron, |db| async move {
    let daemon = DaemonPlan::on(&db)
        .source(&stripe())
        .toml("[cleanup]\nschedule = \"@hourly\"\nwindow = \"01:00-05:00\"\n")
        .place();
    let said = daemon.run(&["cleanup", "--print-pg-cron"]).await;
    match db.kind() {
        Kind::Sqlite => said.code(2).says("pg_cron runs inside PostgreSQL"),
        Kind::Postgres => said.code(0),
    };
    if db.kind() == Kind::Sqlite {
        return;
    }
    let script = said.text();
    for part in [
        "'0 * * * *', 'CALL hookonce_cleanup()'",
        "ARRAY['stripe']::text[]",
        "'01:00:00'",
        "'05:00:00'",
    ] {
        assert!(script.contains(part), "{part} is not in:\n{script}");
    }
});

both_databases!(rejections_are_listed_shown_and_readmitted, |db| async move {
    let daemon = with_three_events(&db).await;
    let late = stripe().at(chrono::Utc::now().timestamp() - 3600).event("evt_late", "x");
    daemon.sender().send(STRIPE, &late).await.assert_refused(401, "timestamp_stale");
    let lines = eventually(PATIENCE, "the rejection", || async {
        let lines = daemon.run(&["rejection", "list", "-o", "jsonl"]).await.lines();
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert_eq!((lines.len(), &lines[0]["code"]), (1, &json!("timestamp_stale")));
    let id = lines[0]["id"].as_str().unwrap();
    let shown = daemon.run(&["rejection", "show", id, "-o", "json"]).await.json();
    assert!(shown["body"].as_str().unwrap().contains("evt_late"), "{shown}");
    // It was stale when it came: letting it in now would be a replay.
    let refused = daemon.run(&["rejection", "readmit", id, "-o", "json"]).await;
    let readmitted: Value = serde_json::from_str(&refused.code(1).text()).unwrap();
    assert_eq!(readmitted["items"][0]["outcome"], "timestamp_stale", "{readmitted}");
    assert_eq!(db.number("SELECT count(*) FROM event").await, 3);
    daemon.run(&["rejection", "readmit"]).await.code(2);
    // A bulk finds what it finds; who is named and not there was meant.
    daemon.run(&["rejection", "readmit", "--source", "stripe"]).await.code(0);
    daemon.run(&["rejection", "readmit", "--source", "other", id]).await.code(4).says(id);
    let nobody = "01a21aea-04fe-77c2-85da-e377e98fdb69";
    daemon.run(&["rejection", "readmit", nobody]).await.code(4).says(nobody);
});
