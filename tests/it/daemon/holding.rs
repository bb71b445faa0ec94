//! Holding a handler back: by hand, by its breaker, by its answers, by its rate.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{LEASE, PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::{Answer, Daemon, Endpoint, Kind, TestDatabase, eventually};

/// Long enough for a replica to look at the pauses, which it does each second, however busy the machine is.
const HOLDS: Duration = Duration::from_millis(2_500);

async fn send(daemon: &Daemon, ids: std::ops::RangeInclusive<u32>) {
    for n in ids {
        let event = stripe().event(&format!("evt_{n}"), "invoice.paid");
        daemon.sender().send(STRIPE, &event).await.assert_accepted();
    }
}

async fn shown(daemon: &Daemon) -> Value {
    daemon.run(&["handler", "show", "billing", "-o", "json"]).await.json()
}

/// Waits until the daemon itself says so: then its gate is shut, or open.
async fn wait_until_paused(daemon: &Daemon, paused: bool) {
    let line = format!("hookonce_handler_paused{{handler=\"billing\"}} {}", u8::from(paused));
    eventually(PATIENCE, "the gate", || async {
        let metrics = daemon.get("/metrics").await;
        String::from_utf8_lossy(&metrics.body).lines().any(|it| it == line).then_some(())
    })
    .await;
}

async fn pending(db: &TestDatabase) -> i64 {
    db.number("SELECT count(*) FROM delivery WHERE state = 'pending'").await
}

both_databases!(a_paused_handler_is_called_no_more_until_it_is_resumed, |db| async move {
    let endpoint = Endpoint::start().await;
    let mut daemon = billing(&db, &endpoint, LEASE).start().await;
    send(&daemon, 1..=1).await;
    wait_until_settled(&db, PATIENCE).await;

    let paused = daemon
        .run(&["handler", "pause", "billing", "--reason", "their migration", "-o", "json"])
        .await
        .json();
    assert_eq!(paused["items"][0]["changed"], true, "{paused}");
    wait_until_paused(&daemon, true).await;
    send(&daemon, 2..=6).await;
    // Neither a look at the pauses nor a death changes it.
    tokio::time::sleep(HOLDS).await;
    daemon.kill().await;
    daemon.start().await;
    send(&daemon, 7..=9).await;
    tokio::time::sleep(HOLDS).await;
    assert_eq!((endpoint.count(), pending(&db).await), (1, 8));
    let pause = &shown(&daemon).await["paused"];
    assert_eq!((&pause["cause"], &pause["reason"]), (&json!("hand"), &json!("their migration")));
    assert_eq!(pause["tries_again_in_seconds"], Value::Null);
    let listed = daemon.run(&["handler", "list"]).await;
    assert!(listed.code(0).text().contains("paused"), "{}", listed.text());
    let again = daemon.run(&["handler", "pause", "--all", "-o", "json"]).await.json();
    assert_eq!(again["items"][0]["changed"], false, "{again}");

    // Over the admin API it goes as well.
    let url = daemon.admin_url();
    let resumed = daemon.run(&["handler", "resume", "billing", "--url", &url, "-o", "json"]).await;
    assert_eq!(resumed.json()["items"][0]["changed"], true);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 9);
    let ids: BTreeSet<String> =
        endpoint.calls().iter().map(|call| call.webhook_id().to_owned()).collect();
    assert_eq!(ids.len(), 9, "each once");
    assert_eq!(shown(&daemon).await["paused"], Value::Null);
    daemon.run(&["handler", "pause", "billin"]).await.code(4).says("billing");
    daemon.run(&["handler", "pause"]).await.code(2);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pause_holds_on_every_replica() {
    let endpoint = Endpoint::start().await;
    let db = TestDatabase::postgres().await;
    let plan = billing(&db, &endpoint, "");
    let daemons = [plan.start().await, plan.start().await];
    daemons[0].run(&["handler", "pause", "billing"]).await.code(0);
    for daemon in &daemons {
        wait_until_paused(daemon, true).await;
    }
    send(&daemons[0], 1..=3).await;
    send(&daemons[1], 4..=6).await;
    tokio::time::sleep(HOLDS).await;
    assert_eq!((endpoint.count(), pending(&db).await), (0, 6));
    daemons[1].run(&["handler", "resume", "--all"]).await.code(0);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 6);
}

both_databases!(a_breaker_stops_the_queue_tries_with_one_call_and_closes, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::status(503));
    let lines = "concurrency = 1\nbreaker = { failures = 3, pause = \"2s\" }\n\
                 retry = { for = \"1h\", backoff = [\"1ms\"] }";
    let daemon = billing(&db, &endpoint, lines).start().await;
    send(&daemon, 1..=10).await;
    wait_until_paused(&daemon, true).await;
    eventually(PATIENCE, "the reason in the log", || async {
        daemon.log().contains("it failed 3 times, one after the other").then_some(())
    })
    .await;
    // By now the reason may be that of a call that failed after it.
    let open = shown(&daemon).await;
    assert_eq!(open["paused"]["cause"], "breaker", "{open}");
    // Three opened it; after that each pause of two seconds lets one call through.
    let calls = endpoint.wait_for_calls(5, PATIENCE).await;
    for pair in calls[2..].windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between >= Duration::from_millis(1_900), "one try a pause, not after {between:?}");
    }
    endpoint.answer_otherwise(Answer::ok());
    wait_until_settled(&db, PATIENCE).await;
    wait_until_paused(&daemon, false).await;
    let delivered = "SELECT count(*) FROM delivery WHERE state = 'delivered'";
    assert_eq!(db.number(delivered).await, 10);
});

