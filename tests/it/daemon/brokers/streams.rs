//! Entries of a Redis stream: each event once, whatever dies meanwhile.

use std::collections::BTreeMap;

use super::{
    assert_each_once, first_failure, kept_answer, repeat_after_a_lost_answer, send,
    send_through_kills,
};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::redis::RedisServer;
use crate::support::{DaemonPlan, TestDatabase, eventually};

fn plan(db: &TestDatabase, redis: &RedisServer, lines: &str) -> DaemonPlan {
    let server = redis.url();
    super::plan(db, &format!("redis = {{ server = {server:?}, stream = \"events\" }}"), lines)
}

/// An entry as Redis tells it: its id, and its fields.
type Told = (String, Vec<(String, Vec<u8>)>);

/// The stream's entries, oldest first, by their fields.
pub(super) async fn entries(redis: &RedisServer) -> Vec<BTreeMap<String, Vec<u8>>> {
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
    send(&daemon, "evt_1").await;
    wait_until_settled(&db, PATIENCE).await;
    repeat_after_a_lost_answer(&db, &mut daemon).await;
    let told = kept_answer(&db).await;
    assert!(told.ends_with(", added before"), "{told}");
    assert_eq!(entries(&redis).await.len(), 1);
});

both_databases!(nothing_is_lost_or_doubled_when_redis_is_killed_again_and_again, |db| async move {
    let redis = RedisServer::start_durable().await;
    let lines = "retry = { for = \"1h\", backoff = [\"50ms\"] }\ntimeout = \"2s\"";
    let daemon = plan(&db, &redis, lines).start().await;
    let sent =
        send_through_kills(&db, &daemon, || redis.kill(), async || redis.restart().await).await;
    let id =
        |entry: &BTreeMap<String, Vec<u8>>| String::from_utf8(entry["webhook-id"].clone()).unwrap();
    assert_each_once(sent, &entries(&redis).await.iter().map(id).collect::<Vec<_>>());
});

both_databases!(a_connection_that_fell_silent_is_made_anew, |db| async move {
    let redis = RedisServer::start().await;
    let lines = "retry = { for = \"1h\", backoff = [\"50ms\"] }\ntimeout = \"1s\"";
    let daemon = plan(&db, &redis, lines).start().await;
    send(&daemon, "evt_1").await;
    wait_until_settled(&db, PATIENCE).await;
    // Its first connection may have been late, too.
    db.run("DELETE FROM attempt").await;
    let before = redis.last_evaluator().await;
    redis.freeze();
    send(&daemon, "evt_2").await;
    let cause = first_failure(&db).await;
    assert!(cause.contains("no answer in time"), "{cause}");
    redis.thaw();
    wait_until_settled(&db, PATIENCE).await;
    let after = eventually(PATIENCE, "another connection", || async {
        Some(redis.last_evaluator().await).filter(|it| *it != before)
    })
    .await;
    assert!(after > before, "{before} and {after}");
    assert_eq!(entries(&redis).await.len(), 2);
});

both_databases!(what_redis_refuses_is_tried_again_and_told_without_its_password, |db| async move {
    let redis = RedisServer::start().await;
    redis.ask::<()>(redis::cmd("SET").arg("events").arg("no stream")).await;
    let daemon = plan(&db, &redis, "retry = { for = \"1h\", backoff = [\"100ms\"] }").start().await;
    send(&daemon, "evt_1").await;
    let cause = first_failure(&db).await;
    assert!(cause.contains("stream `events` at redis://127.0.0.1:"), "{cause}");
    assert!(cause.contains("WRONGTYPE") || cause.contains("wrong kind"), "{cause}");
    assert!(!cause.contains("a-password-of-tests"), "{cause}");
    redis.ask::<()>(redis::cmd("DEL").arg("events")).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(entries(&redis).await.len(), 1);
});
