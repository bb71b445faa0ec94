//! `hookonce replay` and the API under it: many deliveries, whatever interrupts it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, STRIPE, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::leash::signal;
use crate::support::{Answer, Daemon, DaemonPlan, Endpoint, Kind, TestDatabase, eventually};

/// `HOOKONCE_REPLAY_DELIVERIES` sets the size of the large ones.
fn size(usual: usize) -> usize {
    std::env::var("HOOKONCE_REPLAY_DELIVERIES").map_or(usual, |text| text.parse().unwrap())
}

/// A daemon whose one event had this answer, and whose tables then hold `count` deliveries like its own.
async fn with_many(db: &TestDatabase, endpoint: &Endpoint, answer: u16, count: usize) -> Daemon {
    endpoint.answer_otherwise(Answer::status(answer).body("x"));
    let daemon = DaemonPlan::on(db)
        .source(&stripe())
        .calls("billing", "stripe", &endpoint.url("/"), "concurrency = 64")
        .toml("[handlers.late]\nfrom = \"stripe\"\nevents = [\"invoice.*\"]\nlog = {}")
        .start()
        .await;
    daemon.sender().send(STRIPE, &stripe().event("evt_0", "charge.failed")).await.assert_accepted();
    wait_until_settled(db, PATIENCE).await;
    copy(db, count - 1).await;
    endpoint.answer_otherwise(Answer::ok());
    daemon
}

