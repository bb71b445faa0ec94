//! Entries of a Redis stream: each event once, whatever dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::{LEASE, PATIENCE, STRIPE, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::redis::RedisServer;
use crate::support::{DaemonPlan, TestDatabase, eventually};

fn plan(db: &TestDatabase, redis: &RedisServer, lines: &str) -> DaemonPlan {
    let server = redis.url();
    DaemonPlan::on(db).source(&stripe()).toml(&format!(
        "[handlers.out]\nfrom = \"stripe\"\nredis = {{ server = {server:?}, stream = \"events\" }}\n{LEASE}\n{lines}\n"
    ))
}

/// An entry as Redis tells it: its id, and its fields.
type Told = (String, Vec<(String, Vec<u8>)>);

/// The stream's entries, oldest first, by their fields.
async fn entries(redis: &RedisServer) -> Vec<BTreeMap<String, Vec<u8>>> {
    let all: Vec<Told> = redis.ask(redis::cmd("XRANGE").arg("events").arg("-").arg("+")).await;
    all.into_iter().map(|(_, fields)| fields.into_iter().collect()).collect()
}

both_databases!(an_event_is_an_entry_with_its_bytes_and_its_facts, |db| async move {
    let redis = RedisServer::start().await;
    let daemon = plan(&db, &redis, "").start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    daemon.sender().send(STRIPE, &event).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    let entries = entries(&redis).await;
    assert_eq!(entries.len(), 1);
    let field = |name: &str| String::from_utf8_lossy(&entries[0][name]).into_owned();
    assert_eq!(entries[0]["body"], event.body);
    assert_eq!(field("hookonce-event-id"), "evt_1");
    assert_eq!(
        (field("hookonce-source"), field("hookonce-event-type")),
        ("stripe".into(), "invoice.paid".into())
    );
    let delivery = daemon.run(&["delivery", "list", "-o", "json"]).await.json();
    assert_eq!(delivery["items"][0]["id"].as_str().unwrap(), field("webhook-id"));
    let shown = daemon.run(&["config", "show"]).await;
    assert!(!shown.text().contains("a-password-of-tests"), "{}", shown.text());
    // What would be sent, without sending it.
    let tried = daemon.run(&["handler", "test", "out", "--event", "evt_1"]).await;
    assert!(tried.code(0).text().contains("XADD redis://127.0.0.1:"), "{}", tried.text());
    assert_eq!(redis.ask::<i64>(redis::cmd("XLEN").arg("events")).await, 1);
});

both_databases!(a_repeat_after_a_lost_answer_adds_nothing, |db| async move {
    let redis = RedisServer::start().await;
    let mut daemon = plan(&db, &redis, "").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    daemon.stop().await;
    // As if the answer had been lost: nobody knows that it was delivered.
    db.run("DELETE FROM attempt").await;
    db.run("UPDATE delivery SET state = 'pending', settled_at = NULL, attempts = 0, attempts_before = 0").await;
    daemon.start().await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(entries(&redis).await.len(), 1);
    let response = db.bytes("SELECT response FROM attempt").await;
    assert!(String::from_utf8_lossy(&response[0]).ends_with(", added before"), "{response:?}");
});

both_databases!(nothing_is_lost_or_doubled_when_redis_is_killed_again_and_again, |db| async move {
    let redis = RedisServer::start_durable().await;
    let lines = "retry = { for = \"1h\", backoff = [\"50ms\"] }\ntimeout = \"2s\"";
    let daemon = plan(&db, &redis, lines).start().await;
    let (events, kills) = (300, 3);
    for n in 0..events {
        daemon
            .sender()
            .send(STRIPE, &stripe().event(&format!("evt_{n}"), "x"))
            .await
            .assert_accepted();
        if n % 100 == 50 {
            redis.kill();
            // Some of what comes now fails first.
            let failed = "SELECT count(*) FROM attempt WHERE outcome <> 'delivered'";
            let before = db.number(failed).await;
            daemon
                .sender()
                .send(STRIPE, &stripe().event(&format!("more_{n}"), "x"))
                .await
                .assert_accepted();
            eventually(PATIENCE, "a failed try", || async {
                (db.number(failed).await > before).then_some(())
            })
            .await;
            redis.restart().await;
        }
    }
    wait_until_settled(&db, PATIENCE).await;
    let entries = entries(&redis).await;
    let ids: BTreeSet<&[u8]> = entries.iter().map(|it| &it["webhook-id"][..]).collect();
    println!(
        "{} events, {kills} kills: {} entries, {} of them twice, {} lost",
        events + kills,
        entries.len(),
        entries.len() - ids.len(),
        events + kills - ids.len()
    );
    assert_eq!((entries.len(), ids.len()), (events + kills, events + kills));
});

both_databases!(what_redis_refuses_is_tried_again_and_told_without_its_password, |db| async move {
    let redis = RedisServer::start().await;
    redis.ask::<()>(redis::cmd("SET").arg("events").arg("no stream")).await;
    let daemon = plan(&db, &redis, "retry = { for = \"1h\", backoff = [\"100ms\"] }").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    let cause = eventually(PATIENCE, "a failed try", || async {
        let errors = db.texts("SELECT error FROM attempt WHERE error IS NOT NULL").await;
        errors.into_iter().next()
    })
    .await;
    assert!(cause.contains("stream `events` at redis://127.0.0.1:"), "{cause}");
    assert!(cause.contains("WRONGTYPE") || cause.contains("wrong kind"), "{cause}");
    assert!(!cause.contains("a-password-of-tests"), "{cause}");
    redis.ask::<()>(redis::cmd("DEL").arg("events")).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(entries(&redis).await.len(), 1);
});