both_databases!(an_answer_may_pause_its_handler_and_costs_no_try, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::status(410)]);
    let lines = "pause_on = [410]\nconcurrency = 1\nretry = { attempts = 1 }";
    let daemon = billing(&db, &endpoint, lines).start().await;
    send(&daemon, 1..=1).await;
    wait_until_paused(&daemon, true).await;
    send(&daemon, 2..=3).await;
    tokio::time::sleep(HOLDS).await;
    assert_eq!((endpoint.count(), pending(&db).await), (1, 3), "a breaker's pause would end");
    let pause = &shown(&daemon).await["paused"];
    assert_eq!(pause["cause"], "answer");
    assert!(pause["reason"].as_str().unwrap().contains("410"), "{pause}");
    daemon.run(&["handler", "resume", "billing"]).await.code(0);
    // One attempt is all that it has, and it still has it.
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, 3);
    let calls = endpoint.calls();
    assert_eq!(calls.len(), 4);
    let first = calls[0].webhook_id();
    assert_eq!(calls.iter().filter(|call| call.webhook_id() == first).count(), 2);
});

both_databases!(no_more_calls_begin_than_the_rate_allows, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = billing(&db, &endpoint, "rate = \"20/s\"\nconcurrency = 64").start().await;
    let begun = Instant::now();
    send(&daemon, 1..=60).await;
    for calls in [10, 30, 60] {
        endpoint.wait_for_calls(calls, PATIENCE).await;
        // The count comes first: what is called between the two is allowed by the later time.
        let count = endpoint.count();
        let passed = begun.elapsed().as_secs_f64();
        // Two may begin at once, and then one each 50 ms.
        assert!(count as f64 <= 2.0 + 20.0 * passed + 1.0, "{count} in {passed} s");
    }
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 60);
    assert_eq!(
        db.number("SELECT CAST(max(attempts) AS bigint) FROM delivery").await,
        1,
        "no lease waited"
    );
});

both_databases!(the_time_of_a_pause_does_not_count_for_giving_up, |db| async move {
    for paused in [true, false] {
        let endpoint = Endpoint::start().await;
        endpoint.answer_otherwise(Answer::status(500));
        for table in ["attempt", "delivery", "event_body", "event", "handler_pause"] {
            db.run(&format!("DELETE FROM {table}")).await;
        }
        let lines = "concurrency = 1\nretry = { for = \"10m\", backoff = [\"5m\"] }";
        let mut daemon = billing(&db, &endpoint, lines).start().await;
        send(&daemon, 1..=1).await;
        let tried = async |count: i64| {
            eventually(PATIENCE, "a failed try", || async {
                (db.number("SELECT count(*) FROM attempt").await == count).then_some(())
            })
            .await;
        };
        tried(1).await;
        daemon.run(&["handler", "pause", "billing"]).await.code(0);
        daemon.stop().await;
        // An hour passes, in which it was paused, or in which nobody looked. Then it is due.
        let earlier = match db.kind() {
            Kind::Postgres => |column: &str| format!("{column} - interval '1 hour'"),
            Kind::Sqlite => {
                |column: &str| format!("strftime('%Y-%m-%d %H:%M:%f', {column}, '-1 hour')")
            }
        };
        let back = earlier("opened_at");
        db.run(&format!("UPDATE delivery SET opened_at = {back}, due_at = {back}")).await;
        if paused {
            db.run(&format!("UPDATE handler_pause SET since = {}", earlier("since"))).await;
        } else {
            db.run("DELETE FROM handler_pause").await;
        }
        daemon.run(&["handler", "resume", "billing"]).await.code(0);
        daemon.start().await;
        tried(2).await;
        let want = if paused { "pending" } else { "dead" };
        assert_eq!(db.texts("SELECT state FROM delivery").await, [want]);
        daemon.stop().await;
    }
});

both_databases!(an_unknown_outcome_is_parked_for_a_person, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    let lines = format!("on_unknown = \"park\"\n{LEASE}");
    let mut daemon = billing(&db, &endpoint, &lines).start().await;
    send(&daemon, 1..=1).await;
    endpoint.wait_for_calls(1, PATIENCE).await;
    daemon.kill().await;
    daemon.start().await;
    eventually(PATIENCE, "the dead letter", || async {
        (db.number("SELECT count(*) FROM delivery WHERE state = 'dead'").await == 1).then_some(())
    })
    .await;
    let cause = db.texts("SELECT cause FROM delivery").await;
    assert!(cause[0].contains("whether the handler finished is unknown"), "{cause:?}");
    assert_eq!(endpoint.count(), 1);
    // A person says: again.
    daemon.run(&["dead", "retry", "--all", "--yes"]).await.code(0);
    wait_until_settled(&db, PATIENCE).await;
    let calls = endpoint.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].webhook_id(), calls[1].webhook_id());
    let epochs: Vec<i64> =
        calls.iter().map(|call| call.header("hookonce-epoch").parse().unwrap()).collect();
    assert!(epochs[0] < epochs[1], "{epochs:?}");
});