/// Copies the one event, its body and its delivery.
async fn copy(db: &TestDatabase, count: usize) {
    let statements = match db.kind() {
        Kind::Postgres => [
            format!(
                "INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
                 SELECT (lpad(to_hex((extract(epoch FROM received_at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n), 19, '0'))::uuid,
                        source, 'evt_' || n, md5(n::text)::uuid, type, digest, size, received_at, expires_at
                   FROM event, generate_series(1, {count}) AS n"
            ),
            "INSERT INTO event_body (event_id, headers, body, expires_at)
             SELECT e.id, b.headers, b.body, b.expires_at FROM event e, event_body b
              WHERE e.id NOT IN (SELECT event_id FROM event_body)"
                .to_owned(),
            "INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at, cause)
             SELECT gen_random_uuid(), e.id, d.handler, d.state, d.attempts, d.opened_at, d.due_at, d.settled_at, d.cause
               FROM event e, delivery d WHERE e.id NOT IN (SELECT event_id FROM delivery)"
                .to_owned(),
        ],
        Kind::Sqlite => [
            format!(
                "WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {count})
                 INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
                 SELECT unhex(substr(hex(id), 1, 12) || '7' || printf('%019x', n)), source, 'evt_' || n, randomblob(16),
                        type, digest, size, received_at, expires_at FROM event, count"
            ),
            "INSERT INTO event_body (event_id, headers, body, expires_at)
             SELECT e.id, b.headers, b.body, b.expires_at FROM event e, event_body b
              WHERE e.id NOT IN (SELECT event_id FROM event_body)"
                .to_owned(),
            "INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at, cause)
             SELECT randomblob(16), e.id, d.handler, d.state, d.attempts, d.opened_at, d.due_at, d.settled_at, d.cause
               FROM event e, delivery d WHERE e.id NOT IN (SELECT event_id FROM delivery)"
                .to_owned(),
        ],
    };
    for statement in statements {
        db.run(&statement).await;
    }
}

/// How often each webhook id was called after the first `before` calls.
fn called(endpoint: &Endpoint, before: usize) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for call in endpoint.calls().iter().skip(before) {
        *ids.entry(call.webhook_id().to_owned()).or_default() += 1;
    }
    ids
}

async fn count(db: &TestDatabase, condition: &str) -> i64 {
    db.number(&format!("SELECT count(*) FROM delivery WHERE {condition}")).await
}

fn opened(report: &Value) -> u64 {
    report["opened"].as_u64().unwrap_or_else(|| panic!("{report}"))
}

/// Runs a replay and interrupts it once at least `enough` deliveries are open or done by it.
async fn interrupted(
    daemon: &Daemon,
    db: &TestDatabase,
    arguments: &[&str],
    done: &str,
    enough: i64,
) -> Value {
    let child = daemon
        .command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().unwrap();
    eventually(PATIENCE, "a part of the replay", || async {
        (count(db, done).await >= enough).then_some(())
    })
    .await;
    signal("INT", &[pid]);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("replay --resume"), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

both_databases!(a_replay_of_the_dead_that_is_interrupted_calls_each_once, |db| async move {
    let endpoint = Endpoint::start().await;
    let all = size(2_000);
    let daemon = with_many(&db, &endpoint, 400, all).await;
    let counted = daemon.run(&["replay", "--dry-run", "-o", "json"]).await.json();
    assert_eq!(counted["handlers"][0]["reopened"], json!(all));
    assert_eq!((&counted["state"], opened(&counted)), (&json!("planned"), all as u64));
    daemon.run(&["replay"]).await.code(2).says("--yes");
    assert_eq!(count(&db, "state = 'dead'").await, all as i64);

    let begun = Instant::now();
    // So slow that it can't come to its end between a look and the signal, on no machine.
    let a_second = all / 40;
    let rate = format!("{a_second}/s");
    let words = ["replay", "--yes", "--rate", &rate, "-o", "json"];
    let first = interrupted(&daemon, &db, &words, "state <> 'dead'", all as i64 / 20).await;
    assert_eq!(first["state"], "cancelled");
    let bound = begun.elapsed().as_secs_f64() * a_second as f64 + 100.0;
    assert!(opened(&first) as f64 <= bound, "{} are more than {bound}", opened(&first));
    let left = count(&db, "state = 'dead'").await;
    assert_eq!(left as u64 + opened(&first), all as u64);
    assert!(left > 0, "it was interrupted before its end");

    let begun = Instant::now();
    let second = daemon.run(&["replay", "--yes", "-o", "json"]).await.json();
    assert_eq!((&second["state"], opened(&second)), (&json!("done"), left as u64));
    println!("{:?}: {left} dead deliveries reopened in {:?}", db.kind(), begun.elapsed());
    wait_until_settled(&db, PATIENCE * 5).await;
    let ids = called(&endpoint, 1);
    assert_eq!((ids.len(), ids.values().max()), (all, Some(&1)), "each once, under its own id");
    assert_eq!(count(&db, "state = 'delivered'").await, all as i64);
    assert_eq!(count(&db, "round > 0").await, 0);
});

both_databases!(a_new_round_that_is_interrupted_and_killed_calls_each_once, |db| async move {
    let endpoint = Endpoint::start().await;
    let mut daemon = with_many(&db, &endpoint, 200, 600).await;
    let url = daemon.admin_url();
    let again = ["replay", "--again", "--yes", "--rate", "20/s", "--url", &url, "-o", "json"];
    let first = interrupted(&daemon, &db, &again, "round = 1", 20).await;
    assert_eq!(first["state"], "cancelled");

    // The same command carries it on; this time the daemon is killed under it.
    let counted =
        daemon.run(&["replay", "--again", "--dry-run", "--url", &url, "-o", "json"]).await.json();
    assert_eq!((&counted["id"], &counted["continued"]), (&first["id"], &json!(true)));
    assert_eq!(opened(&counted) + opened(&first), 600);
    let id = first["id"].as_str().unwrap().to_owned();
    let before = count(&db, "round = 1").await;
    let resumed = daemon.post("/api/v1/replays", &json!({"again": true, "rate": "20/s"})).await;
    assert_eq!((&resumed.json()["id"], &resumed.json()["continued"]), (&json!(id), &json!(true)));
    eventually(PATIENCE, "more of the replay", || async {
        (count(&db, "round = 1").await >= before + 20).then_some(())
    })
    .await;
    daemon.kill().await;
    let killed_at = count(&db, "round = 1").await;
    assert!(killed_at < 600, "it was killed before its end");
    daemon.start().await;
    eventually(PATIENCE, "a part of it that nobody asked for again", || async {
        (count(&db, "round = 1").await > killed_at).then_some(())
    })
    .await;
    // The rest as fast as it can: the slow rate was for the interruptions.
    let path = format!("/api/v1/replays/{id}");
    assert_eq!(daemon.delete(&path).await.status, 200);
    let resumed = daemon.post(&format!("{path}/resume"), &json!({"rate": "1000/s"})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    let done = eventually(PATIENCE, "the end of the replay", || async {
        let report = daemon.get(&format!("/api/v1/replays/{id}")).await.json();
        (report["state"] == "done").then_some(report)
    })
    .await;
    assert_eq!(
        (opened(&done), &done["looked_at"], &done["total"]),
        (600, &json!(600), &json!(600))
    );
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!((count(&db, "round = 1").await, count(&db, "round > 1").await), (600, 0));
    // One that was called while its daemon was killed is called again, under the same id.
    let ids = called(&endpoint, 1);
    assert_eq!(ids.len(), 600);

    // It is done. The next one is another round, and says so.
    let warned = daemon.run(&["replay", "--again", "--yes", "-o", "json"]).await;
    warned.code(0).says("receivers can't know");
    assert_eq!(opened(&warned.json()), 600);
    assert_eq!(count(&db, "round = 2").await, 600);
});

both_databases!(a_handler_that_is_new_gets_what_it_takes, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = with_many(&db, &endpoint, 200, 40).await;
    db.run("UPDATE event SET type = 'invoice.paid' WHERE event_id LIKE 'evt_1%'").await;
    let to = ["replay", "--to-handler", "late", "--yes", "-o", "json"];
    let counted = daemon.run(&[&to[..], &["--dry-run"]].concat()).await.json();
    let done = daemon.run(&to).await.json();
    assert_eq!((&done["handlers"], opened(&done)), (&counted["handlers"], 11));
    assert_eq!(done["handlers"][0]["backfilled"], 11);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(count(&db, "handler = 'late' AND state = 'delivered'").await, 11);
    assert_eq!(opened(&daemon.run(&to).await.json()), 0);
    daemon.run(&["replay", "--to-handler", "lte"]).await.code(4).says("did you mean `late`?");
    daemon.run(&["replay", "--source", "strpe"]).await.code(4).says("did you mean `stripe`?");
    daemon.run(&["replay", "--state", "leased"]).await.code(2);
    daemon.run(&["replay", "--resume", &uuid::Uuid::nil().to_string()]).await.code(4);
    let table = daemon.run(&["replay", "--again", "--dry-run"]).await;
    assert!(table.code(0).text().contains("NEW ROUND"), "{}", table.text());
});

both_databases!(the_api_begins_shows_and_cancels_replays, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = with_many(&db, &endpoint, 400, 50).await;
    for (body, field) in [
        (json!({"filter": {"sate": "dead"}}), "body"),
        (json!({"filter": {"source": "strpe"}}), "filter.source"),
        (json!({"to_handler": "x"}), "to_handler"),
        (json!({"rate": "fast"}), "rate"),
        (json!({"filter": {"since": "soon"}}), "since"),
        (json!({"filter": {"state": "delivered"}}), "what is delivered"),
    ] {
        let refused = daemon.post("/api/v1/replays", &body).await;
        assert_eq!(refused.status, 400, "{body}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(field), "{detail}");
    }
    let asked = json!({"filter": {"source": "stripe", "since": "1h"}, "rate": "2/s"});
    let mut dry = asked.clone();
    dry["dry_run"] = json!(true);
    let would = daemon.post("/api/v1/replays", &dry).await.json();
    assert_eq!((&would["id"], opened(&would), &would["dry_run"]), (&Value::Null, 50, &json!(true)));
    let begun = daemon.post("/api/v1/replays", &asked).await.json();
    assert_eq!((&begun["state"], &begun["total"]), (&json!("running"), &json!(50)));
    let path = format!("/api/v1/replays/{}", begun["id"].as_str().unwrap());
    // A request that is sent again, because its answer was lost, begins no second one.
    assert_eq!(daemon.post("/api/v1/replays", &asked).await.json()["id"], begun["id"]);
    eventually(PATIENCE, "the first ones", || async {
        (opened(&daemon.get(&path).await.json()) > 1).then_some(())
    })
    .await;
    let cancelled = daemon.delete(&path).await.json();
    assert_eq!(cancelled["state"], "cancelled");
    let left = count(&db, "state = 'dead'").await as u64;
    assert_eq!(left + opened(&cancelled), 50, "the counts are those of the tables");
    assert!(left > 0);
    let listed = daemon.get("/api/v1/replays").await.json();
    assert_eq!(listed["items"][0]["id"], begun["id"]);
    assert_eq!(listed["items"][0]["asked"]["filter"], asked["filter"]);

    let resumed = daemon.post(&format!("{path}/resume"), &json!({"rate": "1000/s"})).await.json();
    assert_eq!(resumed["state"], "running");
    eventually(PATIENCE, "the end", || async {
        (daemon.get(&path).await.json()["state"] == "done").then_some(())
    })
    .await;
    wait_until_settled(&db, Duration::from_secs(60)).await;
    assert_eq!(count(&db, "state = 'delivered'").await, 50);
    assert_eq!(daemon.get("/api/v1/replays/nothing").await.status, 404);
});

both_databases!(what_statements_would_do_is_shown_and_rolled_back, |db| async move {
    db.run("CREATE TABLE totals (n integer)").await;
    db.run("INSERT INTO totals VALUES (0)").await;
    db.run("CREATE TABLE ledger (event text PRIMARY KEY)").await;
    let daemon = DaemonPlan::on(&db)
        .source(&stripe())
        .toml(
            "[handlers.sum]\nfrom = \"stripe\"\nwhen = 'body.id != \"evt_2\"'
             sql = { statements = [\"update totals set n = n + 1\", \"update totals set n = n + 10 returning n\"] }
             [handlers.ledger]\nfrom = \"stripe\"
             sql = { statements = [\"insert into ledger (event) values (:event.id)\"] }
             [handlers.audit]\nfrom = \"stripe\"\nlog = {}",
        )
        .start()
        .await;
    for n in 1..=3 {
        let event = stripe().event(&format!("evt_{n}"), "charge.failed");
        daemon.sender().send(STRIPE, &event).await.assert_accepted();
    }
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.number("SELECT CAST(n AS bigint) FROM totals").await, 22);

    let diff = ["replay", "--again", "--dry-run", "--diff=9", "-o", "json"];
    let said = daemon.run(&diff).await.json();
    // The one that the condition skipped is cancelled, and stays so.
    assert_eq!(opened(&said), 8, "{said}");
    let of = |handler: &str| -> Vec<&Value> {
        let all = said["diff"].as_array().unwrap().iter();
        all.filter(|it| it["handler"] == handler).collect()
    };
    assert_eq!((of("sum").len(), of("ledger").len(), of("audit").len()), (2, 3, 0), "{said}");
    for sum in of("sum") {
        let rows = |at: usize| &sum["statements"][at]["rows"];
        assert_eq!(
            (rows(0), rows(1), &sum["error"]),
            (&json!(1), &json!(1), &Value::Null),
            "{sum}"
        );
        assert_eq!(sum["statements"][0]["written"], json!([{"n": 23}]), "each begins anew");
        assert_eq!(sum["statements"][1]["written"], json!([]), "it has a RETURNING of its own");
    }
    for ledger in of("ledger") {
        assert_eq!(ledger["statements"], json!([]));
        assert!(ledger["error"].as_str().unwrap().contains("statement 1 was refused"), "{ledger}");
    }
    assert_eq!(db.number("SELECT CAST(n AS bigint) FROM totals").await, 22, "it is rolled back");
    assert_eq!(count(&db, "round > 0").await, 0);

    let text = daemon.run(&["replay", "--again", "--dry-run", "--diff"]).await;
    let text = text.code(0).text();
    assert!(text.contains("statement 1: 1 row") && text.contains("fails: statement 1"), "{text}");
    // The condition holds for what is replayed, too.
    db.run("UPDATE delivery SET state = 'dead' WHERE state = 'cancelled'").await;
    let said =
        daemon.run(&["replay", "--handler", "sum", "--dry-run", "--diff", "-o", "json"]).await;
    let said = said.json();
    assert_eq!((&said["diff"][0]["skipped"], opened(&said)), (&json!(true), 1), "{said}");
});
